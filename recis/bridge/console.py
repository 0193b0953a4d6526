"""Follow standard output and standard error as lines of the run's log (docs/decisions/0019).

Owns the interception of the two streams, and the bounds on what is kept. Output of the program always reaches its
stream first and unchanged. The writing thread then only appends to a queue, and never waits for a lock, the sender or a
disk. Must not know the outbox or the run.
"""

import logging
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from recis.bridge.console_lines import ConsoleLines
from recis.wire.messages import Line
from recis.wire.showing import text_of

__all__ = ["Console"]

MAX_QUEUE_CHARS = 1 << 20
"""Most characters that wait for the sender; beyond it the oldest are dropped and counted."""
CHARS_PER_S = 16 << 10
"""Sustained rate of sending, about 200 lines a second."""
BURST_CHARS = 256 << 10
"""Most that is sent at once, after a pause."""
CHUNK_CHARS = 64
"""Overhead counted for each piece of text, so that the number of short pieces is bounded too."""
REPORTED_NS = 5 * 10**9
"""Within this time, a line that was reported to the run and is also printed counts as one line."""
MAX_TRACEBACK_LINES = 200
_STREAMS = ("stdout", "stderr")
_logger = logging.getLogger(__name__)

_Chunk = tuple[str, int, str]
"""Stream, time in nanoseconds, text."""


class _Tap:
    """Follows one stream by setting the attribute `write` of the stream object itself.

    Code that holds a reference to the stream, such as a `logging` handler, is thus followed too, and `sys.stdout` stays
    the same object.
    """

    def __init__(self, stream: Any, take: Callable[[str], None]) -> None:
        self._stream = stream
        self.is_closed = False
        self.had = vars(stream).get("write")
        original = stream.write

        def write(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if args and type(args[0]) is str:
                take(args[0])
            return result

        write.tap = self  # type: ignore[attr-defined]
        self._write = write
        stream.write = write

    def close(self) -> None:
        """Restore the stream, unless other code has replaced its `write` since: then this one only forwards text."""
        self.is_closed = True
        if vars(self._stream).get("write") is not self._write:
            return
        before = self.had
        while (tap := getattr(before, "tap", None)) is not None and tap.is_closed:
            before = tap.had  # of a run that ended while this one also followed the stream
        if before is None:
            del self._stream.write
        else:
            self._stream.write = before


class Console:
    """The output of the process. Open and close it once each; call `lines` from one thread at a time.

    Attributes:
        dropped: lines lost to the bound so far.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._told = 0  # of `dropped`
        self._is_open = False
        self._taps: list[_Tap] = []
        self._chunks: deque[_Chunk] = deque()  # bounded by _shed
        self._num_chars = 0  # in the queue; threads may miss each other's additions, until it is empty
        self._shedding = threading.Lock()
        self._reading = threading.Lock()
        self._forming = {stream: ConsoleLines() for stream in _STREAMS}
        self._reported: deque[tuple[int, str]] = deque(maxlen=64)
        self._allowed = float(BURST_CHARS)
        self._allowed_at = time.monotonic()

    def open(self) -> None:
        """Start following the current `sys.stdout` and `sys.stderr`."""
        self._is_open = True
        followed: list[Any] = []
        for name in _STREAMS:
            stream = getattr(sys, name, None)
            if stream is None or any(stream is other for other in followed):
                continue
            try:
                self._taps.append(_Tap(stream, self._taker(name)))
                followed.append(stream)
            except Exception as error:  # noqa: BLE001 - boundary: a program may have put any object there
                _logger.info("sys.%s is not followed: %s: %s", name, type(error).__name__, text_of(error, 200))

    def close(self, crash: BaseException | None = None) -> None:
        """Stop following. Add the traceback of `crash`, which ends the training: Python prints it only later."""
        was_open, self._is_open = self._is_open, False
        taps, self._taps = self._taps, []
        for tap in reversed(taps):
            try:
                tap.close()
            except Exception as error:  # noqa: BLE001 - border, as in `open`
                _logger.debug("a stream was not restored: %s", error)
        if was_open and crash is not None and not isinstance(crash, SystemExit):
            self._chunks.append(("stderr", time.time_ns(), _traceback(crash)))

    def leave(self) -> None:
        """Stop following in a forked child, whose parent follows the same streams. Takes no lock."""
        self._is_open = False

    def reported(self, text: str) -> None:
        """Note a line that was reported to the run, so that it is not kept twice if it is printed at about the same
        time.
        """
        if self._is_open and text:
            self._reported.append((time.time_ns(), text))

    def lines(self, *, whole: bool = False) -> Iterator[Line]:
        """Yield the lines written since the last call, up to the number that may be sent now; with `whole`, all of
        them.
        """
        with self._reading:
            now = time.monotonic()
            self._allowed = min(BURST_CHARS, self._allowed + CHARS_PER_S * (now - self._allowed_at))
            self._allowed_at = now
            lost = self.dropped
            if lost > self._told:
                yield _lost_line(lost - self._told)
                self._told = lost
            while self._chunks and (whole or self._allowed > 0):
                stream, time_ns, text = self._chunks.popleft()
                size = len(text) + CHUNK_CHARS
                self._num_chars -= size
                self._allowed -= size
                for at_ns, line in self._forming[stream].feed(text, time_ns):
                    if not self._is_reported(at_ns, line):
                        yield Line(time_ns=at_ns, text=text_of(line), stream=stream)
            if not self._chunks:
                self._num_chars = 0
            if whole:
                for stream, forming in self._forming.items():
                    for at_ns, line in forming.end(time.time_ns()):
                        yield Line(time_ns=at_ns, text=text_of(line), stream=stream)

    # --- the writing thread

    def _taker(self, stream: str) -> Callable[[str], None]:
        chunks, clock = self._chunks, time.time_ns

        def take(text: str) -> None:
            if not self._is_open:
                return
            chunks.append((stream, clock(), text))
            self._num_chars += len(text) + CHUNK_CHARS
            if self._num_chars > MAX_QUEUE_CHARS:
                self._shed()

        return take

    def _shed(self) -> None:
        """Drop the oldest pieces beyond the bound, and the beginning of a single piece that exceeds it."""
        if not self._shedding.acquire(blocking=False):
            return  # another thread does it, or the code that this signal handler has interrupted
        try:
            freed = 0
            while self._chunks and self._num_chars - freed > MAX_QUEUE_CHARS * 15 // 16:
                stream, time_ns, text = self._chunks.popleft()
                kept = "" if self._chunks else text[-(MAX_QUEUE_CHARS // 4) :]
                self.dropped += text.count("\n", 0, len(text) - len(kept))
                freed += len(text) - len(kept) + CHUNK_CHARS
                if kept:
                    self._chunks.appendleft((stream, time_ns, kept))
                    break
            self._num_chars -= freed
        except IndexError:  # the sender has emptied the queue meanwhile
            self._num_chars = 0
        finally:
            self._shedding.release()

    def _is_reported(self, time_ns: int, line: str) -> bool:
        for known in tuple(self._reported):
            at_ns, text = known
            if abs(time_ns - at_ns) <= REPORTED_NS and line.endswith(text):
                self._reported.remove(known)
                return True
        return False


def _lost_line(number: int) -> Line:
    text = f"{number} lines of output were dropped here: more was written than is kept"
    return Line(time_ns=time.time_ns(), text=text, level="warning", dropped=number)


def _traceback(error: BaseException) -> str:
    try:
        lines = "".join(traceback.format_exception(error)).splitlines()
    except Exception:  # noqa: BLE001 - boundary: how an exception is shown is its author's
        lines = [f"{type(error).__name__}, which cannot be shown"]
    if len(lines) > MAX_TRACEBACK_LINES:
        half = MAX_TRACEBACK_LINES // 2
        lines = [*lines[:half], f"… {len(lines) - 2 * half} lines …", *lines[-half:]]
    return "\n".join(("", *lines, ""))
