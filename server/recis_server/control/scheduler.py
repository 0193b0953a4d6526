"""Steps for commands on hold: chosen once every present rank has the command, written to the ledger, then sent.

Owns the second phase of a delivery; `liverun` determines which command is due and at which step.
"""

import asyncio
import logging
from collections.abc import Callable

from recis.wire.messages import Schedule
from recis_server.control.liverun import LiveRun
from recis_server.control.peers import Peers, Told
from recis_server.errors import ServerError
from recis_server.store.interface import Store
from recis_server.store.values import CommandRow

__all__ = ["Scheduler"]

_logger = logging.getLogger(__name__)
MOST_TRIES = 3
"""A step that the ranks have passed while it was written is chosen again."""


class Scheduler:
    """Chooses the step of each command on hold, records it in the ledger and sends it to the ranks.

    Args:
        store: the ledger.
        monotonic: clock in seconds.
        noted: called with the updated command.
        peers: the other servers, which are told the steps.
    """

    def __init__(
        self,
        store: Store,
        monotonic: Callable[[], float],
        noted: Callable[[LiveRun, CommandRow | None], None],
        peers: Peers,
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._noted = noted
        self._peers = peers

    def kick(self, live: LiveRun) -> None:
        """Choose steps for the commands that are due, in a separate task because the store is written."""
        if live.planning is None and live.is_chooser() and live.due() is not None:
            live.planning = asyncio.create_task(self._plan(live), name="commands-plan")

    async def _plan(self, live: LiveRun) -> None:
        try:
            while (row := live.due()) is not None:
                await self._schedule(live, row)
        except ServerError as error:  # retried: `kick` is called periodically
            _logger.warning("could not choose a step for the commands of run %s: %s", live.run, error)
        except Exception:  # boundary: as above
            _logger.exception("could not choose a step for the commands of run %s", live.run)
        finally:
            live.planning = None

    async def _schedule(self, live: LiveRun, row: CommandRow) -> None:
        plan = live.plans[row.id]
        plan.is_set = True
        noted = None
        try:
            for number in range(MOST_TRIES):
                step = live.step_for(row)
                began_s = self._monotonic()
                noted = await self._store.schedule_command(row.run, row.id, step, tuple(plan.seen), again=number > 0)
                live.wrote(self._monotonic() - began_s)
                if noted is not None and noted.apply_at_step != step:  # another server was first
                    step = noted.apply_at_step
                    break
                if live.is_in_time(row, step):
                    break
        finally:
            plan.is_set = noted is not None
        if noted is None:  # the run was deleted
            live.open.pop(row.id, None)
            live.plans.pop(row.id, None)
            return
        plan.is_told = True
        self._noted(live, noted)
        for connection in live.connections:
            if row.id in connection.sent and row.id not in connection.given:
                connection.send(Schedule(command=row.id, apply_at_step=step))
        self._peers.tell(Told(row.run, row.id, step))
