"""The messages of one view, made once for all viewers: a snapshot, and numbered messages after it.

Owns which messages a receiver gets, given the number of the last one that it has seen; must not know sockets, tasks or
the store. Bounded: frames until the next step (`MAX_FRAME_BYTES`), the newest messages (`MAX_LOG`, `MAX_LOG_BYTES`),
and a snapshot while the messages after it are among them. A receiver that is further behind gets a snapshot.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from recis_server.live.chart import LiveChart, View
from recis_server.live.messages import ChartMessage
from recis_server.live.rows import select_rows
from recis_server.store.values import ChartRead, StoredFrame

__all__ = ["Channel"]

MAX_FRAME_BYTES = 4 << 20
"""Beyond that, frames are not kept until the next step."""
MAX_LOG = 32
MAX_LOG_BYTES = 1 << 20
_MORE_WHILE_READING = 8
"""The log is longer while a snapshot is read, because the messages after it must be available when it arrives."""


class Channel:
    """The messages of one view, for all receivers that watch it.

    Args:
        view: what is shown.
        ask: called with this channel when a receiver needs a snapshot that is not at hand.

    Attributes:
        number: that of the newest message.
    """

    def __init__(self, view: View, ask: "Callable[[Channel], None]") -> None:
        self.view = view
        self._chart = LiveChart(view)
        self._ask = ask
        self._frames: list[tuple[int, StoredFrame]] = []
        self._num_frame_bytes = 0
        self.number = 0
        # The messages after number `_floor`.
        self._log: deque[ChartMessage] = deque()  # bounded: `_trim`
        self._floor = 0
        self._num_bytes = 0
        self._snapshot: tuple[int, ChartMessage] | None = None
        self._begun = 0
        self._is_reading = False
        self._is_live = False

    @property
    def snapshot_bytes(self) -> int:
        """Return the size of the snapshot at hand."""
        return 0 if self._snapshot is None else len(self._snapshot[1])

    def add(self, version: int, stored: StoredFrame, num_bytes: int) -> None:
        """Keep a frame of the run for the next step: it costs nothing here, where training processes wait."""
        self._frames.append((version, stored))
        self._num_frame_bytes += num_bytes
        if self._num_frame_bytes > MAX_FRAME_BYTES:
            self._feed()

    def miss(self) -> None:
        """Continue only from the next snapshot, because frames are missing."""
        self._feed()
        self._chart.stale = True

    def step(self) -> bool:
        """Make a message of what has changed; return whether receivers now have something to fetch."""
        self._feed()
        if self._chart.stale:
            was_live, self._is_live = self._is_live, False
            if was_live:
                self._restart()
            return was_live
        payload = self._chart.delta()
        if payload is None:
            return False
        self.number += 1
        message = ChartMessage(payload)
        self._log.append(message)
        self._num_bytes += len(message)
        self._trim()
        return True

    def collect(self, seen: int | None, watch_id: int) -> tuple[Sequence[bytes], int] | None:
        """Return the frames for a receiver and the number of the last one; None if it has to wait for a snapshot.

        Args:
            seen: what it has seen, None for nothing.
            watch_id: the receiver's id of the view.
        """
        if seen == self.number - 1 and self._log:
            return self._log[-1].parts(watch_id), self.number
        frames: list[bytes] = []
        if seen is None or seen < self._floor:
            if self._snapshot is None:
                self._ask(self)
                return None
            seen, snapshot = self._snapshot
            frames += snapshot.parts(watch_id)
        for message in islice(self._log, seen - self._floor, None):
            frames += message.parts(watch_id)
        return frames, self.number

    # --- snapshots

    def begin(self) -> None:
        """Begin to read a snapshot."""
        if self._chart.stale:
            self.step()
            self._chart.begin()
        self._begun = self.number
        self._is_reading = True

    def arrive(self, read: ChartRead) -> bool:
        """Take a snapshot; return False if messages do not continue it, so that another one has to be read."""
        self._is_reading = False
        if self._chart.is_reading:
            payload = self._chart.snapshot(read)
            self._is_live = payload is not None
        elif not self._chart.stale and self._begun >= self._floor and self._chart.continues(read):
            payload = self._chart.encode(read)
        else:
            # Continue from the next snapshot, for all receivers: it may differ in what only the store knows.
            self._chart.stale = True
            payload = None
        if payload is not None:
            self._snapshot = (self._begun, ChartMessage(payload))
        self._trim()
        return payload is not None

    def fail(self) -> None:
        """End a read that has failed."""
        self._is_reading = False
        if self._chart.is_reading:
            self._chart.fail()

    def drop_snapshot(self) -> None:
        """Drop the snapshot at hand; the next receiver that needs one asks for another."""
        self._snapshot = None

    # --- inside

    def _feed(self) -> None:
        for version, stored in self._frames:
            rows = select_rows(version, stored, self._chart.keys)
            if rows is not None:
                self._chart.feed(rows)
        self._frames, self._num_frame_bytes = [], 0

    def _restart(self) -> None:
        """Discard the log, so that every receiver needs a snapshot."""
        self.number += 1
        self._floor = self.number
        self._log.clear()
        self._num_bytes = 0
        self._snapshot = None

    def _trim(self) -> None:
        more = _MORE_WHILE_READING if self._is_reading else 1
        while len(self._log) > 1 and (len(self._log) > more * MAX_LOG or self._num_bytes > more * MAX_LOG_BYTES):
            self._floor += 1
            self._num_bytes -= len(self._log.popleft())
        if self._snapshot is not None and self._snapshot[0] < self._floor:
            self._snapshot = None
