"""Commands that other servers have accepted, scheduled or ended, for the ranks that are connected to this one.

Follows the ledger, on each message of another server and once a second in case one was lost; must not know sockets.
Does nothing on a server that does not share its store.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from recis.wire.messages import Schedule
from recis_server.control.liverun import LiveRun
from recis_server.control.peers import Changed, Peers, SeenElsewhere, Told
from recis_server.control.tasks import guarded, regularly
from recis_server.store.interface import Store
from recis_server.store.values import OPEN, CommandRow

__all__ = ["Mirror"]

POLL_S = 1.0
MAX_WAITING = 10_000
"""Changed commands that wait to be read; further ones are found by the next poll."""
_WITHDRAWN = frozenset({"superseded", "expired"})


class Mirror:
    """Keeps the commands of this server's live runs up to date with the ledger.

    Args:
        store: the ledger.
        peers: the other servers.
        runs: the runs that this server has connections or open commands of.
        deliver: sends a command to the connected ranks that do not have it yet.
        kick: chooses the steps that can be chosen now.
    """

    def __init__(
        self,
        store: Store,
        peers: Peers,
        runs: Mapping[str, LiveRun],
        deliver: Callable[[LiveRun, CommandRow], None],
        kick: Callable[[LiveRun], None],
    ) -> None:
        self._store = store
        self._peers = peers
        self._runs = runs
        self._deliver = deliver
        self._kick = kick
        self._waiting: dict[tuple[str, str], None] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Start following the ledger if there may be other servers."""
        if self._peers.may_exist:
            self._peers.listen(self)
            self._tasks = [
                asyncio.create_task(self._work(), name="commands-mirror"),
                asyncio.create_task(regularly(POLL_S, self.look), name="commands-poll"),
            ]

    async def close(self) -> None:
        """Stop; safe to call twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def hear(self, message: Changed | SeenElsewhere | Told) -> None:
        """See `peers.Listener`."""
        live = self._runs.get(message.run)
        if live is None:
            return
        match message:
            case Changed():
                self._ask(message.run, message.command)
            case SeenElsewhere():
                live.saw_elsewhere(message.command, message.rank, message.step, message.rate, message.took_s)
                self._kick(live)
            case Told():
                self._told(live, message.command, message.step)

    async def look(self) -> None:
        """Find what has changed in the ledger."""
        if not self._runs:
            return
        steps = await self._store.steps_of_open_commands()
        for (run, command), step in steps.items():
            live = self._runs.get(run)
            known = live.open.get(command) if live is not None else None
            if live is not None and (known is None or known.apply_at_step != step):
                self._ask(run, command)
        for live in tuple(self._runs.values()):
            for row in live.open.values():
                if row.state in OPEN and (live.run, row.id) not in steps:
                    self._ask(live.run, row.id)

    def _ask(self, run: str, command: str) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting[run, command] = None
            self._wake.set()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                run, command = place = next(iter(self._waiting))
                del self._waiting[place]
                live = self._runs.get(run)
                if live is not None:
                    await guarded(self._read(live, command), f"follow command {command} of run {run}")

    async def _read(self, live: LiveRun, command: str) -> None:
        row = await self._store.command(live.run, command)
        if row is None:
            live.open.pop(command, None)
            live.plans.pop(command, None)
            return
        if command not in live.open:
            live.note_missed(tuple(row.ranks), row.settings)
        self._withdraw(live, row)
        live.note(row)
        if command not in live.open:
            return
        live.plan(row)
        live.note_delivered(row)
        if row.apply_at_step is not None:
            self._told(live, command, row.apply_at_step)
        self._deliver(live, row)
        self._kick(live)

    def _withdraw(self, live: LiveRun, row: CommandRow) -> None:
        """Take a command back from the ranks for which another server has ended it."""
        before = live.open.get(row.id)
        for connection in live.connections:
            rank = connection.row.rank
            was_open = before is not None and rank in before.open_ranks
            if was_open and row.id in connection.sent and row.ranks[rank].state in _WITHDRAWN:
                connection.send(Schedule(command=row.id, withdrawn=True))

    def _told(self, live: LiveRun, command: str, step: int | None) -> None:
        """Pass on the step that another server has chosen."""
        plan, row = live.plans.get(command), live.open.get(command)
        if plan is None or row is None or plan.is_told:
            return
        plan.is_set = plan.is_told = True
        live.note(replace(row, apply_at_step=step))
        for connection in live.connections:
            if command in connection.sent and command not in connection.given:
                connection.send(Schedule(command=command, apply_at_step=step))
