"""Control values for a newly started process, derived from the commands to its predecessors.

Contains functions that read the store; must not know connections or recipients.
"""

from recis.wire.controls import keeps_value
from recis.wire.messages import Command
from recis_server.store.interface import Store
from recis_server.store.values import CommandRow, ControlRow, RankResult, StreamRow, restoring_id

__all__ = ["desired_commands", "restoring_command"]


async def desired_commands(store: Store, row: StreamRow) -> tuple[Command, ...]:
    """Return a command for each control whose value this rank must have, regardless of its initial value.

    An open command keeps its id and is answered as usual. Of the others, the process answers only those that change
    a value; the ledger records them at that point.
    """
    found = [
        await _desired(store, row, control)
        for control in await store.controls(row.run)
        if control.rank == row.rank and control.desired_by and keeps_value(control.type)
    ]
    return tuple(command for command in found if command is not None)


async def _desired(store: Store, row: StreamRow, control: ControlRow) -> Command | None:
    asked = await store.command(row.run, control.desired_by)
    if asked is None:
        return None
    is_open = bool(asked.control) and row.rank in asked.open_ranks
    return Command(
        id=asked.id if is_open else restoring_id(asked.id, control.control, row.writer),
        control=control.control,
        value=control.desired,
        requested_by=asked.requested_by,
        reason=asked.reason,
        seq=asked.seq,
        restores="" if is_open else asked.id,
    )


async def restoring_command(
    store: Store, run: str, control: str, rank: int, writer: str, now_ns: int
) -> CommandRow | None:
    """Return the command for a process too old to take commands in the greeting, or None if none is needed."""
    declared = [one for one in await store.controls(run) if (one.control, one.rank) == (control, rank)]
    one = declared[0] if declared else None
    if one is None or not one.desired_by or one.value == one.desired or not keeps_value(one.type):
        return None
    asked = await store.command(run, one.desired_by)
    if asked is None or rank in asked.open_ranks:
        return None
    return CommandRow(
        id=restoring_id(asked.id, control, writer),
        run=run,
        control=control,
        value=one.desired,
        state="pending",
        requested_by=asked.requested_by,
        requested_ns=now_ns,
        reason=f"restored on rank {rank}",
        apply_at_step=None,
        ranks={rank: RankResult("pending")},
    )
