"""`recis_server.traces.digest`: the sums are right, numbers are finite, names are short, and the process is bounded."""

import json
import math
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recis_server.traces import digest as module
from recis_server.traces.digest import digest
from recis_server.traces.events import TraceFileError

from tests.server.traces.files import call, write

EVENTS = [
    {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "python"}},
    call("ProfilerStep#7", 0, 1000, cat="user_annotation"),
    call("ProfilerStep#8", 1000, 1000, cat="user_annotation"),
    # Not in order of start, as the profiler writes them.
    call("aten::mm", 120, 50),
    call("aten::linear", 100, 100),
    call("aten::mm", 300, 40),
    call("aten::t", 110, 5),
    call("aten::mm", 100, 30, tid=2),
    call("gemm", 500, 250, cat="kernel"),
    {"ph": "i", "name": "instant", "ts": 5},
    call("broken", -1, -5),
    {"ph": "X", "name": "no times"},
    "nonsense",
    None,
]


def summary_of(folder: Path, *events: Any) -> dict[str, Any]:
    return digest(write(folder / "trace", list(events)))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("indent", [None, 2])
def test_time_is_summed_by_operator_and_category(tmp_path: Path, packed: bool, array: bool, indent: int | None) -> None:
    summary = digest(write(tmp_path / "trace", EVENTS, packed=packed, array=array, indent=indent))
    assert summary == {
        "events": 8,
        "steps": 2,
        "wall_ms": 2.0,
        "operators": [
            {"name": "aten::mm", "calls": 3, "self_ms": 0.12, "total_ms": 0.12},
            {"name": "aten::linear", "calls": 1, "self_ms": 0.045, "total_ms": 0.1},
            {"name": "aten::t", "calls": 1, "self_ms": 0.005, "total_ms": 0.005},
        ],
        "categories": {"user_annotation": 2.0, "kernel": 0.25, "cpu_op": 0.225},
        "truncated": False,
        "unreadable": 0,
    }


def test_numbers_in_quotes_are_numbers(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, call("aten::mm", "1000.5", "500"), call("aten::mm", 2000, "5e2"))
    assert (summary["events"], summary["wall_ms"], summary["operators"][0]["self_ms"]) == (2, 1.5, 1.0)


NO_TIMES: list[Any] = [
    None,
    True,
    "",
    "x",
    "nan",
    "inf",
    "9" * 50,
    [],
    {},
    math.nan,
    math.inf,
    -math.inf,
    10**400,
]


@pytest.mark.parametrize("number", NO_TIMES)
def test_an_event_without_a_time_is_passed_over(tmp_path: Path, number: Any) -> None:
    good = call("aten::mm", 1, 500)
    assert summary_of(tmp_path, good, call("a", number, 1), call("b", 1, number))["events"] == 1
    for dur in (-1, 1e16, "-3"):
        assert summary_of(tmp_path, good, call("b", 1, dur))["events"] == 1


ANY = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=400)
    | st.lists(st.integers(), max_size=2)
    | st.sampled_from(["cpu_op", "user_annotation", "ProfilerStep#1", "1e999", "1.5", 1e308, -1e308, 10**30])
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.builds(call, ANY, ANY, ANY, tid=ANY, cat=ANY, args=ANY), max_size=30))
def test_whatever_is_in_the_events_the_summary_is_plain_finite_and_small(tmp_path: Path, events: list[Any]) -> None:
    summary = summary_of(tmp_path, *events, call("aten::mm", 1, 500))
    text = json.dumps(summary, allow_nan=False)
    assert len(text) <= 64_000
    assert msgspec.json.decode(text) == summary
    for name in [*summary["categories"], *(one["name"] for one in summary["operators"])]:
        assert 0 < len(name) <= 256


@pytest.mark.parametrize("letter", ["x", "\ud800", "🦊", '"', "\0", "\x1b"])
def test_long_names_of_every_script_fit(tmp_path: Path, letter: str) -> None:
    events = [
        call(f"{number}{letter * 300}", number, 1, cat=cat)
        for number in range(60)
        for cat in ("cpu_op", f"c{number}{letter * 300}")
    ]
    summary = summary_of(tmp_path, *events)
    assert len(json.dumps(summary)) <= 64_000
    assert len(summary["operators"]) >= 10
    assert len(summary["categories"]) >= 10
    assert all(len(one["name"]) == 256 for one in summary["operators"])


def test_more_names_than_are_kept_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NAMES", 10)
    summary = summary_of(
        tmp_path, *(call(f"op{n}", 10 * n, 1, cat=cat) for n in range(50) for cat in ("cpu_op", f"c{n}"))
    )
    assert summary["operators"][0] == {"name": "(others)", "calls": 41, "self_ms": 0.041, "total_ms": 0.041}
    assert sum(one["calls"] for one in summary["operators"]) == 50
    assert round(sum(summary["categories"].values()), 3) == 0.1


def test_operators_beyond_the_bound_are_left_out_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OPERATORS", 3)
    summary = summary_of(tmp_path, *(call("op", number, 0.5) for number in range(5)))
    assert (summary["events"], summary["operators"][0]["calls"], summary["truncated"]) == (5, 3, True)


NOW = 1.79e15
CLOCKS = {
    "of a device": call("gemm", 12.5, 250, cat="kernel"),
    "of the machine's start": call("Memset", 9e12, 250, cat="gpu_memset"),
    "of nothing": call("aten::mm", 0, 1),
    "in nanoseconds": call("other tool", NOW * 1000, 1e6, cat="user"),
    "of the device's copy of a step": call("ProfilerStep#7", 7, 1, cat="gpu_user_annotation"),
}


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("with_steps", [False, True])
def test_other_clocks_than_the_profilers_do_not_make_it_longer(tmp_path: Path, clock: str, with_steps: bool) -> None:
    profiled = [call("aten::mm", NOW + 1000, 400), call("aten::t", NOW + 1500, 500)]
    steps = [
        call("ProfilerStep#7", NOW + 1000, 500, cat="user_annotation"),
        call("ProfilerStep#8", NOW + 1500, 500, cat="user_annotation"),
    ]
    for events in ([*profiled, CLOCKS[clock]], [CLOCKS[clock], *profiled]):
        assert summary_of(tmp_path, *events, *(steps if with_steps else []))["wall_ms"] == 1.0


def test_stretches_that_grow_together_are_one(tmp_path: Path) -> None:
    seconds = [0, 3, 1, 2, 9]
    assert summary_of(tmp_path, *(call("op", second * 1e6, 5e5) for second in seconds))["wall_ms"] == 3500.0


@pytest.mark.parametrize("events", [[], [{"ph": "B", "ts": 1}], [call("op", None, 1)], ["x"]])
def test_a_trace_without_complete_events_has_no_summary(tmp_path: Path, events: list[Any]) -> None:
    with pytest.raises(TraceFileError, match="found none"):
        summary_of(tmp_path, *events)


def test_why_no_event_could_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "trace").write_bytes(b'[{"name": "C:\\Users"}]')
    with pytest.raises(TraceFileError, match=r"found none; 1 could not be read, the first: Invalid \\escape"):
        digest(tmp_path / "trace")


# --- the process

MAIN = """
import sys
from recis_server.traces import digest as module
module.MEMORY_BYTES = int(sys.argv[3])
sys.stdout.write(module.main(module.Path(sys.argv[1]), int(sys.argv[2])))
"""


def process(path: Path, cpu_s: int = 60, memory_bytes: int = module.MEMORY_BYTES) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", MAIN, str(path), str(cpu_s), str(memory_bytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = child.stdout.read()
    return subprocess.CompletedProcess(command, child.wait(), said)


def test_the_process_says_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "trace", EVENTS, packed=True)
    assert json.loads(process(path).stdout) == {"summary": digest(path)}


@pytest.mark.parametrize(("name", "said"), [("malformed", "got 'nonsense'"), ("missing", "No such file")])
def test_what_it_cannot_read_is_said_by_the_process_too(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "malformed").write_bytes(b"nonsense")
    done = process(tmp_path / name)
    assert done.returncode == 0
    why = json.loads(done.stdout)["error"]
    assert said in why
    assert str(tmp_path) not in why, "where the server keeps its files"


def test_the_process_takes_no_more_memory_than_it_may(tmp_path: Path) -> None:
    (tmp_path / "trace").write_bytes(b'[{"ph": "X", "name": "' + b"x" * (30 << 20) + b'"}]')
    said = json.loads(process(tmp_path / "trace", memory_bytes=24 << 20).stdout)
    assert said == {"error": "reading it takes more than 24 MiB of memory"}


@pytest.mark.slow
def test_white_space_takes_linear_time(tmp_path: Path) -> None:
    """256 MiB of it take seconds of a core, where examining every character takes more than a minute."""
    packer = zlib.compressobj(1, wbits=31)
    with (tmp_path / "trace").open("wb") as file:
        for _ in range(256):
            file.write(packer.compress(b" " * (1 << 20)))
        file.write(packer.flush())
    assert "got the end of the file" in json.loads(process(tmp_path / "trace", cpu_s=15).stdout)["error"]


def test_the_process_ends_when_its_server_is_killed(tmp_path: Path) -> None:
    fifo = tmp_path / "endless"  # without a writer, opening it blocks forever
    subprocess.run(["mkfifo", str(fifo)], check=True)
    command = [sys.executable, "-m", "recis_server.traces.digest", str(fifo), "60"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        try:
            assert child.stdin is not None
            child.stdin.close()
            assert child.wait(30) == 1
        finally:
            child.kill()
