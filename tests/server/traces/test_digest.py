import asyncio
import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from recis_server.traces import digest as module
from recis_server.traces.digest import DigestError, digest, digest_apart

from tests.server.realserver import until


def call(name: str, start: float, length: float, *, tid: int = 1, cat: str = "cpu_op", **more: Any) -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": tid, "ts": start, "dur": length, **more}


def write(
    path: Path, events: list[Any], *, packed: bool = False, array: bool = False, indent: int | None = None
) -> Path:
    head = {"schemaVersion": 1, "deviceProperties": [{"id": 0, "name": "H200"}], "distributedInfo": {"rank": 0}}
    whole: Any = events if array else {**head, "traceEvents": events, "traceName": "x.json"}
    text = json.dumps(whole, indent=indent).encode()
    path.write_bytes(gzip.compress(text) if packed else text)
    return path


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
    }


@pytest.mark.parametrize("size", [1, 7, 64])
def test_events_may_lie_across_pieces_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    path = write(tmp_path / "trace", [*EVENTS, call("名前🦊", 3000, 1)])
    whole = digest(path)
    monkeypatch.setattr(module, "_READ_CHARS", size)
    assert digest(path) == whole


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"   ",
        b"not json",
        b"{}",
        b"[]",
        b"3",
        b'{"traceEvents": 5}',
        b'{"traceEvents": [{"ph": "X", "ts": 1, "dur": 1}',
        b'{"traceEvents": [{"ph": "X", "ts": 1, "dur": 1} {}]}',
        b'{"a" 1}',
        b"\x1f\x8bbroken",
        gzip.compress(b'{"traceEvents": [{"ph": "X", "ts": 1, "dur": 1}, {"ph"')[:-9],
        b"[" * 100_000,
    ],
)
def test_a_malformed_file_is_said_to_be_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "trace").write_bytes(content)
    with pytest.raises(DigestError, match="expected"):
        digest(tmp_path / "trace")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write('{"traceEvents": [')
        for number in range(20_000):
            event = call(f"op{number % 50}", number * 10.0, 8.0, args={"stack": "x" * 500})
            file.write(("," if number else "") + json.dumps(event))
        file.write("]}")
    tracemalloc.start()
    summary = digest(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert summary["events"] == 20_000
    assert peak < 8 << 20  # the file is 13 MB of JSON


def test_operators_beyond_the_bound_are_left_out_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OPERATORS", 3)
    summary = digest(write(tmp_path / "trace", [call("op", number, 0.5) for number in range(5)]))
    assert (summary["events"], summary["operators"][0]["calls"], summary["truncated"]) == (5, 3, True)


def test_a_process_of_its_own_says_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "trace", EVENTS, packed=True)
    assert asyncio.run(digest_apart(path)) == digest(path)


@pytest.mark.parametrize(
    ("name", "said"),
    [("malformed", "at character 0"), ("missing", "No such file"), ("empty", "expected one of")],
)
def test_what_it_cannot_read_is_said_by_the_process_too(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "malformed").write_bytes(b"nonsense")
    (tmp_path / "empty").touch()
    with pytest.raises(DigestError, match=said):
        asyncio.run(digest_apart(tmp_path / name))


def children() -> list[int]:
    """Processes that read a trace."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"recis_server.traces.digest" in command:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("end", ["cancelled", "killed"])
def test_a_process_that_is_ended_leaves_nothing_behind(tmp_path: Path, end: str) -> None:
    os.mkfifo(tmp_path / "endless")  # nobody writes: to open it waits for ever

    async def scenario() -> None:
        task = asyncio.create_task(digest_apart(tmp_path / "endless"))
        await until(children)
        if end == "cancelled":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            os.kill(children()[0], 9)
            with pytest.raises(DigestError, match="exit code -9"):
                await task
        assert children() == []

    asyncio.run(scenario())


def test_the_process_ends_when_its_server_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless")
    command = [sys.executable, "-m", "recis_server.traces.digest", str(tmp_path / "endless")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        try:
            assert child.stdin is not None
            child.stdin.close()
            assert child.wait(30) == 1
        finally:
            child.kill()
