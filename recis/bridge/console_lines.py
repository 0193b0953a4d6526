"""Split terminal output into lines of text: pieces of any length, progress bars, colours.

Owns what counts as one line. Must not know streams, threads or where lines go.
"""

import re
from collections.abc import Iterator

__all__ = ["MAX_LINE_CHARS", "PROGRESS_NS", "ConsoleLines"]

MAX_LINE_CHARS = 8191
"""Longest line that is kept; longer lines are truncated."""
PROGRESS_NS = 30 * 10**9
"""How often the state of a line that is rewritten in place, such as a progress bar, is kept before it ends."""
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_=>78])")
"""Sequences for colours, cursor movements and titles."""


class ConsoleLines:
    """The lines of one stream. Memory is bounded, also for a line that never ends."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._num_chars = 0
        self._is_cut = False
        self._returns = False  # the next text overwrites the line
        self._is_rewritten = False
        self._shown_ns = 0
        self._was_blank = True

    def feed(self, text: str, time_ns: int) -> Iterator[tuple[int, str]]:
        """Take a piece of output with its time; yield the lines that end in it. Of adjacent blank lines, one is kept.

        A line that is being rewritten is yielded every `PROGRESS_NS`.
        """
        *ended, rest = text.split("\n")
        for part in ended:
            self._add(part)
            line = self._take()
            if line or not self._was_blank:
                yield time_ns, line
            self._was_blank = not line
        self._add(rest)
        if self._is_rewritten and self._num_chars and time_ns - self._shown_ns >= PROGRESS_NS:
            self._shown_ns = time_ns
            if line := self._line():
                yield time_ns, line

    def end(self, time_ns: int) -> Iterator[tuple[int, str]]:
        """Yield the text after the end of the last line."""
        if line := self._take():
            yield time_ns, line

    def _add(self, text: str) -> None:
        for number, part in enumerate(text.split("\r")):
            if number:
                self._returns = True
            if not part:
                continue
            if self._returns:
                self._parts.clear()
                self._num_chars, self._is_cut, self._returns, self._is_rewritten = 0, False, False, True
            # Escape sequences are removed later, when their line is complete; they exceed the text by a constant factor
            # at most.
            room = 4 * MAX_LINE_CHARS - self._num_chars
            self._is_cut |= len(part) > room
            if room > 0:
                self._parts.append(part[:room])
                self._num_chars += len(self._parts[-1])

    def _line(self) -> str:
        line = _ESCAPES.sub("", "".join(self._parts)).rstrip()
        return line[:MAX_LINE_CHARS] + "…" if self._is_cut or len(line) > MAX_LINE_CHARS else line

    def _take(self) -> str:
        line = self._line()
        self._parts.clear()
        self._num_chars, self._is_cut, self._returns, self._is_rewritten, self._shown_ns = 0, False, False, False, 0
        return line
