"""Commands to live runs: checked, written to the ledger, delivered, and followed until every rank has answered.

Owns when a command takes effect, who still has to get it and when waiting ends; must not know sockets or HTTP. The
ledger in the store is the truth; what is kept here is only which commands may still be answered.

    desk = Desk(store, presence, bus)           # app.state.desk; `open` and `close` in the lifespan
"""

import asyncio
import hashlib
import logging
import math
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from recis.wire.codec import is_id
from recis.wire.controls import check_control_value
from recis.wire.messages import Command, Declare, Result
from recis_server.bus import Bus, Hint
from recis_server.errors import Conflict, InvalidValue, NotConnected, NotFound, ServerError
from recis_server.store.interface import Store
from recis_server.store.values import CommandRow, Commit, ControlRow, EventRow, RankResult, StreamRow

__all__ = ["Desk", "Pace", "Post", "desired_command"]

_logger = logging.getLogger(__name__)

ANSWER_S = 600.0
WAIT_S = 7 * 86_400.0
SWEEP_S = 10.0
LEAD_S = 1.5
"""How far ahead of the ranks a common step lies: a flush, a commit and a delivery, with room to spare."""
MIN_LEAD_STEPS = 2
LAST_STEP = 2**63 - 1
MAX_OPEN = 100
MAX_JOBS = 10_000
_OPEN = ("pending", "delivered")


class Pace(Protocol):
    """How far and how fast the ranks are; `recis_server.ingest.presence.Presence` knows."""

    def expected_step(self, run: str, rank: int) -> int | None:
        """The step at which a connected rank is about now, None where nothing is known."""

    def rate(self, run: str, rank: int) -> float | None:
        """Its steps per second."""


@dataclass(slots=True, eq=False)
class Post:
    """One connection of a rank; `fresh`: nothing of it is committed, commands wait until it declares the control."""

    row: StreamRow
    send: Callable[[Command], None]
    fresh: bool
    declared: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Declared:
    """Job: a process of a later attempt has declared a control for the first time."""

    run: str
    control: str
    attempt: int


@dataclass(frozen=True, slots=True)
class _Answered:
    """Job: a rank has answered a command."""

    run: str
    command: str


class Desk:
    """See the module.

    Args:
        store: the ledger and what the ranks declare.
        pace: how far the ranks are.
        bus: hears of every change.
        clock: Unix time in nanoseconds.
        answer_s: a command that a connected rank has not answered for so long has expired.
        wait_s: a command for ranks that are away waits for so long.
    """

    def __init__(
        self,
        store: Store,
        pace: Pace,
        bus: Bus,
        *,
        clock: Callable[[], int] = time.time_ns,
        answer_s: float = ANSWER_S,
        wait_s: float = WAIT_S,
    ) -> None:
        self._store = store
        self._pace = pace
        self._bus = bus
        self._clock = clock
        self._answer_ns = int(answer_s * 1e9)
        self._wait_ns = int(wait_s * 1e9)
        self._posts: dict[str, list[Post]] = {}
        self._open: dict[str, dict[str, CommandRow]] = {}
        self._jobs: dict[_Declared | _Answered, None] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        store.subscribe(self._on_commit)

    async def open(self) -> None:
        """Starts following answers and sweeping for what has expired."""
        self._tasks = [
            asyncio.create_task(self._work(), name="desk-work"),
            asyncio.create_task(self._sweep(), name="desk-sweep"),
        ]

    async def close(self) -> None:
        """Stops; open commands go on after the next start. Safe to call twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    # --- requests

    async def request(
        self,
        run: str,
        control: str,
        value: Any,
        *,
        actor: str,
        reason: str = "",
        command_id: str | None = None,
        queue: bool = True,
    ) -> CommandRow:
        """Writes a command and sends it to the ranks that are there; the same `command_id` again is the same command.

        Raises:
            NotFound: no such run, or no rank has declared the control.
            InvalidValue: the value does not fit what was declared; nothing is stored.
            NotConnected: no rank is connected and the command must not wait (`queue` is false).
            Conflict: the id is another command's, or too many commands are open.
        """
        declared = await self._declared(run, control)
        value = _checked(declared, value)
        ranks = _targets(declared, value)
        if command_id is None:
            command_id = uuid.uuid4().hex
        elif not is_id(command_id):
            raise InvalidValue("id", f"expected 1 to 128 letters, digits, '.', '_', '-', got {command_id[:80]!r}")
        known = await self._store.command(run, command_id)
        if known is not None:
            return _same(known, run, control, value)
        if not queue and not any(post.row.rank in ranks for post in self._posts.get(run, ())):
            raise NotConnected(f"run {run} is not connected and the command was not to wait")
        await self._load(run)
        if sum(row.state in _OPEN for row in self._open.get(run, {}).values()) >= MAX_OPEN:
            raise Conflict(f"expected at most {MAX_OPEN} open commands for run {run}; wait until some are answered")
        row = CommandRow(
            id=command_id,
            run=run,
            control=control,
            value=value,
            state="pending",
            requested_by=actor,
            requested_ns=self._clock(),
            reason=reason,
            apply_at_step=self._common_step(run, ranks, declared),
            ranks={rank: RankResult("pending") for rank in ranks},
        )
        row = _same(await self._store.add_command(row, actor), run, control, value)
        if row.state in _OPEN:
            self._note(row)
            self._deliver(row)
        self._tell(row)
        return row

    async def commands(self, run: str) -> tuple[CommandRow, ...]:
        """The run's ledger, oldest first, after ending what has expired."""
        now_ns = self._clock()
        rows = await self._store.commands(run)
        due = [row for row in rows if row.state in _OPEN and self._is_due(row, now_ns)]
        for row in due:
            await self._expire(row)
        return await self._store.commands(run) if due else rows

    # --- connections

    async def attach(self, row: StreamRow, send: Callable[[Command], None]) -> Post:
        """A rank is connected: gets what is open for it now, or, a new process, once it declares the control."""
        await self._load(row.run)
        post = Post(row, send, fresh=row.acked == 0)
        self._posts.setdefault(row.run, []).append(post)
        for command in self._open.get(row.run, {}).values():
            self._deliver(command)
        return post

    def detach(self, post: Post) -> None:
        """A connection is gone; what it has not answered goes to the next one."""
        posts = self._posts.get(post.row.run, [])
        if post in posts:
            posts.remove(post)
        if not posts:
            self._posts.pop(post.row.run, None)

    async def seen(self, run: str, rank: int, command: str) -> None:
        """A rank has the command and will answer."""
        if command not in self._open.get(run, {}):
            return
        row = await self._store.command_delivered(run, command, rank)
        if row is not None:
            self._note(row)
            self._tell(row)

    # --- what the ranks say

    def _on_commit(self, commit: Commit) -> None:
        for stored in commit.frames:
            for record in stored.frame.records:
                if isinstance(record, Declare):
                    self._on_declare(stored.stream, record)
                elif isinstance(record, Result) and record.command in self._open.get(stored.stream.run, {}):
                    self._enqueue(_Answered(stored.stream.run, record.command))

    def _on_declare(self, row: StreamRow, record: Declare) -> None:
        for post in self._posts.get(row.run, ()):
            if post.row.writer == row.writer:
                first = post.fresh and record.control not in post.declared
                post.declared.add(record.control)
                for command in self._open.get(row.run, {}).values():
                    self._deliver(command)
                if first and row.attempt > 1:
                    self._enqueue(_Declared(row.run, record.control, row.attempt))

    def _enqueue(self, job: _Declared | _Answered) -> None:
        if len(self._jobs) >= MAX_JOBS:
            _logger.warning("more than %d answers wait to be noted; %s is left to the next look", MAX_JOBS, job)
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
                try:
                    await (self._answered(job) if isinstance(job, _Answered) else self._offer_again(job))
                except ServerError as error:
                    _logger.warning("could not follow %s: %s", job, error)
                except Exception:  # border: one command must not end the following of all others
                    _logger.exception("could not follow %s", job)

    async def _answered(self, job: _Answered) -> None:
        row = await self._store.command(job.run, job.command)
        if row is None:
            return
        was_open = row.id in self._open.get(job.run, {})
        self._note(row)
        self._tell(row)
        if was_open and row.state == "applied":
            await self._store.add_event(row.run, _event(row))
            self._bus.publish(Hint("events", row.run))

    async def _offer_again(self, job: _Declared) -> None:
        """After a restart: the value that was last applied, unless the new process has it already."""
        newest = desired_command(job.control, await self._store.commands(job.run))
        if newest is None or newest.state != "applied":
            return
        declared = await self._declared(job.run, job.control)
        if declared[0].type == "profile" or all(row.value == newest.value for row in declared):
            return
        digest = hashlib.sha256(f"{newest.id}/{job.attempt}".encode()).hexdigest()[:32]
        await self.request(
            job.run,
            job.control,
            newest.value,
            actor=newest.requested_by,
            reason=f"offered again to attempt {job.attempt}",
            command_id=f"again-{digest}",
        )

    # --- expiry

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self.expire_due()
            except ServerError as error:
                _logger.warning("could not look for expired commands: %s", error)

    async def expire_due(self) -> None:
        """Ends the commands of connected runs that nobody has answered in time, and forgets runs that are away."""
        now_ns = self._clock()
        for run, commands in tuple(self._open.items()):
            for row in tuple(commands.values()):
                if row.state in _OPEN and self._is_due(row, now_ns):
                    await self._expire(row)
            if run not in self._posts:
                self._open.pop(run, None)

    def _is_due(self, row: CommandRow, now_ns: int) -> bool:
        waiting = {rank for rank, result in row.ranks.items() if result.state in _OPEN}
        here = any(post.row.rank in waiting for post in self._posts.get(row.run, ()))
        return now_ns - row.requested_ns > (self._answer_ns if here else self._wait_ns)

    async def _expire(self, row: CommandRow) -> None:
        expired = await self._store.expire_command(row.run, row.id)
        if expired is None:  # answered a moment ago
            self._open.get(row.run, {}).pop(row.id, None)
            return
        self._note(expired)
        self._tell(expired)

    # --- small parts

    async def _load(self, run: str) -> None:
        """Reads what is open; commands that were noted while it was read are newer and stay."""
        for row in await self._store.commands(run, 10 * MAX_OPEN):
            if row.state in _OPEN:
                self._open.setdefault(run, {}).setdefault(row.id, row)

    def _note(self, row: CommandRow) -> None:
        """Keeps what may still be answered; that includes what has expired, as far as there is room."""
        followed = self._open.setdefault(row.run, {})
        followed.pop(row.id, None)
        if row.state in (*_OPEN, "expired"):
            followed[row.id] = row
        if len(followed) > 2 * MAX_OPEN:
            del followed[next(one.id for one in followed.values() if one.state == "expired")]

    def _tell(self, row: CommandRow) -> None:
        self._bus.publish(Hint("command", row.run, row.id))
        self._bus.publish(Hint("controls", row.run))

    def _deliver(self, row: CommandRow) -> None:
        if row.state not in _OPEN:
            return
        record = Command(
            id=row.id,
            control=row.control,
            value=row.value,
            apply_at_step=row.apply_at_step,
            requested_by=row.requested_by,
            reason=row.reason,
        )
        for post in self._posts.get(row.run, ()):
            result = row.ranks.get(post.row.rank)
            ready = not post.fresh or row.control in post.declared
            if result is not None and result.state in _OPEN and ready and row.id not in post.sent:
                post.sent.add(row.id)
                post.send(record)

    async def _declared(self, run: str, control: str) -> list[ControlRow]:
        row = await self._store.run(run)
        if row is None:
            raise NotFound(f"there is no run {run}")
        controls = await self._store.controls(run)
        found = [one for one in controls if one.control == control and one.rank < row.world_size]
        if not found:
            names = sorted({one.control for one in controls})
            raise NotFound(f"run {run} has no control {control!r}; expected one of {names}")
        return found

    def _common_step(self, run: str, ranks: Sequence[int], declared: Sequence[ControlRow]) -> int | None:
        """A step that no rank has passed when the command arrives; None for a single rank: its next boundary."""
        if len(ranks) == 1:
            return None
        said = {one.rank: one.step or 0 for one in declared}
        latest = max(self._pace.expected_step(run, rank) or said[rank] for rank in ranks)
        rate = max(self._pace.rate(run, rank) or 0.0 for rank in ranks)
        return min(latest + max(MIN_LEAD_STEPS, math.ceil(rate * LEAD_S)), LAST_STEP)


def desired_command(control: str, commands: Sequence[CommandRow]) -> CommandRow | None:
    """The newest command for `control` that was neither rejected nor left to expire; `commands` are oldest first."""
    for row in reversed(commands):
        if row.control == control and row.state not in ("rejected", "expired"):
            return row
    return None


def _checked(declared: Sequence[ControlRow], value: Any) -> Any:
    """The value as every rank takes it."""
    try:
        for row in declared:
            value = check_control_value(_as_declare(row), value)
    except ValueError as error:
        raise InvalidValue("value", str(error)) from error
    return value


def _as_declare(row: ControlRow) -> Declare:
    return msgspec.convert(
        {
            "t": "declare",
            "control": row.control,
            "type": row.type,
            "minimum": row.minimum,
            "maximum": row.maximum,
            "nullable": row.nullable,
        },
        Declare,
    )


def _targets(declared: Sequence[ControlRow], value: Any) -> list[int]:
    """The ranks that a command is for: all that declared the control, or those that a capture names."""
    ranks = sorted(row.rank for row in declared)
    wanted = value.get("ranks") if isinstance(value, dict) else None
    if wanted is None:
        return ranks
    unknown = sorted(set(wanted) - set(ranks))
    if unknown:
        raise InvalidValue("value", f"expected ranks of {ranks}, got {unknown}")
    return sorted(set(wanted))


def _same(row: CommandRow, run: str, control: str, value: Any) -> CommandRow:
    if (row.run, row.control, row.value) != (run, control, value):
        raise Conflict(f"command {row.id} exists already and is another one", field="id")
    return row


def _event(row: CommandRow) -> EventRow:
    """An applied command as it is drawn on the charts; at the step of the rank that was last."""
    rank, last = max(row.ranks.items(), key=lambda item: item[1].step or 0)
    data = {
        "command": row.id,
        "control": row.control,
        "old": last.old,
        "new": last.new,
        "by": row.requested_by,
        "reason": row.reason,
        "ranks": {str(number): result.step for number, result in row.ranks.items()},
    }
    return EventRow(
        id=0,
        kind="control",
        level="info",
        time_ns=last.time_ns or row.requested_ns,
        step=last.step,
        rank=rank if len(row.ranks) == 1 else None,
        text=f"{row.control}: {last.old} → {last.new}",
        data=data,
    )
