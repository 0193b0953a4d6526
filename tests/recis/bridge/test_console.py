"""`recis.bridge.console`: the output of a process becomes lines of its run, and still reaches its streams."""

import io
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import recis.monitor
from recis.bridge.console import MAX_QUEUE_CHARS, Console
from recis.wire.messages import Line, Status
from tests.recis.bridge.conftest import Spooled

Open = Callable[..., recis.monitor.Run]

SCRIPT = """
import contextlib, io, logging, os, sys, threading, warnings
import recis.monitor
handler = logging.StreamHandler()  # holds the stream from before
logging.getLogger("mine").addHandler(handler)
streams = sys.stdout, sys.stderr
run = recis.monitor.init(mode="offline", spool_dir="spool", collect="console")
assert streams == (sys.stdout, sys.stderr)
print("hello", "world")
sys.stdout.writelines(["one\\n", "two\\n"])
logging.getLogger("mine").warning("by a handler")
warnings.warn("careful")
thread = threading.Thread(target=print, args=("from a thread",))
thread.start()
thread.join()
with contextlib.redirect_stdout(io.StringIO()):
    print("redirected")
if os.fork() == 0:
    print("from a child")
    sys.stdout.flush()
    os._exit(0)
os.wait()
run.log({"loss": 1.0}, 1)
try:
    sys.stdout.write(b"bytes")
except TypeError:
    print("refused as before")
print("unfinished", end="")
"""
ENDS = {
    "exit": "",
    "raise": "1 / 0",
    "with": "with run:\n    raise ZeroDivisionError('division by zero')",
    "thread": "thread = threading.Thread(target=lambda: 1 / 0)\nthread.start()\nthread.join()",
}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_all_that_a_program_prints_arrives_and_is_printed(tmp_path: Path, end: str) -> None:
    (tmp_path / "train.py").write_text(SCRIPT + ENDS[end] + "\n")
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (end in ("exit", "thread")), done.stderr
    kept = Spooled(tmp_path / "spool").of(Line)
    by_stream = {name: [line.text for line in kept if isinstance(line, Line) and line.stream == name]
                 for name in ("stdout", "stderr")}  # fmt: skip
    expected = ["hello world", "one", "two", "from a thread", "refused as before", "unfinished"]
    assert by_stream["stdout"] == expected
    assert [line for line in done.stdout.splitlines() if line != "from a child"] == expected
    assert by_stream["stderr"][0] == "by a handler"
    assert "UserWarning: careful" in by_stream["stderr"][1]
    if end != "exit":
        assert by_stream["stderr"][-1] == "ZeroDivisionError: division by zero"
        assert any("Traceback (most recent call last):" in line for line in by_stream["stderr"])
        assert done.stderr.count("ZeroDivisionError: division by zero") == 1


def followed(monkeypatch: pytest.MonkeyPatch, **streams: Any) -> Console:
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    following = Console()
    following.open()
    return following


def texts(following: Console, *, whole: bool = True) -> list[str]:
    return [line.text for line in following.lines(whole=whole)]


def test_streams_are_restored_unless_somebody_else_follows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    first = followed(monkeypatch, stdout=out, stderr=err)
    second = Console()
    second.open()
    print("both")
    first.close()  # the other one has replaced `write` since
    print("second")
    assert vars(out)["write"] is not None
    second.close()
    print("nobody")
    assert texts(first) == ["both"]
    assert texts(second) == ["both", "second"]
    assert out.getvalue() == "both\nsecond\nnobody\n"
    assert "write" not in vars(err) | vars(out)


def test_one_stream_for_both_is_followed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both = io.StringIO()
    following = followed(monkeypatch, stdout=both, stderr=both)
    print("once")
    print("more", file=sys.stderr)
    following.close()
    assert texts(following) == ["once", "more"]


class Frozen:
    """A stream whose attributes cannot be set."""

    __slots__ = ()

    def write(self, text: str) -> int:
        return len(text)


@pytest.mark.parametrize("stream", [None, Frozen()])
def test_a_stream_that_cannot_be_followed_is_left_alone(monkeypatch: pytest.MonkeyPatch, stream: Any) -> None:
    following = followed(monkeypatch, stdout=stream, stderr=io.StringIO())
    print("lost")
    print("kept", file=sys.stderr)
    following.close()
    assert texts(following) == ["kept"]


def test_what_a_stream_refuses_is_raised_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    following = followed(monkeypatch, stdout=closed, stderr=io.StringIO())
    print("before")
    closed.close()
    with pytest.raises(ValueError, match="closed file"):
        print("after")
    following.close()
    assert texts(following) == ["before"]


def test_a_flood_loses_the_oldest_lines_and_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    following = followed(monkeypatch, stdout=io.StringIO(), stderr=io.StringIO())
    number = 100_000
    threads = [
        threading.Thread(target=lambda: [sys.stdout.write("x" * 20 + "\n") for _ in range(number // 2)])
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("last")
    following.close()
    first, *rest = following.lines(whole=True)
    assert (first.level, first.stream, first.dropped) == ("warning", "", following.dropped)
    assert f"{first.dropped} lines of output were dropped" in first.text
    assert rest[-1].text == "last"
    assert first.dropped + len(rest) == number + 1
    assert sum(len(line.text) for line in rest) <= MAX_QUEUE_CHARS


def test_a_single_piece_larger_than_the_bound_keeps_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    following = followed(monkeypatch, stdout=io.StringIO(), stderr=io.StringIO())
    print("line\n" * 1_000_000 + "end")
    following.close()
    first, *rest = following.lines(whole=True)
    assert first.dropped + len(rest) == pytest.approx(1_000_001, abs=2)
    assert rest[-1].text == "end"
    assert len(following._chunks) == 0


def test_no_more_is_sent_at_once_than_the_pace_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("recis.bridge.console.time.monotonic", lambda: clock[0])
    following = followed(monkeypatch, stdout=io.StringIO(), stderr=io.StringIO())
    for _ in range(5000):
        print("y" * 99)
    at_once = len(texts(following, whole=False))
    assert 1000 < at_once < 5000
    assert texts(following, whole=False) == []
    clock[0] += 1.0
    assert 50 < len(texts(following, whole=False)) < 300
    following.close()
    assert len(texts(following)) > 1000


def test_a_line_that_the_run_was_told_is_not_kept_twice(open_offline: Open, spooled: Spooled) -> None:
    with open_offline(collect="console") as run:
        run.line("<gstep=1> <loss=0.5>", 1)
        print("INFO <gstep=1> <loss=0.5>")
        print("<gstep=1> <loss=0.5>")
    kept = [(line.step, line.stream, line.text) for line in spooled.of(Line) if isinstance(line, Line)]
    assert kept == [(1, "", "<gstep=1> <loss=0.5>"), (None, "stdout", "<gstep=1> <loss=0.5>")]


def test_nothing_is_followed_where_it_is_switched_off(open_offline: Open, spooled: Spooled) -> None:
    with open_offline(collect="info"):
        assert "write" not in vars(sys.stdout)
        print("private")
    assert spooled.of(Line) == []


def test_an_absent_server_does_not_let_output_displace_values(open_offline: Open, spooled: Spooled) -> None:
    with open_offline(collect="console") as run:
        parts = run._parts
        assert parts is not None
        parts.outbox.writer._max_segments = 2
        print("waits")
        run.tick()
        assert parts.console is not None
        assert len(parts.console._chunks) > 0
    assert [line.text for line in spooled.of(Line) if isinstance(line, Line)] == ["waits"]


def test_a_failure_of_the_console_costs_a_run_nothing_else(
    open_offline: Open, spooled: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_offline(collect="console")
    run.log({"loss": 1.0}, 1)
    monkeypatch.setattr(Console, "lines", lambda self, *, whole=False: 1 / 0)
    assert not run.finish()
    assert run.failures == 1
    assert [record.state for record in spooled.of(Status) if isinstance(record, Status)] == ["running", "finished"]
    assert spooled.values() == {"loss": [(1, 1.0)]}


def test_an_exception_that_cannot_be_shown_is_no_obstacle(open_offline: Open, spooled: Spooled) -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    run = open_offline(collect="console")
    run.finish(error=SilentError())
    assert any("SilentError" in line.text for line in spooled.of(Line) if isinstance(line, Line))
    assert logging.getLogger("recis").level == logging.NOTSET
