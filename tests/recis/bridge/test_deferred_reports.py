from collections.abc import Iterator
from pathlib import Path

import pytest

from recis.bridge.deferred_reports import DeferredReports
from recis.bridge.outbox import Outbox
from recis.wire.messages import Points


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path)
    yield made
    made.close()


def test_reports_beyond_the_bound_push_out_the_oldest_and_the_next_frame_counts_them(outbox: Outbox) -> None:
    rows = DeferredReports(max_reports=3)
    for step in range(5):
        rows.offer(("a", "b"), (float(step), 0.0), step, 7)
    assert outbox.dropped == 0
    rows.resolve(outbox.writer)
    assert outbox.dropped == 4
    outbox.reader.seal()
    frame = outbox.reader.frame(0)
    assert frame is not None
    [points] = frame.records
    assert isinstance(points, Points)
    assert (frame.dropped, memoryview(points.steps).cast("q").tolist()) == (4, [2, 3, 4])
    rows.resolve(outbox.writer)
    assert outbox.dropped == 4
