"""A run without a server, and the records it would have sent."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import recis.monitor
from recis.bridge.outbox import Outbox
from recis.bridge.spool import SpoolFolder, find_left_over
from recis.wire.codec import points_columns
from recis.wire.messages import FrameRecord, Points


@dataclass
class Spooled:
    """Everything below a spool's root, as the server would receive it."""

    root: Path

    def records(self) -> list[FrameRecord]:
        found: list[FrameRecord] = []
        for path in find_left_over(self.root):
            outbox = Outbox(path, segments=SpoolFolder(path).segments())
            after = 0
            while (frame := outbox.reader.frame(after)) is not None:
                found.extend(frame.records)
                after = frame.n
        return found

    def of(self, kind: type[FrameRecord]) -> list[FrameRecord]:
        return [record for record in self.records() if isinstance(record, kind)]

    def values(self) -> dict[str, list[tuple[int, float]]]:
        """Return (step, value) per series, in order of step; equal steps are in order of arrival."""
        found: dict[str, list[tuple[int, float]]] = {}
        for record in self.records():
            if isinstance(record, Points):
                steps, _, columns = points_columns(record)
                for key, column in zip(record.keys, columns, strict=True):
                    pairs = zip(steps.tolist(), column.tolist(), strict=True)
                    found.setdefault(key, []).extend(pairs)
        return {key: sorted(pairs, key=lambda pair: pair[0]) for key, pairs in found.items()}


@pytest.fixture
def spooled(tmp_path: Path) -> Spooled:
    return Spooled(tmp_path / "spool")


@pytest.fixture
def open_offline(spooled: Spooled) -> Callable[..., recis.monitor.Run]:
    def open_it(**options: object) -> recis.monitor.Run:
        return recis.monitor.init(mode="offline", spool_dir=str(spooled.root), **options)  # type: ignore[arg-type]

    return open_it
