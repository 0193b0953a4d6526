"""Read frames from segments, leaving out damaged and refused data.

Owns the account of the data left out; must not know which frame is next (`outbox_reader`).
"""

from collections.abc import Callable, Mapping

from recis.bridge.frames import FrameContent, leave_out, num_values, read_frame
from recis.bridge.records import FrameSpan, RowLayout
from recis.bridge.recovery import Damage, find_layouts
from recis.bridge.segment import Segment
from recis.bridge.set_aside import SetAside
from recis.wire.messages import Event, Frame, FrameRecord

__all__ = ["FrameReader"]

MOST_DROPPED = (1 << 63) - 1
MOST_REFUSALS = 32


class FrameReader:
    """Not thread-safe.

    Args:
        set_aside: records the losses.
        report: called with an event for the run's page for each new loss.
    """

    def __init__(self, set_aside: SetAside, report: Callable[[Event], None]) -> None:
        self._set_aside = set_aside
        self._report = report
        self._refusals: dict[int, list[str]] = {}
        self._layouts: tuple[Segment, dict[int, RowLayout]] | None = None  # of the file read last

    def layouts_of(self, segment: Segment) -> Mapping[int, RowLayout]:
        """Return the layouts of a segment; those of the file read last are cached."""
        if segment.is_mapped:
            return segment.layouts
        if self._layouts is None or self._layouts[0] is not segment:
            self._layouts = segment, find_layouts(segment.read(), segment.seed)
        return self._layouts[1]

    def read(
        self, segment: Segment, span: FrameSpan, data: bytes, layouts: Mapping[int, RowLayout], why: str = ""
    ) -> Frame | None:
        """Return what can be sent of a frame, or None if nothing can.

        Args:
            segment: the frame's segment.
            span: the frame.
            data: its bytes.
            layouts: the layouts of the segment.
            why: the reason if data is missing.
        """
        content = read_frame(data, span, layouts, segment.seed)
        if content.lost_values > 0 or content.lost_records > 0:
            damage = Damage(span.n, content.lost_values, content.lost_records, why or "checksum mismatch")
            if damage not in segment.damage:
                segment.damage.append(damage)
            self._set_aside.note(segment.name, 0, *segment.loss())
            self._tell()
        records = content.records
        if span.n in self._refusals:
            records = self._without_refused(segment, span.n, content)
        if not records:
            return None
        return Frame(n=span.n, records=records, dropped=min(span.dropped + self._set_aside.values, MOST_DROPPED))

    def refused(self, n: int, why: str) -> None:
        """Leave more records out of frame `n` from now on, because the server has refused it."""
        refusals = self._refusals.setdefault(n, [])
        if len(refusals) < MOST_REFUSALS:
            refusals.append(why)

    def forget(self, n: int) -> None:
        """Forget the refusals of frames up to `n`, which are acknowledged."""
        if self._refusals:
            self._refusals = {number: why for number, why in self._refusals.items() if number > n}

    def _without_refused(self, segment: Segment, n: int, content: FrameContent) -> tuple[FrameRecord, ...]:
        out: frozenset[int] = frozenset()
        for why in self._refusals[n]:
            out = leave_out(content.records, out, why)
        refused = [content.records[position] for position in out]
        values = sum(map(num_values, refused))
        others = sum(num_values(record) == 0 for record in refused)
        why = f"refused by the server: {self._refusals[n][-1]}"
        segment.is_kept = True
        self._set_aside.note(f"{segment.name}, refused", n, values, others, why)
        self._tell()
        return tuple(record for position, record in enumerate(content.records) if position not in out)

    def _tell(self) -> None:
        event = self._set_aside.news()
        if event is not None:
            self._report(event)
