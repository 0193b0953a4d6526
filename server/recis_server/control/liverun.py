"""The command service's state of one run: connected ranks, open commands, and commands on hold.

Owns the state of the current connections and the choice of a common step; must not know the store, sockets or HTTP.
The ledger keeps everything that must survive a restart.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from recis.wire.messages import Command, Schedule, Seen
from recis_server.errors import Conflict
from recis_server.store.values import CommandRow, StreamRow

__all__ = ["LiveRun", "Pace", "Plan", "RankConnection"]

AWAY_S = 3.0
"""How long a rank counts as present after it has lost its connection, because it usually reconnects at once."""
START_S = 20.0
"""The same for a rank that this server has not seen yet: the longest pause between two attempts to connect."""
SEEN_S = 10.0
"""How long to wait until a rank confirms that it has received a command."""
LEAD_S = 0.25
"""How far ahead of the ranks a common step lies, in addition to the measured delivery time."""
STARTUP_S = 30.0
"""How long after its connection a rank that has reported no step may declare further controls."""
DECLARE_S = 3.0
"""How long a command waits for such a rank, because it targets all ranks that declare its controls."""
RATE_S = 2.0
"""How long to wait for the first reports of a rank that has just started; they determine its rate."""
BLIND_LEAD_S = 1.5
"""The same for ranks that cannot be asked for their step: a flush, a commit and a delivery, with a margin."""
MIN_LEAD_STEPS = 2
MAX_OPEN = 100
"""Commands of a run that connected ranks have not answered."""
MAX_KEPT = 2048
"""The same for all ranks."""
LAST_STEP = 2**63 - 1
_SAMPLES = 8


class Pace(Protocol):
    """Progress and speed of the ranks, as provided by `recis_server.ingest.presence.Presence`."""

    def expected_step(self, run: str, rank: int) -> int | None:
        """Return the estimated current step of a connected rank, or None if unknown."""

    def peak_rate(self, run: str, rank: int) -> float | None:
        """Return its highest recent rate in steps per second."""


@dataclass(slots=True, eq=False)
class RankConnection:
    """One connection of a rank.

    Attributes:
        row: its writer.
        send: sends a record over the connection.
        fresh: nothing from the writer is committed yet; commands wait until it declares their controls.
        can_schedule: whether it supports commands on hold; other ranks are sent an estimated step.
        since_ns: when it was opened.
        given: commands that predate its process, which it applies without a common step.
        declared: controls declared on this connection.
        missed: controls that were changed for other ranks since the greeting, before this one had declared them.
        sent: when each command was sent, by id, in monotonic seconds.
        joined_s: when the run recorded it, in monotonic seconds.
    """

    row: StreamRow
    send: Callable[[Command | Schedule], None]
    fresh: bool
    can_schedule: bool
    since_ns: int
    given: frozenset[str] = frozenset()
    declared: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)
    sent: dict[str, float] = field(default_factory=dict)
    joined_s: float = 0.0

    def is_ready(self, command: CommandRow) -> bool:
        """Return whether the process has declared the command's controls."""
        return not self.fresh or self.declared.issuperset(command.settings)


@dataclass(slots=True, eq=False)
class Plan:
    """A command on hold until every present rank has acknowledged it.

    Attributes:
        since_s: when it was put on hold, in monotonic seconds.
        seen: by rank, the last completed step and when the rank reported it.
        is_set: whether its step has been chosen or is being written.
        is_told: whether the step was sent to the ranks.
    """

    since_s: float
    seen: dict[int, tuple[int | None, float]] = field(default_factory=dict)
    is_set: bool = False
    is_told: bool = False


class LiveRun:
    """The connected ranks of a run, its open commands and those on hold. Not thread-safe.

    Args:
        run: its name.
        pace: progress and speed of its ranks.
        now_s: monotonic seconds.
        elsewhere: returns the ranks of a run that are connected to other servers.
    """

    def __init__(
        self,
        run: str,
        pace: Pace,
        now_s: Callable[[], float],
        elsewhere: Callable[[str], Collection[int]] = lambda run: (),
    ) -> None:
        self.run = run
        self.connections: list[RankConnection] = []
        self.open: dict[str, CommandRow] = {}
        """Commands that some rank may still answer, in the order in which they were accepted."""
        self.plans: dict[str, Plan] = {}
        self.each: set[str] = set()
        """Controls that each rank changes at its next boundary."""
        self.acts: set[str] = set()
        """Controls without a value: actions and captures."""
        self.lock = asyncio.Lock()
        self.is_loaded = False
        self.planning: asyncio.Task[None] | None = None
        self._pace = pace
        self._now_s = now_s
        self._elsewhere = elsewhere
        self._rates: dict[int, float] = {}  # of ranks elsewhere
        self._since_s = now_s()
        self._gone: dict[int, float] = {}
        self._deliveries: dict[int, deque[float]] = {}  # seconds, by rank
        self._writes: deque[float] = deque(maxlen=_SAMPLES)

    # --- connections

    def join(self, connection: RankConnection) -> None:
        """Record that a rank has connected."""
        connection.joined_s = self._now_s()
        self.connections.append(connection)
        self._gone.pop(connection.row.rank, None)

    def leave(self, connection: RankConnection) -> None:
        """Record that a connection has closed."""
        if connection in self.connections:
            self.connections.remove(connection)
        rank = connection.row.rank
        if not self.is_connected(rank):
            self._gone[rank] = self._now_s()

    def is_connected(self, rank: int) -> bool:
        """Return whether the rank is connected, to this server or another one."""
        return self._is_here(rank) or rank in self._elsewhere(self.run)

    def _is_here(self, rank: int) -> bool:
        return any(one.row.rank == rank for one in self.connections)

    def is_away(self, rank: int) -> bool:
        """Return whether the rank has been disconnected for longer than commands wait for it."""
        is_known = bool(self.connections or rank in self._gone or self._elsewhere(self.run))
        return self.is_given_up(rank) or not is_known

    def is_given_up(self, rank: int) -> bool:
        """Return whether the rank has been disconnected for so long that a command counts as applied without it.

        Unlike for `is_away`, the ranks of a run that this server has not seen yet are about to connect.
        """
        if self.is_connected(rank):
            return False
        gone_s = self._gone.get(rank)
        if gone_s is None:
            return self._now_s() - self._since_s > START_S
        return self._now_s() - gone_s > AWAY_S

    def present(self, ranks: Iterable[int]) -> list[int]:
        """Return those of `ranks` that are not away."""
        return [rank for rank in ranks if not self.is_away(rank)]

    def note_missed(self, ranks: Collection[int], settings: Collection[str]) -> None:
        """Record that new values are not for processes that have yet to declare their controls."""
        for one in self.connections:
            if one.fresh and one.row.rank not in ranks:
                one.missed.update(settings)

    async def wait_for_startup(self, settings: Collection[str], world_size: int) -> bool:
        """Wait while a rank may be about to declare some controls, and return whether that was necessary.

        Args:
            settings: the controls.
            world_size: the number of ranks that start together.
        """
        for waited in range(100):
            if not self._is_starting(settings, world_size):
                return waited > 0
            await asyncio.sleep(DECLARE_S / 100)
        return True

    def _is_starting(self, settings: Collection[str], world_size: int) -> bool:
        now_s = self._now_s()
        new = [one for one in self.connections if one.fresh and now_s - one.joined_s < STARTUP_S]
        known = {one.row.rank for one in self.connections} | self._gone.keys() | set(self._elsewhere(self.run))
        return bool(new) and (
            len(known) < world_size
            or any(
                not one.declared.issuperset(settings) and self._pace.expected_step(self.run, one.row.rank) is None
                for one in new
            )
        )

    # --- open commands

    def check_room(self) -> None:
        """Raise `Conflict` if as many commands are open as there may be."""
        waiting = sum(any(map(self.is_connected, row.open_ranks)) for row in self.open.values())
        if waiting >= MAX_OPEN or len(self.open) >= MAX_KEPT:
            raise Conflict(
                f"expected at most {MAX_OPEN} open commands for run {self.run}; wait until some are answered"
            )

    def note(self, row: CommandRow) -> None:
        """Update a command from its ledger row."""
        if row.open_ranks:
            self.open[row.id] = row
        else:
            self.open.pop(row.id, None)
            self.plans.pop(row.id, None)

    def is_together(self, row: CommandRow) -> bool:
        """Return whether a command must take effect at one step that is not chosen yet."""
        return len(row.ranks) > 1 and row.apply_at_step is None and not self.each.issuperset(row.settings)

    def plan(self, row: CommandRow) -> None:
        """Put a command on hold if its ranks must agree on a step."""
        if row.id not in self.plans and self.is_together(row):
            self.plans[row.id] = Plan(self._now_s())

    def held(self) -> set[str]:
        """Return the commands that are on hold."""
        return {command for command, plan in self.plans.items() if not plan.is_set}

    def superseded_by(self, ranks: Collection[int], settings: Collection[str]) -> dict[str, list[int]]:
        """Return the commands, each with its ranks, that a newer command for these ranks and settings supersedes.

        These are commands for which no rank has a step yet, and the parts of commands that belong to ranks that are
        away. All others take effect before the newer command.
        """
        found = {}
        for older in self.open.values():
            if not set(older.settings) <= set(settings) or not self.acts.isdisjoint(older.settings):
                continue
            parts = set(older.open_ranks & set(ranks))
            plan = self.plans.get(older.id)
            if plan is None or plan.is_set or not older.open_ranks <= set(ranks):
                parts = {rank for rank in parts if self.is_away(rank)}
            else:
                given = {one.row.rank for one in self.connections if older.id in one.given}
                parts -= given
            if parts:
                found[older.id] = sorted(parts)
        return found

    # --- choosing the step

    def saw(self, connection: RankConnection, seen: Seen) -> bool:
        """Record that a rank has received a command; return whether a plan was waiting for it."""
        rank, now_s = connection.row.rank, self._now_s()
        sent_s = connection.sent.get(seen.command)
        if sent_s is not None:
            self._deliveries.setdefault(rank, deque(maxlen=_SAMPLES)).append(now_s - sent_s)
        plan = self.plans.get(seen.command)
        if plan is None or plan.is_set:
            return False
        plan.seen[rank] = seen.step, now_s
        return True

    def saw_elsewhere(self, command: str, rank: int, step: int | None, rate: float | None, took_s: float) -> None:
        """Record that a rank which is connected to another server has received a command."""
        self._deliveries.setdefault(rank, deque(maxlen=_SAMPLES)).append(took_s)
        if rate is not None:
            self._rates[rank] = rate
        plan = self.plans.get(command)
        if plan is not None and not plan.is_set:
            plan.seen[rank] = step, self._now_s()

    def note_delivered(self, row: CommandRow) -> None:
        """Record the ranks that have a command according to the ledger, in case the message about it was lost."""
        plan = self.plans.get(row.id)
        for rank, result in row.ranks.items() if plan is not None else ():
            if result.state == "delivered" and not self._is_here(rank):
                plan.seen.setdefault(rank, (None, self._now_s()))  # type: ignore[union-attr]  # there are no ranks else

    def last_delivery(self, rank: int) -> float:
        """Return what the latest delivery to a rank took, in seconds."""
        return self._deliveries[rank][-1] if self._deliveries.get(rank) else 0.0

    def is_chooser(self) -> bool:
        """Return whether this server chooses common steps: it has the lowest of the connected ranks."""
        elsewhere = self._elsewhere(self.run)
        if not elsewhere:
            return True
        return min((one.row.rank for one in self.connections), default=LAST_STEP) < min(elsewhere)

    def _peak_rate(self, rank: int) -> float | None:
        rate = self._pace.peak_rate(self.run, rank)
        return rate if rate is not None or self._is_here(rank) else self._rates.get(rank)

    def wrote(self, seconds: float) -> None:
        """Record how long it took to write a step to the ledger."""
        self._writes.append(seconds)

    def due(self) -> CommandRow | None:
        """Return the first command on hold whose step can be chosen now, after older ones for the same control."""
        blocked: set[str] = set()
        for row in self.open.values():
            plan = self.plans.get(row.id)
            if plan is None or plan.is_set:
                continue
            if blocked.isdisjoint(row.settings) and plan.seen and not self.waited_for(row):
                return row
            blocked.update(row.settings)
        return None

    def waited_for(self, row: CommandRow) -> list[int]:
        """Return the ranks that a command on hold still waits for."""
        plan = self.plans.get(row.id)
        if plan is None or plan.is_set:
            return []
        given = {one.row.rank for one in self.connections if row.id in one.given}
        waited_s = self._now_s() - plan.since_s

        def is_waited_for(rank: int) -> bool:
            if rank not in plan.seen:
                return waited_s <= SEEN_S
            return waited_s <= RATE_S and self._peak_rate(rank) is None

        return [rank for rank in sorted(row.open_ranks - given) if not self.is_away(rank) and is_waited_for(rank)]

    def step_for(self, row: CommandRow) -> int | None:
        """Return a step that no rank will have passed when it receives it; None if one rank alone, here, has it."""
        plan = self.plans[row.id]
        ranks = [rank for rank in plan.seen if rank in row.open_ranks and not self.is_away(rank)]
        if len(ranks) < 2 and all(map(self._is_here, ranks)):
            return None
        slowest_s = max(max(self._deliveries.get(rank, ()), default=0.0) for rank in ranks)
        lead_s = LEAD_S + 2 * slowest_s + max(self._writes, default=0.0)
        return self._ahead(row, ranks, lead_s)

    def is_in_time(self, row: CommandRow, step: int | None) -> bool:
        """Return whether a chosen step is still ahead of all ranks, allowing for the delivery time."""
        plan = self.plans[row.id]
        return step is None or step >= self._latest(row, plan.seen) + MIN_LEAD_STEPS

    def blind_step(self, row: CommandRow) -> int | None:
        """Return an estimated step for use when some rank cannot report its progress."""
        ranks = self.present(row.ranks)
        return self._ahead(row, ranks, BLIND_LEAD_S) if len(ranks) > 1 else None

    def _ahead(self, row: CommandRow, ranks: Collection[int], lead_s: float) -> int:
        rate = max(self._peak_rate(rank) or 0.0 for rank in ranks)
        step = self._latest(row, ranks) + max(MIN_LEAD_STEPS, math.ceil(rate * lead_s))
        # Never before an open command for the same control.
        others = [
            one.apply_at_step
            for one in self.open.values()
            if one.id != row.id and one.apply_at_step is not None and not set(one.settings).isdisjoint(row.settings)
        ]
        return min(max([step, *others]), LAST_STEP)

    def _latest(self, row: CommandRow, ranks: Iterable[int]) -> int:
        """Return the estimated current step of the fastest of some ranks."""
        now_s, plan = self._now_s(), self.plans.get(row.id)
        steps = [0]
        for rank in ranks:
            steps.append(self._pace.expected_step(self.run, rank) or 0)
            said, at_s = plan.seen.get(rank, (None, now_s)) if plan is not None else (None, now_s)
            if said is not None:
                # It may have reported that at any moment since the command was sent.
                since_s = now_s - at_s + max(self._deliveries.get(rank, ()), default=0.0)
                steps.append(said + math.ceil(since_s * (self._peak_rate(rank) or 0.0)))
        return max(steps)
