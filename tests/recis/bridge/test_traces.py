"""`recis.bridge.traces`: files arrive unchanged on a real server; failures are reported once, as events of the run."""

import asyncio
import gzip
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import recis.monitor
from recis.bridge import traces as module
from recis.bridge.files import read_checked, write_checked
from recis.bridge.set_aside import SetAside
from recis.bridge.traces import TraceFileJob, TraceUploads
from recis.wire.messages import Event
from tests.e2e.processes import RunningCommand, get_json, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with RunningCommand(tmp_path_factory.mktemp("server"), "serve") as command:
        yield command.wait_for(r"Listening on (http://\S+)").rstrip("/")


def listed(server: str, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get_json(f"{server}/api/v1/runs/{run}/traces")["traces"]
    return found


def lost_traces(server: str, run: str) -> list[dict[str, Any]]:
    """Return the events of lost traces; none while the run is not known."""
    try:
        events: list[dict[str, Any]] = get_json(f"{server}/api/v1/runs/{run}/events")["events"]
    except urllib.error.HTTPError:
        return []
    return [event for event in events if event["kind"] == "trace_lost"]


@pytest.mark.slow
def test_files_of_any_size_arrive_byte_for_byte(server: str, tmp_path: Path) -> None:
    trace = gzip.compress(json.dumps({"traceEvents": [{"ph": "X", "name": "op", "ts": 1, "dur": 2}]}).encode())
    contents = {"small.json.gz": trace, "empty.json": b"", "large.json.gz": os.urandom(3_000_001)}
    with recis.monitor.init(server, run_id="files", spool_dir=str(tmp_path / "spool")) as run:
        for step, (name, data) in enumerate(contents.items()):
            (tmp_path / name).write_bytes(data)
            run.upload_trace(tmp_path / name, step)
    traces = {trace["name"]: trace for trace in listed(server, "files")}
    assert set(traces) == set(contents)
    for name, data in contents.items():
        assert (traces[name]["state"], traces[name]["size"]) == ("ready", len(data))
        with urllib.request.urlopen(f"{server}/api/v1/traces/{traces[name]['id']}/download", timeout=10) as answer:
            assert answer.read() == data
    assert not (tmp_path / "spool").exists()


@pytest.mark.slow
def test_a_file_that_vanishes_before_upload_is_an_event_and_the_next_arrives(server: str, tmp_path: Path) -> None:
    (tmp_path / "there.json").write_text("{}")
    with recis.monitor.init(server, run_id="vanished", spool_dir=str(tmp_path / "spool")) as run:
        run.upload_trace(tmp_path / "gone.json", 7)
        run.upload_trace(tmp_path / "there.json", 8)
        until(lambda: lost_traces(server, "vanished"), 20, "the event")
    [lost] = lost_traces(server, "vanished")
    assert (lost["level"], lost["step"]) == ("error", 7)
    assert "gone.json of step 7 is not on the server: it vanished before upload: expected the file at" in lost["text"]
    assert [trace["name"] for trace in listed(server, "vanished")] == ["there.json"]


@pytest.mark.slow
def test_a_file_of_any_name_in_a_folder_of_any_name_arrives(
    server: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    names = {b"\xff.json": "\ufffd.json", b"a\nb\\c.json.gz": "a\ufffdb_c.json.gz", "名.json".encode(): "名.json"}
    with recis.monitor.init(server, run_id="names", spool_dir=str(tmp_path / "spool")) as run:
        for step, name in enumerate(names):
            (folder / os.fsdecode(name)).write_bytes(name)
            run.upload_trace(folder / os.fsdecode(name), step)
        run.upload_trace(folder / "gone", 9)
        run.line("half of a pair: \ud800")
        for wrong in (-1, 1 << 63, 1.5, "x", None):
            run.upload_trace(folder / "gone", wrong)  # type: ignore[arg-type]
        assert run.refused == 5
        until(lambda: lost_traces(server, "names"), 20, "the event")
    assert sorted(trace["name"] for trace in listed(server, "names")) == sorted(names.values())
    [lost] = lost_traces(server, "names")
    assert "caf\ufffd/gone" in lost["text"]
    assert not (tmp_path / "spool").exists()
    assert "the monitor failed" not in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"step": -7},
        {"step": 10**30},
        {"rank": "0"},
        {"time_ns": 8},
        {"path": None},
        lambda data: data.replace(b"a.json", b"b.json"),
        lambda data: data.replace(b'"step": 7', b'"step": 8'),
        lambda data: data[:20],
        lambda data: b"",
    ],
)
def test_a_note_that_says_something_else_than_it_was_is_not_followed_but_set_aside(
    tmp_path: Path, change: dict[str, Any] | Callable[[bytes], bytes]
) -> None:
    uploads = TraceUploads(tmp_path, lambda _: None)
    uploads.add(job("a.json", 7))
    (note,) = tmp_path.iterdir()
    if isinstance(change, dict):
        write_checked(note, {**read_checked(note), **change})
    else:
        note.write_bytes(change(note.read_bytes()))
    said: list[Event] = []
    set_aside = SetAside(tmp_path)
    assert len(TraceUploads(tmp_path, said.append, set_aside)) == 0
    assert set_aside.records == 1
    [event] = said
    assert note.name in event.text
    assert [path.name for path in (tmp_path / "set-aside").glob("trace-*")] == [note.name]
    assert len(TraceUploads(tmp_path, said.append)) == 0
    assert len(said) == 1, "said once"


def job(name: str, number: int) -> TraceFileJob:
    return TraceFileJob(run="r", attempt="a", rank=0, path=f"/nowhere/{name}", name=name, step=number, time_ns=number)


def test_what_waits_survives_a_crash_beside_the_spool(tmp_path: Path) -> None:
    uploads = TraceUploads(tmp_path, lambda _: None)
    uploads.add(job("a.json", 1))
    uploads.add(job("b.json", 2))
    assert len(TraceUploads(tmp_path, lambda _: None)) == 2


def test_too_many_waiting_gives_up_the_oldest_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    said: list[Event] = []
    uploads = TraceUploads(tmp_path, said.append)
    for number in range(5):
        uploads.add(job(f"{number}.json", number))
    assert len(uploads) == 3
    assert [event.step for event in said] == [0, 1]
    assert len(TraceUploads(tmp_path, said.append)) == 3


def test_a_trace_of_which_nothing_is_ever_taken_is_given_up_and_the_next_one_tried(tmp_path: Path) -> None:
    said: list[Event] = []
    uploads = TraceUploads(tmp_path, said.append)
    (tmp_path / "a.json").write_text("{}")
    uploads.add(msgspec.structs.replace(job("a.json", 1), path=str(tmp_path / "a.json")))
    uploads.add(job("b.json", 2))

    def connect() -> Any:
        raise ConnectionResetError

    for _ in range(module.MAX_FAILURES - 1):
        with pytest.raises(ConnectionResetError):
            asyncio.run(uploads.send_next(connect))
    assert (len(uploads), said) == (2, [])
    asyncio.run(uploads.send_next(connect))
    assert [event.step for event in said] == [1]
    assert len(uploads) == len(TraceUploads(tmp_path, said.append)) == 1


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    said: list[Event] = []
    uploads = TraceUploads(None, said.append)
    for number, path in enumerate((tmp_path / "pipe", tmp_path, "/dev/zero", "a\0b")):
        uploads.add(msgspec.structs.replace(job("x", number), path=str(path)))
    for _ in range(4):
        asyncio.run(uploads.send_next(lambda: pytest.fail("nothing to send")))
    assert [event.step for event in said] == [0, 1, 2, 3]
