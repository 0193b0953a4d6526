"""Commands to live runs: validated, written to the ledger, delivered, and tracked until every rank has answered.

Owns delivery, the values given to a starting process, and expiry; must not know sockets or HTTP. The ledger in the
store is authoritative; only commands that may still be answered are kept here (`liverun`).

    service = CommandService(store, presence, bus)      # app.state.commands; `open` and `close` in the lifespan
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from recis.wire.controls import keeps_value
from recis.wire.messages import Command, Declare, Hello, Result, Schedule, Seen, Status
from recis_server.bus import Bus, Hint
from recis_server.control.checks import Wanted, check, checked_id, reverted, same_command
from recis_server.control.liverun import LiveRun, Pace, RankConnection
from recis_server.control.mirror import Mirror
from recis_server.control.peers import Changed, Peers, SeenElsewhere
from recis_server.control.restoring import desired_commands, restoring_command
from recis_server.control.scheduler import Scheduler
from recis_server.control.tasks import guarded, regularly
from recis_server.errors import Conflict, NotConnected, NotFound
from recis_server.store.interface import Store
from recis_server.store.values import OPEN, CommandRow, Commit, RankResult, RunRow, StreamRow

__all__ = ["CommandService"]

_logger = logging.getLogger(__name__)

ANSWER_S = 600.0
WAIT_S = 7 * 86_400.0
SWEEP_S = 10.0
LOOK_S = 0.5
"""Interval at which commands that wait for a rank are checked."""
MAX_JOBS = 10_000
SCHEDULE = "schedule"
REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class _Job:
    """Work that results from a commit: the run, and the command, control or rank concerned."""

    kind: str
    run: str
    id: str = ""
    rank: int = 0
    stream: StreamRow | None = None


class CommandService:
    """Validates, records, delivers and tracks the commands to all live runs.

    Args:
        store: the ledger and the declared controls.
        pace: progress of the ranks.
        bus: notified of every change.
        clock: Unix time in nanoseconds.
        monotonic: seconds, for deliveries and absences.
        answer_s: seconds after which a command not answered by a connected rank expires.
        wait_s: seconds for which a command waits for ranks that are away.
        peers: the other servers that share the store.
    """

    def __init__(
        self,
        store: Store,
        pace: Pace,
        bus: Bus,
        *,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        answer_s: float = ANSWER_S,
        wait_s: float = WAIT_S,
        peers: Peers | None = None,
    ) -> None:
        self._store = store
        self._pace = pace
        self._bus = bus
        self._clock = clock
        self._monotonic = monotonic
        self._answer_ns = int(answer_s * 1e9)
        self._wait_ns = int(wait_s * 1e9)
        self._peers = peers or Peers(bus)
        self._scheduler = Scheduler(store, monotonic, self._noted, self._peers)
        self._runs: dict[str, LiveRun] = {}
        """Runs with connections or open commands."""
        self._mirror = Mirror(store, self._peers, self._runs, self._deliver, self._scheduler.kick)
        self._has_all_open = False
        self._jobs: dict[_Job, None] = {}  # bounded by MAX_JOBS
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        store.subscribe(self._on_commit)
        bus.subscribe(self._on_hint)

    async def open(self) -> None:
        """Start tracking answers and expiring commands."""
        await self._mirror.open()
        self._tasks = [
            asyncio.create_task(self._work(), name="commands-work"),
            asyncio.create_task(regularly(LOOK_S, self._look), name="commands-look"),
            asyncio.create_task(regularly(SWEEP_S, self.expire_due), name="commands-sweep"),
        ]

    async def close(self) -> None:
        """Stop; open commands continue after the next start. Safe to call twice."""
        await self._mirror.close()
        tasks = [*self._tasks, *(run.planning for run in self._runs.values() if run.planning is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks = []

    # --- requests

    async def request(
        self,
        run: str,
        settings: Mapping[str, Any],
        *,
        actor: str,
        reason: str = "",
        command_id: str | None = None,
        queue: bool = True,
        reverts: str = "",
        field: str = "value",
    ) -> CommandRow:
        """Write a command and send it to the connected ranks. A repeated `command_id` returns the same command.

        Args:
            run: the run's id.
            settings: controls and their new values, which take effect together at one step or not at all.
            actor: the requester.
            reason: the stated reason.
            command_id: chosen by the caller, so that the request can be retried.
            queue: whether the command may wait until the run is connected.
            reverts: the command that this one reverts.
            field: path of the values in the request, for messages.

        Raises:
            NotFound: no such run, or no rank has declared one of the controls.
            InvalidValue: a value does not fit what was declared; nothing is stored.
            NotConnected: no rank is connected and `queue` is false.
            Conflict: the run has finished, the id belongs to another command, or too many commands are open.
        """
        command_id = checked_id(command_id)
        row, wanted, known = await self._checked(run, settings, field, command_id)
        if known is not None:
            return same_command(known, wanted)
        if row.state == "finished":
            raise Conflict(f"run {run} has finished and cannot execute commands")
        if reverts and wanted.is_act:
            raise Conflict(f"expected a command that sets a value, got {reverts}, which triggered {wanted.control}")
        command = CommandRow(
            id=command_id,
            run=run,
            control=wanted.control,
            value=wanted.value,
            state="pending",
            requested_by=actor,
            requested_ns=self._clock(),
            reason=reason,
            apply_at_step=None,
            ranks={rank: RankResult("pending") for rank in wanted.ranks},
            reverts=reverts,
        )
        live = await self._load(run)
        async with live.lock:
            if not queue and not any(live.is_connected(rank) for rank in wanted.ranks):
                raise NotConnected(f"run {run} is not connected and the command must not be queued")
            return await self._accept(live, command, wanted)

    async def _checked(
        self, run: str, settings: Mapping[str, Any], field: str, command_id: str
    ) -> tuple[RunRow, Wanted, CommandRow | None]:
        # Concurrently: each read waits for a thread, and the user waits for all of them.
        store = self._store
        row, declared, known = await asyncio.gather(store.run(run), store.controls(run), store.command(run, command_id))
        if row is None:
            raise NotFound(f"there is no run {run}")
        if (live := self._runs.get(run)) is not None and await live.wait_for_startup(settings, row.world_size):
            declared = await self._store.controls(run)
        return row, check(run, row.world_size, declared, settings, field), known

    async def _accept(self, live: LiveRun, command: CommandRow, wanted: Wanted) -> CommandRow:
        live.check_room()
        there = [one for one in live.connections if one.row.rank in wanted.ranks]
        live.note_missed(wanted.ranks, command.settings)
        if live.is_together(command) and not all(one.can_schedule for one in there):
            if not command.control:
                raise Conflict("expected one setting: a rank runs a version that does not support several at once")
            command = replace(command, apply_at_step=live.blind_step(command))
        supersedes = {} if wanted.is_act else live.superseded_by(wanted.ranks, command.settings)
        held = live.held()
        row = await self._store.add_command(command, command.requested_by, supersedes=supersedes, held=held)
        row = same_command(row, wanted)
        for older in supersedes:
            await self._refresh(live, older, withdraw=True)
        live.note(row)
        if row.id in live.open:
            live.plan(row)
            self._deliver(live, row)
            self._scheduler.kick(live)
        self._tell(row)
        return row

    async def revert(self, run: str, command_id: str, *, actor: str, reason: str = "") -> CommandRow:
        """Request the values from before a command, as a new command.

        Raises:
            NotFound: no such command.
            Conflict: it has not taken effect, or cannot be reverted.
        """
        row = await self._store.command(run, command_id)
        if row is None:
            raise NotFound(f"run {run} has no command {command_id[:200]!r}")
        reason = reason or f"reverts {row.id}"
        return await self.request(run, reverted(row), actor=actor, reason=reason, reverts=row.id)

    async def commands(self, run: str) -> tuple[CommandRow, ...]:
        """Return the run's ledger, oldest first, after expiring overdue commands."""
        await self._expire(await self._load(run))
        return await self._store.commands(run)

    # --- connections

    async def greeting(self, row: StreamRow, hello: Hello) -> tuple[Command, ...]:
        """Return the commands for a newly started process, for the reply to its greeting."""
        if row.acked or SCHEDULE not in hello.features:
            return ()
        return await desired_commands(self._store, row)

    async def attach(
        self,
        row: StreamRow,
        hello: Hello,
        send: Callable[[Command | Schedule], None],
        given: Collection[Command] = (),
    ) -> RankConnection | None:
        """Register a connection and send its open commands: at once, or to a new process when it declares the control.

        Args:
            row: its writer.
            hello: its greeting; a connection that only sends another process's spool gets no commands.
            send: sends a record over the connection.
            given: the commands sent in the reply to its greeting.
        """
        if REPLAY in hello.features:
            return None
        live = await self._load(row.run)
        connection = RankConnection(
            row,
            send,
            fresh=row.acked == 0,
            can_schedule=SCHEDULE in hello.features,
            since_ns=self._clock(),
            given=frozenset(command.id for command in given),
            sent=dict.fromkeys((command.id for command in given), self._monotonic()),
        )
        live.join(connection)
        if connection.fresh:
            connection.given |= live.open.keys()
            await self._leave_behind(live, row.rank)
        for command in tuple(live.open.values()):
            self._deliver(live, command)
        self._scheduler.kick(live)
        return connection

    def detach(self, connection: RankConnection) -> None:
        """Unregister a connection; unanswered commands are sent to the next one."""
        live = self._runs.get(connection.row.run)
        if live is not None:
            live.leave(connection)

    async def seen(self, connection: RankConnection, seen: Seen) -> None:
        """Record that a rank has received the command."""
        live = self._runs.get(connection.row.run)
        if live is None:
            return
        if live.saw(connection, seen):
            self._scheduler.kick(live)
        elif seen.command in live.open:
            self._enqueue(_Job("seen", live.run, seen.command, connection.row.rank))
        rank = connection.row.rank
        step = max(seen.step or 0, self._pace.expected_step(live.run, rank) or 0)
        rate, took_s = self._pace.peak_rate(live.run, rank), live.last_delivery(rank)
        self._peers.tell(SeenElsewhere(live.run, seen.command, rank, step, rate, took_s))

    async def _leave_behind(self, live: LiveRun, rank: int) -> None:
        """Drop all but the newest open command for each control of a restarted rank."""
        newest: dict[str, str] = {}
        for row in reversed(tuple(live.open.values())):
            if rank not in row.open_ranks:
                continue
            if not live.acts.isdisjoint(row.settings):
                if row.control != "profile":
                    why = "the process that was asked has ended"
                    self._noted(live, await self._store.expire_command(live.run, row.id, (rank,), why))
            elif all(control in newest for control in row.settings):
                by = newest[next(iter(row.settings))]
                self._noted(live, await self._store.supersede_command(live.run, row.id, (rank,), by))
            for control in row.settings:
                newest.setdefault(control, row.id)

    # --- messages from ranks

    def _on_commit(self, commit: Commit) -> None:
        for stored in commit.frames:
            stream = stored.stream
            for record in stored.frame.records:
                if isinstance(record, Declare):
                    self._on_declare(stream, record)
                elif isinstance(record, Result):
                    self._enqueue(_Job("answered", stream.run, record.command))
                elif isinstance(record, Status) and record.state != "running":
                    self._enqueue(_Job("ended", stream.run))

    def _on_hint(self, hint: Hint) -> None:
        if hint.topic == "deleted":
            self._runs.pop(hint.run, None)

    def _on_declare(self, row: StreamRow, record: Declare) -> None:
        live = self._runs.get(row.run)
        if live is None:
            return
        (live.each.add if record.apply == "each" else live.each.discard)(record.control)
        (live.acts.discard if keeps_value(record.type) else live.acts.add)(record.control)
        for connection in live.connections:
            if connection.row.writer == row.writer:
                first = connection.fresh and record.control not in connection.declared
                connection.declared.add(record.control)
                for command in tuple(live.open.values()):
                    self._deliver(live, command)
                if first and (not connection.can_schedule or record.control in connection.missed):
                    self._enqueue(_Job("restore", row.run, record.control, row.rank, row))

    def _enqueue(self, job: _Job) -> None:
        if len(self._jobs) >= MAX_JOBS:
            _logger.warning("more than %d answers are pending; %s is handled by the next periodic check", MAX_JOBS, job)
            return
        self._jobs[job] = None
        self._wake.set()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._jobs:
                job = next(iter(self._jobs))
                del self._jobs[job]
                await guarded(self._follow(job), f"follow {job}")

    async def _follow(self, job: _Job) -> None:
        live = self._runs.get(job.run)
        match job.kind:
            case "answered":
                await self._answered(job, live)
            case "seen" if live is not None:
                self._noted(live, await self._store.command_delivered(job.run, job.id, job.rank))
            case "ended" if live is not None:
                for command in tuple(live.open):
                    await self._refresh(live, command)
            case "restore":
                await self._restore(job)

    async def _answered(self, job: _Job, live: LiveRun | None) -> None:
        row = await self._store.command(job.run, job.id)
        if row is None:
            return
        if live is not None:
            live.note(row)
            await self._conclude(live, row)
        self._tell(row)
        if row.state not in OPEN:
            self._bus.publish(Hint("events", job.run))

    async def _restore(self, job: _Job) -> None:
        assert job.stream is not None
        command = await restoring_command(self._store, job.id, job.stream, self._clock())
        if command is not None:
            live = await self._load(job.run)
            row = await self._store.add_command(command, command.requested_by)
            live.note(row)
            self._deliver(live, row)
            self._tell(row)

    # --- waiting for ranks

    async def _look(self) -> None:
        """Stop waiting for ranks that are away; called periodically."""
        for live in tuple(self._runs.values()):
            self._scheduler.kick(live)
            for row in tuple(live.open.values()):
                plan = live.plans.get(row.id)
                for rank in sorted(plan.seen) if plan is not None and not plan.is_set else ():
                    if row.ranks[rank].state == "pending":
                        self._enqueue(_Job("seen", live.run, row.id, rank))
                await self._conclude(live, row)

    async def _conclude(self, live: LiveRun, row: CommandRow) -> None:
        """Settle the state of a command that only ranks which are away have not answered."""
        is_answered = any(result.state in ("applied", "rejected") for result in row.ranks.values())
        if row.state in OPEN and is_answered and all(map(live.is_given_up, row.open_ranks)):
            self._noted(live, await self._store.conclude_command(row.run, row.id, row.open_ranks))
            self._bus.publish(Hint("events", live.run))

    # --- expiry

    async def expire_due(self) -> None:
        """Expire commands that were not answered in time, also of runs that were away when the server started."""
        if not self._has_all_open:
            for run in await self._store.runs_with_open_commands():
                await self._load(run)
            self._has_all_open = True
        for live in tuple(self._runs.values()):
            await self._expire(live)
            if not live.connections and not live.open and not live.lock.locked() and live.planning is None:
                self._runs.pop(live.run, None)

    async def _expire(self, live: LiveRun) -> None:
        now_ns = self._clock()
        for row in tuple(live.open.values()):
            due = [rank for rank in row.open_ranks if self._is_due(live, row, rank, now_ns)]
            if due:
                self._noted(live, await self._store.expire_command(row.run, row.id, due, "nobody answered in time"))

    def _is_due(self, live: LiveRun, row: CommandRow, rank: int, now_ns: int) -> bool:
        here_ns = [one.since_ns for one in live.connections if one.row.rank == rank]
        if here_ns:
            return now_ns - max(row.requested_ns, *here_ns) > self._answer_ns
        return now_ns - row.requested_ns > self._wait_ns

    # --- internals

    async def _load(self, run: str) -> LiveRun:
        """Return the run with its open commands; commands updated during the read are newer and kept."""
        live = self._runs.get(run)
        if live is None:
            live = self._runs[run] = LiveRun(run, self._pace, self._monotonic, self._peers.ranks)
        if live.is_loaded:
            return live
        async with live.lock:
            if not live.is_loaded:
                controls = await self._store.controls(run)
                live.each |= {one.control for one in controls if one.apply == "each"}
                live.acts |= {one.control for one in controls if not keeps_value(one.type)}
                newer, live.open = live.open, {row.id: row for row in await self._store.open_commands(run)}
                live.open |= newer
                for row in live.open.values():
                    live.plan(row)
                live.is_loaded = True
        return live

    async def _refresh(self, live: LiveRun, command: str, *, withdraw: bool = False) -> None:
        """Reread one command after a change made outside this service."""
        row = await self._store.command(live.run, command)
        if row is None:
            live.open.pop(command, None)
            return
        if withdraw:
            for connection in live.connections:
                if command in connection.sent and connection.row.rank not in row.open_ranks:
                    connection.send(Schedule(command=command, withdrawn=True))
        live.note(row)
        self._tell(row)

    def _noted(self, live: LiveRun, row: CommandRow | None) -> None:
        """Record and publish the state of a command."""
        if row is not None:
            live.note(row)
            self._tell(row)

    def _tell(self, row: CommandRow) -> None:
        self._bus.publish(Hint("command", row.run, row.id))
        self._bus.publish(Hint("controls", row.run))
        self._peers.tell(Changed(row.run, row.id))

    def _deliver(self, live: LiveRun, row: CommandRow) -> None:
        plan = live.plans.get(row.id)
        for connection in live.connections:
            is_open = connection.row.rank in row.open_ranks
            if not is_open or row.id in connection.sent or not connection.is_ready(row):
                continue
            connection.sent[row.id] = self._monotonic()
            connection.send(
                Command(
                    id=row.id,
                    control=row.control,
                    value=row.value,
                    apply_at_step=None if row.id in connection.given else row.apply_at_step,
                    requested_by=row.requested_by,
                    reason=row.reason,
                    seq=row.seq,
                    hold=plan is not None and not plan.is_told and row.id not in connection.given,
                )
            )
