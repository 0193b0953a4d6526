"""`recis.bridge.opening`: whatever description a program gives, the run opens and reports it as valid text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import recis.monitor
from recis.bridge.identity import identify
from recis.bridge.opening import make_hello
from recis.wire.codec import decode_client, encode
from recis.wire.messages import Hello


def hello(**options: Any) -> Hello:
    whole = {"project": "default", "name": None, "config": None, "tags": ()} | options
    made = make_hello(identify("r1"), **whole)
    assert decode_client(encode(made)) == made
    assert msgspec.json.decode(msgspec.json.encode(made), type=Hello) == made
    return made


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no words")


def ends() -> Iterator[str]:
    yield "a"
    raise RuntimeError("no more")


def without_end() -> Iterator[str]:
    while True:
        yield "a"


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        (None, ()),
        ((), ()),
        ("baseline", ("baseline",)),
        ("", ()),
        (["a", "b", "a", "", None], ("a", "b")),
        ({"c", "a", "b"}, ("a", "b", "c")),
        ((tag for tag in "ab"), ("a", "b")),
        (np.array(["a", "b"]), ("a", "b")),
        ({"a": 1}, ("a",)),
        (7, ("7",)),
        ([1, Path("x"), True], ("1", "x", "True")),
        ([Unspeakable()], ("<Unspeakable that cannot be shown: RuntimeError>",)),
        (ends(), ("a",)),
        (without_end(), ("a",)),
        (["a\n", "a\t"], ("a\N{REPLACEMENT CHARACTER}~87428fc5", "a\N{REPLACEMENT CHARACTER}~f3a1b852")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_tags_are_taken_as_they_come(tags: Any, kept: tuple[str, ...]) -> None:
    assert hello(tags=tags).tags == kept


def test_too_many_tags_and_long_ones_are_cut_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert hello(tags=[str(number) for number in range(100)]).tags == tuple(str(number) for number in range(64))
    assert "tags: expected at most 64" in caplog.text
    first, second = hello(tags=["x" * 1000 + "1", "x" * 1000 + "2"]).tags
    assert first != second
    assert max(len(first), len(second)) <= 256
    assert caplog.text.count("expected 1 to 256 printable characters") == 2


@pytest.mark.parametrize(
    ("given", "kept"), [(None, "default"), ("", "default"), ("shop", "shop"), (7, "7"), (Path("a/b"), "a/b")]
)
def test_a_project_is_any_text(given: Any, kept: str) -> None:
    assert hello(project=given).project == kept


def test_names_that_cannot_be_shown_stay_apart(caplog: pytest.LogCaptureFixture) -> None:
    assert len({hello(project=name).project for name in ("a\n", "a\t", "\udcfe", "\udcff", "x" * 999, "x" * 998)}) == 6
    assert caplog.text.count("project: expected 1 to 256 printable characters") == 6
    assert hello(name=None).name == ""
    assert hello(name=5).name == "5"


def test_what_a_configuration_does_not_say_as_it_was_given_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert hello(config={"lr": 0.1, "seed": 2**70, ("a", "b"): 1}).config == {
        "lr": 0.1,
        "seed": str(2**70),
        "('a', 'b')": 1,
    }
    [record] = caplog.records
    assert "seed (an integer that does not fit 64 bits), ('a', 'b')" in record.getMessage()


@pytest.mark.parametrize("spool_dir", ["nul\0", "/dev/null/spool", "/proc/spool"])
def test_a_place_that_takes_no_spool_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, spool_dir: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with recis.monitor.init(mode="offline", spool_dir=spool_dir) as run:
        run.log({"a": 1.0}, 1)
    assert "not spooling to" in caplog.text
    assert run.failures == 0
