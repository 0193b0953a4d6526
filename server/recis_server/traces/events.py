"""Reads the events of a trace file once, in linear time and bounded memory.

Owns the Trace Event Format (Google) as profilers write it: a JSON object with `traceEvents`, or an array; plain or
gzip; UTF-8, or UTF-16 with a byte order mark. Accepts what profilers write although JSON does not allow it: control
characters in strings, lone surrogates, NaN, an array without its closing bracket. Must not know what events mean.
"""

import codecs
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from recis.wire.text import as_name

__all__ = ["Event", "TraceFileError", "TraceReader"]

MAX_JSON_BYTES = 8 << 30
MAX_EVENT_BYTES = 32 << 20
_PIECE_BYTES = 1 << 20
_PACKED_BYTES = 16 << 10
"""Size of a read from a gzip file. The bytes after a member are copied, and a file may have many small members."""
_GUESSES = 4
_SHOWN_CHARS = 40
_NO_EVENTS = 'expected a member "traceEvents", found none'
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WITHOUT_CONTROLS = bytes(max(byte, 0x20) for byte in range(256))
"""Control characters become spaces: between values they are white space, in strings JSON does not allow them."""
_SPACES = re.compile(rb" *+")
_SEPARATOR = re.compile(rb" *+[,\]]")
_SCALAR = re.compile(rb"[^,\]} ]*+")
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+')
"""The rest of a string up to its quote. All patterns here are possessive, so that none of them backtracks."""
_MARK = re.compile(rb'"%b"|["{}\[\]]' % _STRING.pattern)
"""What decides where a value ends: a whole string, the opening quote of an unfinished one, a bracket."""


def _nested(depth: int) -> bytes:
    """Return a pattern for the text between two brackets, with at most `depth` levels of brackets in it."""
    brackets = rb"|[{\[]%b[}\]]" % _nested(depth - 1) if depth else b""
    return rb'(?:[^"{}\[\]]++|"%b"%b)*+' % (_STRING.pattern, brackets)


_SHALLOW = re.compile(rb"\{%b\}" % _nested(4))
"""A whole event; one that is nested more deeply than profilers do is left to `_Scan`."""


class TraceFileError(ValueError):
    """A trace file that cannot be summarised; the message says what was expected, what was found, and where."""


class Event(msgspec.Struct, gc=False):
    """The members of an event that are read; each may be missing or of any type."""

    ph: str | None = None
    name: str | int | float | None = None
    cat: str | int | float | None = None
    ts: float | int | str | None = None
    dur: float | int | str | None = None
    pid: int | str | float | None = None
    tid: int | str | float | None = None


_decode_many = msgspec.json.Decoder(list[Event]).decode
_decode_one = msgspec.json.Decoder(Event).decode
_decode_leniently = json.JSONDecoder(strict=False).decode


class TraceReader:
    """Reads one file, once.

    Args:
        path: the file.

    Attributes:
        unreadable: number of events skipped because they are not JSON or are nested too deeply.
        problem: what is wrong with the first of them.
    """

    def __init__(self, path: Path) -> None:
        self.unreadable = 0
        self.problem = ""
        self._path = path
        self._text: Iterator[bytes] = iter(())
        self._data = b""
        self._place = 0
        self._dropped = 0
        self._num_pieces = 0

    def batches(self) -> Iterator[list[Event]]:
        """Yield the events in file order, many at a time.

        Raises:
            TraceFileError: the file is not a trace, is damaged, or is too large.
            OSError: the file cannot be read.
        """
        with self._path.open("rb") as file:
            unpacked = _unpacked(file)
            self._text = _as_text(unpacked)
            if self._take(b"{[") == b"{":
                self._find_events()
                self._take(b"[")
            yield from self._members()
            for _ in unpacked:  # the checksum of a gzip file comes last
                pass

    # --- the file's structure

    def _find_events(self) -> None:
        while self._peek() == b'"':
            key = self._value()
            self._take(b":")
            if key == b'"traceEvents"':
                return
            self._skip_value()
            if self._take(b",}") == b"}":
                raise TraceFileError(_NO_EVENTS)
        raise TraceFileError(_NO_EVENTS if self._peek() else "the file ends before its events")

    def _members(self) -> Iterator[list[Event]]:
        # The closing bracket may be missing: the format allows that, for writers that are killed.
        while self._peek() not in (b"]", b""):
            many = self._many()
            if many is None:
                yield self._one_by_one()
            else:
                yield many
                self._pass_separator()

    def _pass_separator(self) -> bool:
        """Skip a comma; return False at the end of the array or of the file."""
        if not self._peek() or self._take(b",]") == b",":
            return True
        self._place -= 1
        return False

    def _many(self) -> list[Event] | None:
        """Return all events that are complete in memory, or None when they have to be read one by one."""
        if len(self._data) - self._place < _PIECE_BYTES:
            self._more()
        end = len(self._data)
        for _ in range(_GUESSES):
            # The last complete event ends with a brace before a separator. So may a value inside a later, incomplete
            # one; then the text up to there is not a list of events, and decoding fails.
            end = self._data.rfind(b"}", self._place, end)
            while end >= 0 and _SEPARATOR.match(self._data, end + 1) is None:
                end = self._data.rfind(b"}", self._place, end)
            if end < 0:
                return None
            try:
                found = _decode_many(b"[%b]" % self._data[self._place : end + 1])
            except (ValueError, RecursionError):
                continue
            self._place = end + 1
            return found
        return None

    def _one_by_one(self) -> list[Event]:
        """Return the events that begin in memory, each decoded separately."""
        found = []
        before = self._num_pieces
        while self._peek() not in (b"]", b""):
            event = self._as_event(self._value())
            if event is not None:
                found.append(event)
            if not self._pass_separator() or self._num_pieces != before:
                break
        return found

    def _as_event(self, value: bytes) -> Event | None:
        if not value.startswith(b"{"):
            return None
        try:
            return _decode_one(value)
        except (ValueError, RecursionError):
            pass
        try:
            members: dict[str, Any] = _decode_leniently(value.decode())
        except (ValueError, RecursionError) as error:
            self.unreadable += 1
            self.problem = self.problem or str(error)
            return None
        return Event(*(members.get(field) for field in Event.__struct_fields__))

    # --- values

    def _peek(self) -> bytes:
        """Return the next byte that is not white space, empty at the end of the file."""
        while True:
            spaces = _SPACES.match(self._data, self._place)
            assert spaces is not None
            self._place = spaces.end()
            if self._place < len(self._data):
                return self._data[self._place : self._place + 1]
            if not self._more():
                return b""

    def _take(self, expected: bytes) -> bytes:
        """Return the next byte after white space, which must be one of `expected`."""
        found = self._peek()
        if not found or found not in expected:
            wanted = " or ".join(repr(chr(byte)) for byte in expected)
            shown = self._data[self._place : self._place + 4 * _SHOWN_CHARS].decode("utf-8", "replace")
            got = (
                repr(as_name(shown, _SHOWN_CHARS))
                if shown
                else "the end of the file"
                if self._dropped
                else "an empty file"
            )
            raise TraceFileError(f"expected {wanted} of a trace in JSON, plain or gzip, got {got} - {self._where()}")
        self._place += 1
        return found

    def _value(self) -> bytes:
        """Return the text of the next value."""
        self._peek()
        shallow = _SHALLOW.match(self._data, self._place)
        if shallow is not None:
            self._place = shallow.end()
            return shallow[0]
        scan = _Scan()
        at = self._place
        while True:
            at, done = scan.find(self._data, at)
            if done:
                value, self._place = self._data[self._place : at], at
                return value
            at -= self._place
            if at > MAX_EVENT_BYTES:
                raise TraceFileError(f"expected events of at most {MAX_EVENT_BYTES >> 20} MiB - {self._where()}")
            if not self._more():
                raise TraceFileError(f"the file ends in the middle of a value that begins {self._where()}")

    def _skip_value(self) -> None:
        """Skip the next value, whatever its size."""
        self._peek()
        scan = _Scan()
        done = False
        while not done:
            self._place, done = scan.find(self._data, self._place)
            if not done and not self._more():
                raise TraceFileError(f"the file ends in the middle of a value - {self._where()}")

    def _more(self) -> bool:
        """Append the next piece of the file to the unused data, which then begins at 0."""
        parts = [self._data[self._place :]]
        self._dropped += self._place
        self._place = size = 0
        for part in self._text:
            parts.append(part)
            size += len(part)
            if size >= _PIECE_BYTES:
                break
        self._data = b"".join(parts)
        self._num_pieces += 1
        return size > 0

    def _where(self) -> str:
        return f"at byte {self._dropped + self._place} of the text"


class _Scan:
    """Finds the end of one value, piece by piece; needs constant memory however deeply the value is nested."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._has_begun = False

    def find(self, data: bytes, at: int) -> tuple[int, bool]:
        """Return where the value ends and True, or where to continue once there is more data and False."""
        if not self._has_begun and at < len(data) and data[at : at + 1] not in b'"{[':
            scalar = _SCALAR.match(data, at)
            assert scalar is not None
            return scalar.end(), scalar.end() < len(data)
        while at < len(data):
            self._has_begun = True
            at = self._string_end(data, at) if self._in_string else self._mark_end(data, at)
            if self._in_string:
                break
            if self._depth <= 0:
                return at, True
        return at, False

    def _string_end(self, data: bytes, at: int) -> int:
        found = _STRING.match(data, at)
        assert found is not None
        at = found.end()
        if data[at : at + 1] == b'"':
            self._in_string = False
            at += 1
        return at  # a backslash in the last byte is looked at again, together with what it escapes

    def _mark_end(self, data: bytes, at: int) -> int:
        found = _MARK.search(data, at)
        if found is None:
            return len(data)
        mark = found[0]
        if mark == b'"':
            self._in_string = True
        elif mark in b"{[":
            self._depth += 1
        elif mark in b"}]":
            self._depth -= 1
        return found.end()


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the file, or the contents of all members of a gzip file; like gzip, ignore what follows the last one."""
    first = file.read(_PACKED_BYTES)
    num_bytes = 0
    for piece in (_members_of if first.startswith(_GZIP) else _plain)(file, first):
        num_bytes += len(piece)
        if num_bytes > MAX_JSON_BYTES:
            raise TraceFileError(f"expected at most {MAX_JSON_BYTES >> 20} MiB of JSON")
        yield piece


def _plain(file: IO[bytes], data: bytes) -> Iterator[bytes]:
    while data:
        yield data
        data = file.read(_PIECE_BYTES)


def _members_of(file: IO[bytes], data: bytes) -> Iterator[bytes]:
    while data.startswith(_GZIP):
        member = zlib.decompressobj(_GZIP_WINDOW)
        while not member.eof:
            data = data or file.read(_PACKED_BYTES)
            try:
                piece = member.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise TraceFileError(f"expected a whole gzip file, this one is damaged: {error}") from error
            if not (data or piece or member.eof):
                raise TraceFileError("expected a whole gzip file, this one is cut off")
            yield piece
            data = member.unconsumed_tail
        data = member.unused_data
        if len(data) < len(_GZIP):
            data += file.read(_PACKED_BYTES)


def _as_text(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the text as valid UTF-8, with spaces in place of control characters."""
    decode = None
    for piece in pieces:
        if decode is None:
            decode = codecs.getincrementaldecoder("utf-16" if piece.startswith(_UTF_16) else "utf-8-sig")(
                "replace"
            ).decode
        yield decode(piece).encode().translate(_WITHOUT_CONTROLS)
