"""`recis.bridge.left_over`: which folders are sent before a run, and which at the same time."""

import socket
from pathlib import Path

import msgspec
import pytest

from recis.bridge.left_over import LeftOver
from recis.bridge.spool import SpoolFolder
from recis.wire.messages import Hello

ME = Hello(run="r", writer="me", attempt="a", rank=1, world_size=2, host=socket.gethostname())


def left(root: Path, hello: Hello) -> None:
    with SpoolFolder(root / hello.writer) as folder:
        folder.create(msgspec.to_builtins(hello))


@pytest.mark.parametrize(
    ("change", "is_in_order"),
    [
        ({}, False),
        ({"run": "another"}, True),
        ({"attempt": "another"}, True),
        ({"rank": 0}, True),
        ({"writer": "me"}, True),
    ],
)
def test_only_an_earlier_process_of_the_same_rank_in_the_same_attempt_comes_before_a_run(
    tmp_path: Path, change: dict[str, str | int], is_in_order: bool
) -> None:
    left(tmp_path, msgspec.structs.replace(ME, **{"writer": "earlier", **change}))
    assert LeftOver(tmp_path, tmp_path / "me", ME).is_in_order() == is_in_order


def test_a_folder_that_cannot_be_read_holds_nothing_up(tmp_path: Path) -> None:
    left(tmp_path, msgspec.structs.replace(ME, writer="earlier"))
    (tmp_path / "earlier" / "writer.json").write_text("{not json")
    assert LeftOver(tmp_path, tmp_path / "me", ME).is_in_order()
