"""Recover the frames of a segment whose process has ended, and find damaged parts.

Owns the scan of a segment's bytes; must not know files or where frames go. It never writes, and the same bytes always
yield the same frames: a frame keeps its number and records however often a spool is recovered.
"""

from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

import msgspec
import numpy as np

from recis.bridge.records import (
    COPIED_NAMES_BYTES,
    HEADER_BYTES,
    NAMES,
    NAMES_COPY,
    RECORD,
    ROW,
    SEAL,
    SEAL_BYTES,
    SEAL_COPY,
    FrameSpan,
    Header,
    Item,
    RowLayout,
    head_of,
    heads_in,
    items_of,
    seed_of,
    verified_records,
    verified_rows,
)

__all__ = ["Damage", "Recovered", "find_header", "find_layouts", "recover"]

FEW_WORDS = 4
"""Fewer non-zero words than this in the unwritten part of a segment cannot be a record."""
_key_lists = msgspec.msgpack.Decoder(tuple[str, ...])


class Damage(NamedTuple):
    """Values and other records of frame `n` that are lost, and why; `n` is 0 for damage to the file as a whole."""

    n: int
    values: int
    records: int
    why: str


class Recovered(NamedTuple):
    """The frames that can be sent, in order; the damage; the highest frame number, lost frames included."""

    frames: list[FrameSpan]
    damage: list[Damage]
    last_frame: int


class _Found(NamedTuple):
    """The verified contents of a range: number of values and of other records, their end, and the gaps between them.

    A gap is its start, its end, and the layout of the row before it, if there is one.
    """

    points: int
    records: int
    end: int
    gaps: list[tuple[int, int, RowLayout | None]]


def find_header(data: bytes, name: str = "") -> Header | None:
    """Return the header of a segment from either of its two copies; `name` is the file's name without suffix."""
    first = Header.unpack(data, 0)
    last = Header.unpack(data, (first.size if first is not None else len(data)) - HEADER_BYTES)
    if first is None or last is None:
        return first or last
    if (first.number, first.writer) == (last.number, last.writer):
        return max(first, last, key=lambda header: (header.end, header.last_before, header.dropped))  # the later one
    # One of the two copies was overwritten with bytes of another segment.
    return last if name.isdecimal() and int(name) == last.number != first.number else first


def find_layouts(data: bytes, seed: int, items: Sequence[Item] | None = None) -> dict[int, RowLayout]:
    """Return the layouts of a segment by number; `items` are its verified records, if known."""
    view = memoryview(data)
    layouts: dict[int, RowLayout] = {}
    for item in verified_records(data, seed) if items is None else items:
        if item.kind in (NAMES, NAMES_COPY):
            names = item.payload(view)
            layouts[item.layout] = RowLayout(item.layout, _key_lists.decode(names), crc32(names, seed))
    return layouts


def recover(data: bytes, header: Header) -> Recovered:
    """Recover the segment with these bytes and this header."""
    search = _Search(data, header)
    for span in search.seals():
        search.sealed(span)
    search.behind_the_last_seal()
    return Recovered(search.frames, search.damage, search.last_frame)


class _Search:
    """A scan from seal to seal; `_reach` is the offset of the first record that is in no frame yet."""

    def __init__(self, data: bytes, header: Header) -> None:
        self.frames: list[FrameSpan] = []
        self.damage: list[Damage] = []
        self.last_frame = header.last_before
        self._data = data
        self._header = header
        self._seed = seed_of(header.writer, header.number)
        self._items = list(verified_records(data, self._seed))
        self._layouts = find_layouts(data, self._seed, self._items)
        self._reach = HEADER_BYTES
        self._dropped = header.dropped

    def seals(self) -> list[FrameSpan]:
        """Return the sealed frames, in order."""
        view = memoryview(self._data)
        spans = [FrameSpan.unpack(item.payload(view)) for item in self._items if item.kind in (SEAL, SEAL_COPY)]
        return sorted({span.n: span for span in spans if span is not None}.values())

    def sealed(self, span: FrameSpan) -> None:
        """Add a sealed frame: all of it if its checksum matches, otherwise the records that can be verified."""
        if span.n > self.last_frame + 1 and span.start > self._reach:
            self._without_seal(self._find(self._reach, span.start - SEAL_BYTES), span.start - SEAL_BYTES)
        is_whole = span.crc == crc32(self._data[span.start : span.stop], self._seed)
        if is_whole and self._knows_names(span):
            self.frames.append(span)
        else:
            found = self._find(span.start, span.stop)
            self._add(span._replace(points=found.points, records=found.records, crc=None))
            why = "the names of its rows are damaged" if is_whole else "checksum mismatch"
            self._lost(span.n, span.points - found.points, span.records - found.records, why)
        self.last_frame, self._reach, self._dropped = span.n, span.stop + SEAL_BYTES, span.dropped

    def behind_the_last_seal(self) -> None:
        """Add the records that were never sealed: those at the end of a full segment, or of a killed process."""
        header = self._header
        if not header.end:
            copies = [item.start for item in self._items if item.kind in (NAMES_COPY, SEAL_COPY)]
            top = min(copies, default=header.size - HEADER_BYTES)
            found = self._find(self._reach, top)
            before = found.gaps[-1][2] if found.gaps else None
            stop = max(found.end, top - self._unfinished_copy())
            self._without_seal(found, found.end, self._left_behind(found.end, stop, before))
            if len(self._data) < header.size:
                why = f"truncated to {len(self._data)} of {header.size} bytes; how much was lost is unknown"
                self.damage.append(Damage(0, 0, 0, why))
            return
        if self._reach < header.unsealed:
            stop = header.unsealed - SEAL_BYTES
            self._without_seal(self._find(self._reach, stop), stop)
        self._reach = header.unsealed
        if header.points or header.records:
            found = self._find(self._reach, header.end)
            self.last_frame = header.last_frame - 1
            self._frame(found)
            values, records = header.points - found.points, header.records - found.records
            self._lost(self.last_frame, values, records, "records are damaged")
        self.last_frame = header.last_frame
        values = header.all_points - sum(span.points for span in self.frames) - sum(loss.values for loss in self.damage)
        records = (
            header.all_records - sum(span.records for span in self.frames) - sum(loss.records for loss in self.damage)
        )
        self._lost(0, values, records, "seals are damaged, and records before them")

    # --- frames

    def _without_seal(self, found: _Found, stop: int, left: tuple[int, int] = (0, 0)) -> None:
        """Add a frame without a seal, whose original contents are unknown.

        Args:
            found: its verified contents.
            stop: offset where it ended.
            left: numbers of values and of other records known to be lost after it.
        """
        gaps = [gap for gap in found.gaps if gap[0] < found.end]
        if stop > found.end:
            gaps.append((found.end, stop, found.gaps[-1][2] if found.gaps else None))
        if not (found.points or found.records or gaps or any(left)):
            return
        self._frame(found)
        if self._header.end:
            return  # a closed segment stores its totals
        guesses = [left, *(self._guess(*gap) for gap in gaps)]
        values, records = sum(values for values, _ in guesses), sum(records for _, records in guesses)
        if gaps or any(left):
            self.damage.append(
                Damage(self.last_frame, values, records, "records are damaged; the numbers are estimates")
            )

    def _frame(self, found: _Found) -> None:
        """Add the next frame."""
        self.last_frame += 1
        span = FrameSpan(self.last_frame, self._dropped, self._reach, found.end, found.points, found.records, None)
        self._add(span)

    def _add(self, span: FrameSpan) -> None:
        if span.points or span.records:
            self.frames.append(span)

    def _lost(self, n: int, values: int, records: int, why: str) -> None:
        if values > 0 or records > 0:
            self.damage.append(Damage(n, max(values, 0), max(records, 0), why))

    # --- records

    def _knows_names(self, span: FrameSpan) -> bool:
        """Return whether the names of all rows of an intact frame are known."""
        items = items_of(memoryview(self._data), span.start, span.stop)
        return all(item.kind != ROW or item.layout in self._layouts for item in items)

    def _find(self, start: int, stop: int) -> _Found:
        """Verify all records between two offsets."""
        last = min(stop, len(self._data))
        items = [item for item in self._items if item.kind in (NAMES, RECORD) and start <= item.start < last]
        starts = [np.array([item.start for item in items], np.int64)]
        widths = [np.array([item.width for item in items], np.int64)]
        layouts = [np.full(len(items), -1)]
        points = 0
        for layout, places, _ in verified_rows(self._data, 0, self._layouts, start, last):
            starts.append(places)
            widths.append(np.full(len(places), 8 * layout.words))
            layouts.append(np.full(len(places), layout.number))
            points += len(layout.keys) * len(places)
        begins, which = np.concatenate(starts), np.concatenate(layouts)
        order = np.argsort(begins)
        begins, ends, which = begins[order], (begins + np.concatenate(widths))[order], which[order]
        before = np.concatenate(([start], np.maximum.accumulate(ends)))
        after = np.concatenate((begins, [stop]))
        rows = np.concatenate(([-1], np.maximum.accumulate(np.where(which >= 0, np.arange(len(which)), -1))))
        gaps = []
        for place in np.flatnonzero(after > before).tolist():
            row = int(rows[place])
            gaps.append((int(before[place]), int(after[place]), self._layouts[int(which[row])] if row >= 0 else None))
        return _Found(points, sum(item.kind == RECORD for item in items), int(before[-1]), gaps)

    def _unfinished_copy(self) -> int:
        """Return the size of the copy that the process may have been writing when it was killed, 0 if there is none.

        A copy is written after its original, and nothing is lost with it.
        """
        last = max(
            (item for item in self._items if item.kind in (NAMES, SEAL)), key=lambda item: item.start, default=None
        )
        if last is None or last.width > COPIED_NAMES_BYTES + 24:
            return 0
        view = memoryview(self._data)
        kind = NAMES_COPY if last.kind == NAMES else SEAL_COPY
        is_copied = any(
            (item.kind, item.layout) == (kind, last.layout) and item.payload(view) == last.payload(view)
            for item in self._items
        )
        return 0 if is_copied else last.width

    def _left_behind(self, start: int, stop: int, before: RowLayout | None) -> tuple[int, int]:
        """Estimate the values and other records that are lost after the last verified record of a killed process.

        The head of a record is written last: a record without a head was never completed, one with a wrong head was.
        """
        num_words = (min(stop, len(self._data)) - start) // 8
        words = np.frombuffer(self._data, np.uint64, num_words, start) if num_words >= 2 else np.empty(0, np.uint64)
        values = 0
        if len(words) and self._layouts:
            values = sum(len(layout.keys) * len(places) for layout, places in heads_in(words, self._layouts))
        used = np.flatnonzero(words)
        if values or not len(used):
            return values, 0
        _, kind, length = head_of(self._data, start)
        is_record = NAMES <= kind <= SEAL_COPY
        if used[0] == 0:
            return (len(before.keys), 0) if before is not None and not is_record else (0, 1)
        longest_row = max((layout.words for layout in self._layouts.values()), default=0)
        is_torn = used[-1] < longest_row or (is_record and 8 * int(used[-1]) < 16 + length)
        return (0, 0) if is_torn or len(used) < FEW_WORDS else (0, 1)

    def _guess(self, start: int, stop: int, before: RowLayout | None) -> tuple[int, int]:
        """Estimate the values and other records in a gap from the heads left in it and the row before it."""
        values = records = 0
        while start + 16 <= min(stop, len(self._data)):
            head, kind, length = head_of(self._data, start)
            layout = self._layouts.get(head >> 48)
            if layout is not None and head >> 32 == layout.head >> 32:
                values += len(layout.keys)
                start += 8 * layout.words
            elif head >> 32 & 0xFFFF == 0 and NAMES <= kind <= SEAL_COPY and start + 16 + length <= stop:
                records += kind == RECORD
                start += 16 + length + -length % 8
            else:
                break
        layout = before or next(iter(self._layouts.values()), None)
        if start < stop and layout is not None:
            values += len(layout.keys) * max(1, (stop - start) // (8 * layout.words))
        return values, records
