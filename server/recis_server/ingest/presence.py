"""The connected ranks: their progress, their speed, and whether they are silent.

Owns the state of current connections and the events `attempt`, `disconnected` and `rank_conflict`; must not know
sockets. A rank's state is dropped when its connection closes; the store keeps everything that must last. Of ranks that
are connected to other servers only their presence is known (`roster`).
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from recis.wire.codec import points_columns
from recis.wire.messages import FrameRecord, Hello, Points, Status
from recis.wire.names import SYSTEM_PREFIX
from recis_server.bus import Bus, Hint
from recis_server.errors import ServerError
from recis_server.ingest.rivals import Rivals
from recis_server.ingest.roster import Roster
from recis_server.store.interface import Store
from recis_server.store.values import Commit, EventRow, StoredFrame, StreamRow

__all__ = ["Presence"]

MOST_EXPECTED_S = 2.0
"""A rank that trains and is connected reports something within this time."""
REPEATED_S = 600.0
"""Repetitions within this time are counted in one event."""
STALLED_S = 60.0
STALLED_STEPS = 50.0
PEAK_NS = 200_000_000
"""The shortest time that determines a rate, because steps arrive in bursts."""
_SAMPLES = 16
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Rank:
    """A connected rank; `order` is the position of its attempt in time.

    `samples` are pairs of trainer's time (ns) and step, newest last.
    """

    order: tuple[int, int]
    last_seen_s: float
    rivals: Rivals
    connections: int = 1
    final: bool = False
    samples: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_SAMPLES))

    def rate(self) -> float | None:
        """Return steps per second over the newest samples."""
        if len(self.samples) < 2:
            return None
        (first_ns, first), (last_ns, last) = self.samples[0], self.samples[-1]
        return (last - first) * 1e9 / (last_ns - first_ns) if last_ns > first_ns else None

    def peak_rate(self) -> float | None:
        """Return the highest rate in steps per second over all samples or any suffix of them."""
        if len(self.samples) < 2:
            return None
        last_ns, last = self.samples[-1]
        spans = [(last_ns - at_ns, last - step) for at_ns, step in self.samples if last_ns - at_ns >= PEAK_NS]
        return max((steps * 1e9 / span_ns for span_ns, steps in spans), default=self.rate())

    def expected_step(self, now_s: float) -> int | None:
        """Return the newest step extrapolated by the rate; None before the first."""
        if not self.samples:
            return None
        silent_s = min(now_s - self.last_seen_s, MOST_EXPECTED_S)
        return self.samples[-1][1] + int((self.rate() or 0.0) * silent_s)


class Presence:
    """Connected ranks, updated by the ingest endpoint and by the store's commits.

    Args:
        store: where events are written.
        bus: notified of every change.
        clock: Unix time in nanoseconds, for events.
        monotonic: clock in seconds for detecting silence, unaffected by changes of the system clock.
    """

    def __init__(
        self,
        store: Store,
        bus: Bus,
        *,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._monotonic = monotonic
        self._runs: dict[str, dict[int, _Rank]] = {}
        self._announced: dict[str, int] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self.roster = Roster(bus, monotonic=monotonic)
        store.subscribe(self._on_commit)

    async def open(self) -> None:
        """Start exchanging with other servers which ranks are connected."""
        await self.roster.open(self._present)

    async def close(self) -> None:
        """Wait for events that are being written."""
        await self.roster.close()
        await asyncio.gather(*self._telling, return_exceptions=True)

    # --- queries

    def connected(self, run: str) -> bool:
        """Return whether any rank of the run is connected."""
        return run in self._runs or bool(self.roster.ranks(run))

    def ranks(self, run: str) -> tuple[int, ...]:
        """Return the connected ranks of the run."""
        return tuple(sorted(self.roster.ranks(run).union(self._runs.get(run, ()))))

    def num_ranks(self) -> int:
        """Return the number of ranks of all runs that are connected to this server."""
        return sum(len(ranks) for ranks in self._runs.values())

    def expected_step(self, run: str, rank: int) -> int | None:
        """Return the estimated current step of this rank, extrapolated from the highest one since it connected."""
        seen = self._rank(run, rank)
        return seen.expected_step(self._monotonic()) if seen is not None else None

    def rate(self, run: str, rank: int) -> float | None:
        """Return steps per second of this rank by its own clock, or None if not known yet."""
        seen = self._rank(run, rank)
        return seen.rate() if seen is not None else None

    def peak_rate(self, run: str, rank: int) -> float | None:
        """Return the highest recent rate of this rank, or None if not known yet."""
        seen = self._rank(run, rank)
        return seen.peak_rate() if seen is not None else None

    def live_state(self, run: str) -> str | None:
        """Return `running` or `stalled` for a connected run, None for others.

        A run is stalled when no connected rank has sent anything for 60 s or 50 of its own steps, whichever is longer.
        """
        ranks = self._runs.get(run)
        own = _live_state(ranks, self._monotonic()) if ranks else None
        return own if own == "running" else self.roster.state(run) or own

    def live_states(self) -> dict[str, str]:
        """Return the live state of every connected run."""
        now_s = self._monotonic()
        states = self.roster.states()
        for run, ranks in self._runs.items():
            if states.get(run) != "running":
                states[run] = _live_state(ranks, now_s)
        return states

    def _present(self) -> dict[str, tuple[Iterable[int], str]]:
        """Return the ranks of this server and their state, by run."""
        now_s = self._monotonic()
        return {run: (ranks, _live_state(ranks, now_s)) for run, ranks in self._runs.items()}

    # --- updates

    async def joined(self, stream: StreamRow, hello: Hello | None = None) -> None:
        """Record a greeted writer; the first writer of a later attempt creates an event.

        Args:
            stream: the writer.
            hello: its greeting, or None if unknown.
        """
        ranks = self._runs.setdefault(stream.run, {})
        known = ranks.get(stream.rank)
        if known is not None and known.order >= stream.order:
            # The same process again, or an older attempt's spool: no information about the running process.
            known.connections += 1
        else:
            # A rank of an older attempt may still hold a dead connection: the newer one replaces it.
            connections, rivals = (1, Rivals()) if known is None else (known.connections + 1, known.rivals)
            known = ranks[stream.rank] = _Rank(stream.order, self._monotonic(), rivals, connections)
        if hello is not None:
            known.rivals.joined(stream.writer, hello, self._clock())
        self.roster.changed(stream.run)
        self._bus.publish(Hint("run", stream.run))
        if stream.attempt > max(1, self._announced.get(stream.run, 1)):
            self._announced[stream.run] = stream.attempt  # before the first await: other ranks join meanwhile
            await self._announce_attempt(stream)

    async def left(self, stream: StreamRow, *, expected: bool) -> None:
        """Record that a connection has closed and its frames are committed.

        Without a final status from the rank this creates an event, unless it was `expected` (superseded, server
        stopping). Repeated disconnections within `REPEATED_S`, for example behind a proxy that closes idle
        connections, create one event.
        """
        rank = self._rank(stream.run, stream.rank)
        if rank is None:
            return
        rank.rivals.left(stream.writer)
        rank.connections -= 1
        if rank.connections > 0:
            return
        ranks = self._runs[stream.run]
        del ranks[stream.rank]
        if not ranks:
            del self._runs[stream.run]
            self._announced.pop(stream.run, None)
        self.roster.changed(stream.run)
        self._bus.publish(Hint("run", stream.run))
        if not expected and not rank.final:
            step = rank.samples[-1][1] if rank.samples else None
            text = f"rank {stream.rank} lost its connection"
            await self._add(stream, "disconnected", text, level="warning", step=step, repeated_s=REPEATED_S)

    def _on_commit(self, commit: Commit) -> None:
        for stored in commit.frames:
            rank = self._rank(stored.stream.run, stored.stream.rank)
            if rank is None:
                continue
            if rank.order == stored.stream.order:
                records = stored.frame.records
                if not records or any(map(_is_of_training, records)):
                    rank.last_seen_s = self._monotonic()
                _note(rank, stored)
            if len(rank.rivals) > 1 and (conflict := rank.rivals.notice(stored)) is not None:
                task = asyncio.create_task(self._tell_conflict(stored.stream, *conflict), name="rank-conflict")
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)

    async def _tell_conflict(self, stream: StreamRow, writers: list[str], places: list[str]) -> None:
        try:
            known = await self._store.events(stream.run)
            if any(event.kind == "rank_conflict" and event.data.get("writers") == writers for event in known):
                return
            text = (
                f"two processes report as rank {stream.rank}, and may hide each other's values: {' and '.join(places)}"
            )
            await self._add(stream, "rank_conflict", text, level="warning", data={"writers": writers})
        except ServerError as error:
            _logger.warning("a conflict in run %s could not be recorded: %s", stream.run, error)

    async def _announce_attempt(self, stream: StreamRow) -> None:
        async with self._store.lease(f"attempt {stream.attempt} of {stream.run}") as is_granted:
            if not is_granted:  # another server announces it
                return
            known = await self._store.events(stream.run)
            if not any(event.kind == "attempt" and event.data.get("attempt") == stream.attempt for event in known):
                await self._add(stream, "attempt", f"attempt {stream.attempt} began", time_ns=stream.started_ns)

    async def _add(
        self,
        stream: StreamRow,
        kind: str,
        text: str,
        *,
        level: str = "info",
        step: int | None = None,
        time_ns: int | None = None,
        repeated_s: float = 0.0,
        data: Mapping[str, object] | None = None,
    ) -> None:
        rank = None if kind == "attempt" else stream.rank
        moment = self._clock() if time_ns is None else time_ns
        event = EventRow(0, kind, level, moment, step, rank, text, {"attempt": stream.attempt, **(data or {})})
        event = await self._store.add_event(stream.run, event, repeated_ns=int(repeated_s * 1e9))
        self._bus.publish(Hint("events", stream.run, str(event.id)))

    def _rank(self, run: str, rank: int) -> _Rank | None:
        return self._runs.get(run, {}).get(rank)


def _note(rank: _Rank, stored: StoredFrame) -> None:
    for record in stored.frame.records:
        if isinstance(record, Status):
            rank.final = record.state != "running"
        elif isinstance(record, Points) and _is_of_training(record):
            lowest, highest = _ends(record)
            # The first frame determines a rate by itself if it has several steps.
            for time_ns, step in (lowest, highest) if not rank.samples else (highest,):
                if not rank.samples or step > rank.samples[-1][1]:
                    rank.samples.append((time_ns, step))


def _is_of_training(record: FrameRecord) -> bool:
    """Return whether a record has more than system metrics, which a training that hangs reports as well."""
    return not isinstance(record, Points) or not all(key.startswith(SYSTEM_PREFIX) for key in record.keys)


def _ends(points: Points) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the times and numbers of the lowest and the highest step."""
    if len(points.steps) == 8:  # a single row needs no numpy
        time_ns, step = (int.from_bytes(column, "little", signed=True) for column in (points.times, points.steps))
        return (time_ns, step), (time_ns, step)
    steps, times, _ = points_columns(points)
    lowest, highest = int(steps.argmin()), int(steps.argmax())
    return (int(times[lowest]), int(steps[lowest])), (int(times[highest]), int(steps[highest]))


def _live_state(ranks: Mapping[int, _Rank], now_s: float) -> str:
    return "stalled" if all(_is_silent(rank, now_s) for rank in ranks.values()) else "running"


def _is_silent(rank: _Rank, now_s: float) -> bool:
    patience_s = max(STALLED_S, STALLED_STEPS / (rank.rate() or STALLED_STEPS))
    return now_s - rank.last_seen_s > patience_s
