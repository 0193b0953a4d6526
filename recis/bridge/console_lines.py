"""Lines of text from what is written to a terminal: pieces of any length, progress bars, colours.

Owns what counts as one line. Must not know streams, threads or where lines go.
"""

import re
from collections.abc import Iterator

__all__ = ["MAX_LINE_CHARS", "PROGRESS_NS", "ConsoleLines"]

MAX_LINE_CHARS = 8191
"""Longest line that is kept whole; of a longer one the beginning is kept."""
PROGRESS_NS = 30 * 10**9
"""How often a line that is rewritten in place, as a progress bar is, is kept before it ends."""
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_=>78])")
"""Sequences for colours, cursor movements and titles."""


class ConsoleLines:
    """The lines of one stream. Nothing here grows with what is written: a line without an end has a bound as well."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._num_chars = 0
        self._is_cut = False
        self._returns = False  # the next text overwrites the line
        self._is_rewritten = False
        self._shown_ns = 0
        self._was_blank = True

    def feed(self, text: str, time_ns: int) -> Iterator[tuple[int, str]]:
        """Take a piece that was written at a time; yield the lines that end in it. Of adjacent blank lines one is kept.

        A line that has been rewritten is yielded every `PROGRESS_NS` while it goes on.
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
        """Yield what was written after the last line's end."""
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
            # Escape sequences are removed later, when their line is whole: they are a multiple of the text at most.
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
