"""Control values for a newly started process, derived from the commands to its predecessors.

Contains functions that read the store; must not know connections or recipients.
"""

from collections.abc import Iterable, Mapping

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
    declared = _by_control(await store.controls(row.run))
    found = [await _desired(store, row, ranks) for ranks in declared.values()]
    return tuple(command for command in found if command is not None)


async def _desired(store: Store, row: StreamRow, declared: Mapping[int, ControlRow]) -> Command | None:
    """Return the command for one control, given what each rank has declared."""
    source = _source(row.rank, declared)
    asked = await store.command(row.run, source.desired_by) if source is not None else None
    if source is None or asked is None:
        return None
    if source.rank != row.rank and row.rank in asked.ranks:  # it has not taken effect there, and the ledger says why
        return None
    is_open = bool(asked.control) and row.rank in asked.open_ranks
    return Command(
        id=asked.id if is_open else restoring_id(asked.id, source.control, row.writer),
        control=source.control,
        value=source.desired,
        requested_by=asked.requested_by,
        reason=asked.reason,
        seq=asked.seq,
        restores="" if is_open else asked.id,
    )


def _source(rank: int, declared: Mapping[int, ControlRow]) -> ControlRow | None:
    """Return the row with the value that a rank must have, if any: its own, or any of the others if they are equal.

    The latter is for a rank that has joined a job since: no command was for it.
    """
    given = {one.rank: one for one in declared.values() if one.desired_by and keeps_value(one.type)}
    if rank in given:
        return given[rank]
    lowest = min(given, default=None)
    if lowest is None or any(one.desired != given[lowest].desired for one in given.values()):
        return None
    return given[lowest]


async def restoring_command(store: Store, control: str, row: StreamRow, now_ns: int) -> CommandRow | None:
    """Return the command for a process that has declared a control and must have another value, or None.

    It is one that is too old to take commands in the greeting, or has missed a command since the greeting.
    """
    declared = _by_control(await store.controls(row.run)).get(control, {})
    desired = await _desired(store, row, declared)
    if row.rank not in declared or desired is None or not desired.restores:
        return None
    asked = await store.command(row.run, desired.restores)
    if declared[row.rank].value == desired.value or asked is None or row.rank in asked.open_ranks:
        return None
    return CommandRow(
        id=desired.id,
        run=row.run,
        control=control,
        value=desired.value,
        state="pending",
        requested_by=desired.requested_by,
        requested_ns=now_ns,
        reason=f"restored on rank {row.rank}",
        apply_at_step=None,
        ranks={row.rank: RankResult("pending")},
    )


def _by_control(rows: Iterable[ControlRow]) -> dict[str, dict[int, ControlRow]]:
    """Return the rows by control and rank."""
    found: dict[str, dict[int, ControlRow]] = {}
    for one in rows:
        found.setdefault(one.control, {})[one.rank] = one
    return found
