"""A summary of a profiler trace, read once and never held whole in memory.

Owns reading the Chrome trace format (JSON object or array form, gzip or plain) event by event, and the sums over it;
must not know stores or sockets. Format: "Trace Event Format", Google, as `torch.profiler` writes it: complete events
(`ph` "X") with `ts` and `dur` in microseconds.

`digest` takes seconds to minutes of a core, which is why the server has `digest_apart`: a process of its own, at the
lowest priority, so that neither ingest nor a training on the same machine waits for it.
"""

import asyncio
import codecs
import contextlib
import gzip
import json
import os
import sys
import threading
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

__all__ = ["DigestError", "digest", "digest_apart"]

MAX_TEXT_CHARS = 8 << 30
MAX_VALUE_CHARS = 64 << 20
MAX_OPERATORS = 2_000_000
MAX_NAMES = 50_000
_READ_CHARS = 1 << 20
_TOP = 20
_SPACE = " \t\r\n"
_OPERATORS = "cpu_op"
_LOWEST_PRIORITY = 19
_NOT_READABLE = 3
"""What the process ends with where there is a `DigestError`, whose text it has written."""


class DigestError(ValueError):
    """A file that is no readable trace: what was expected, what came, where."""


def digest(path: Path) -> dict[str, Any]:
    """Sums over the file at `path`.

    Returns:
        `events`: complete events; `steps`: profiled steps; `wall_ms`: from the first start to the last end;
        `operators`: the 20 CPU operators with the most self time, each `name`, `calls`, `self_ms`, `total_ms`;
        `categories`: milliseconds per category, nested events counted in each; `truncated`: whether operators beyond
        the first 2,000,000 were left out.

    Raises:
        DigestError: not gzip or JSON as it should be, or without events.
        OSError: the file cannot be read.
    """
    sums = _Sums()
    try:
        with path.open("rb") as probe:
            packed = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            for event in _events(_Reader(file)):
                sums.add(event)
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
        raise DigestError(f"expected a whole JSON file, plain or gzip: {error}") from error
    if sums.events == 0:
        raise DigestError("expected complete events, found none")
    return sums.result()


async def digest_apart(path: Path) -> dict[str, Any]:
    """As `digest`, in a process of its own; cancelled, that ends too.

    Raises:
        DigestError: as `digest`, or the process has failed or was killed.
    """
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "recis_server.traces.digest", str(path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        text = (await child.stdout.read()).decode()
        code = await child.wait()
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    if code == _NOT_READABLE:
        raise DigestError(text)
    if code != 0:
        raise DigestError(f"expected a summary, got the exit code {code} of the process that reads the trace")
    summary: dict[str, Any] = json.loads(text)
    return summary


def _main() -> int:
    """Writes the summary of the file that the only argument names, as JSON."""
    os.nice(_LOWEST_PRIORITY)
    threading.Thread(target=_end_with_input, name="end-with-server", daemon=True).start()
    try:
        sys.stdout.write(json.dumps(digest(Path(sys.argv[1]))))
    except (DigestError, OSError) as error:
        sys.stdout.write(str(error))
        return _NOT_READABLE
    return 0


def _end_with_input() -> None:
    """The input is a pipe of the server's: it ends with that, however that ends."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


class _Reader:
    """JSON values one after the other out of a stream; keeps one value and one piece of the file in memory."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._parse = json.JSONDecoder().raw_decode
        self._text = ""
        self._place = 0
        self._dropped = 0

    def peek(self) -> str:
        """The next character that is not white space; empty at the end of the file."""
        while True:
            while self._place < len(self._text):
                if self._text[self._place] not in _SPACE:
                    return self._text[self._place]
                self._place += 1
            if not self._more():
                return ""

    def take(self, expected: str) -> str:
        """The next character, which must be one of `expected`."""
        found = self.peek()
        if not found or found not in expected:
            where = self._dropped + self._place
            raise DigestError(f"expected one of {expected!r}, got {found or 'the end'!r} - at character {where}")
        self._place += 1
        return found

    def value(self) -> Any:
        """The next whole JSON value."""
        first = self.peek()
        while True:
            try:
                value, end = self._parse(self._text, self._place)
            except (json.JSONDecodeError, RecursionError) as error:
                # Most likely the value goes on in the next piece of the file.
                if len(self._text) - self._place > MAX_VALUE_CHARS or not self._more():
                    raise DigestError(f"expected JSON: {error} - at character {self._dropped + self._place}") from error
                continue
            # A number at the end of the piece may go on in the next one.
            if first in '{["' or end < len(self._text) or not self._more():
                self._place = end
                return value

    def _more(self) -> bool:
        piece = self._file.read(_READ_CHARS)
        if not piece:
            return False
        self._dropped += self._place
        if self._dropped > MAX_TEXT_CHARS:
            raise DigestError(f"expected at most {MAX_TEXT_CHARS} characters of JSON")
        self._text = self._text[self._place :] + self._decode(piece)
        self._place = 0
        return True


def _events(reader: _Reader) -> Iterator[Any]:
    """The members of `traceEvents`, or of the file's own array."""
    if reader.take("{[") == "[":
        yield from _members(reader)
        return
    while reader.peek() != "}":
        key = reader.value()
        reader.take(":")
        if key == "traceEvents":
            reader.take("[")
            yield from _members(reader)
        else:
            reader.value()
        if reader.peek() == ",":
            reader.take(",")
    reader.take("}")


def _members(reader: _Reader) -> Iterator[Any]:
    while reader.peek() != "]":
        yield reader.value()
        if reader.peek() == ",":
            reader.take(",")
        elif reader.peek() != "]":
            reader.take(",]")
    reader.take("]")


class _Sums:
    """Running sums; per operator call 24 bytes are kept, because self time needs them in order of start."""

    def __init__(self) -> None:
        self.events = 0
        self._first_us = float("inf")
        self._last_us = float("-inf")
        self._steps: set[str] = set()
        self._categories: dict[str, float] = {}
        self._names: dict[str, int] = {}
        self._threads: dict[str, int] = {}
        self._truncated = False
        self._starts = array("d")
        self._durations = array("d")
        self._name_of = array("i")
        self._thread_of = array("i")

    def add(self, event: Any) -> None:
        """One event; anything but a complete one is passed over."""
        if not isinstance(event, dict) or event.get("ph") != "X":
            return
        start_us, duration_us = _number(event.get("ts")), _number(event.get("dur"))
        if start_us is None or duration_us is None or duration_us < 0:
            return
        self.events += 1
        self._first_us = min(self._first_us, start_us)
        self._last_us = max(self._last_us, start_us + duration_us)
        name, category = str(event.get("name", ""))[:200], str(event.get("cat", ""))[:200]
        if len(self._categories) < MAX_NAMES or category in self._categories:
            self._categories[category] = self._categories.get(category, 0.0) + duration_us / 1000
        if name.startswith("ProfilerStep#") and len(self._steps) < MAX_NAMES:
            self._steps.add(name)
        elif category == _OPERATORS:
            self._add_operator(name, f"{event.get('pid')}/{event.get('tid')}", start_us, duration_us)

    def _add_operator(self, name: str, thread: str, start_us: float, duration_us: float) -> None:
        if len(self._starts) >= MAX_OPERATORS or (len(self._names) >= MAX_NAMES and name not in self._names):
            self._truncated = True
            return
        self._starts.append(start_us)
        self._durations.append(duration_us)
        self._name_of.append(self._names.setdefault(name, len(self._names)))
        self._thread_of.append(self._threads.setdefault(thread, len(self._threads)))

    def result(self) -> dict[str, Any]:
        """The summary; see `digest`."""
        return {
            "events": self.events,
            "steps": len(self._steps),
            "wall_ms": round((self._last_us - self._first_us) / 1000, 3),
            "operators": self._operators(),
            "categories": {name: round(ms, 3) for name, ms in sorted(self._categories.items(), key=lambda kv: -kv[1])},
            "truncated": self._truncated,
        }

    def _operators(self) -> list[dict[str, Any]]:
        names = np.array(self._name_of, dtype=np.int64)
        durations = np.array(self._durations)
        own = _self_times(np.array(self._starts), durations, np.array(self._thread_of))
        size = len(self._names)
        self_us = np.bincount(names, own, size)
        total_us = np.bincount(names, durations, size)
        calls = np.bincount(names, minlength=size)
        texts = list(self._names)
        return [
            {
                "name": texts[number],
                "calls": int(calls[number]),
                "self_ms": round(float(self_us[number]) / 1000, 3),
                "total_ms": round(float(total_us[number]) / 1000, 3),
            }
            for number in np.argsort(-self_us, kind="stable")[:_TOP]
        ]


def _self_times(
    starts: npt.NDArray[np.float64], durations: npt.NDArray[np.float64], threads: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Each call's time without the calls directly inside of it on its thread; all `[n]`, microseconds."""
    own = durations.copy()
    open_calls: list[int] = []
    # By thread and start; of equal starts the longer one is outside.
    for call in np.lexsort((-durations, starts, threads)).tolist():
        while open_calls and not _inside(call, open_calls[-1], starts, durations, threads):
            open_calls.pop()
        if open_calls:
            own[open_calls[-1]] -= durations[call]
        open_calls.append(call)
    return np.maximum(own, 0.0)


def _inside(
    call: int,
    outer: int,
    starts: npt.NDArray[np.float64],
    durations: npt.NDArray[np.float64],
    threads: npt.NDArray[np.int64],
) -> bool:
    return bool(threads[call] == threads[outer] and starts[call] < starts[outer] + durations[outer])


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


if __name__ == "__main__":
    sys.exit(_main())
