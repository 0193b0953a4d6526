"""Whole runs of a few frames, with steps, times and events as a test needs them, sent as a training process would."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from websockets.sync.client import connect

from recis.wire.codec import encode
from recis.wire.messages import Event, Frame, FrameRecord, Hello, Pass, Points, Status

__all__ = ["Report", "send"]

Values = Sequence[float]


@dataclass
class Report:
    """What one rank reports.

    Args:
        values: by the name of a series, one value per step.
        seconds: the time of a step, in seconds from the start.
        first: the first step.
        events: kind, level, step and text.
        passes: filter passes.
    """

    values: Mapping[str, Values]
    seconds: Callable[[int], float] = float
    first: int = 1
    events: Sequence[tuple[str, str, int, str]] = ()
    passes: Sequence[Pass] = ()
    tags: tuple[str, ...] = ()
    ended: bool = True
    start_ns: int = field(default_factory=lambda: time.time_ns() - 3600 * 10**9)

    def records(self) -> list[FrameRecord]:
        """The records of one frame."""
        count = len(next(iter(self.values.values())))
        steps = np.arange(self.first, self.first + count)
        times = np.array([self._time(int(step)) for step in steps])
        points = Points(
            tuple(self.values),
            steps.astype("<i8").tobytes(),
            times.astype("<i8").tobytes(),
            b"".join(np.asarray(column, dtype="<f8").tobytes() for column in self.values.values()),
        )
        events = [
            Event(kind=kind, level=level, step=step, time_ns=self._time(step), text=text)  # type: ignore[arg-type]
            for kind, level, step, text in self.events
        ]
        end = [Status(state="finished", time_ns=int(times[-1]))] if self.ended else []
        return [points, *events, *self.passes, *end]

    def _time(self, step: int) -> int:
        return self.start_ns + int(self.seconds(step) * 1e9)


def send(url: str, run: str, ranks: Sequence[Report], *, name: str = "", project: str = "films") -> None:
    """Sends a run, rank after rank, and returns when all of it is committed."""
    for rank, report in enumerate(ranks):
        hello = Hello(
            run=run, writer=f"w{rank}", attempt="a", name=name or run, project=project, rank=rank,
            world_size=len(ranks), tags=report.tags, time_ns=report.start_ns, started_ns=report.start_ns,
        )  # fmt: skip
        with connect(f"{url.replace('http', 'ws', 1)}/ws/ingest") as socket:
            socket.send(encode(hello))
            socket.recv()
            socket.send(encode(Frame(n=1, records=tuple(report.records()))))
            socket.recv()
