"""The ledger of commands: requested, scheduled, delivered, answered, with an audit row for every change.

Functions for the write thread, each inside a transaction begun by its caller; must not know threads.
"""

# Names of columns and tables below are constants of this package; every value is bound.
# ruff: noqa: S608

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from recis.wire.messages import MAX_TEXT_CHARS, Result
from recis.wire.text import as_text
from recis_server.store.engines.engine import Connection
from recis_server.store.json_columns import dump, load_or
from recis_server.store.steps import LAST_STEP
from recis_server.store.tables import controls
from recis_server.store.tables.rows import write_event
from recis_server.store.values import OPEN, CommandRow, CommandState, EventRow, RankResult, StreamRow, restoring_id

__all__ = [
    "add",
    "answer",
    "conclude",
    "delivered",
    "end_run",
    "expire",
    "read",
    "read_many",
    "read_open",
    "runs_with_open",
    "schedule",
    "steps_of_open",
    "supersede",
]

_FIELDS = (
    "command_id, run_id, control, value, state, requested_by, requested_ns, reason, apply_at_step, seq, superseded_by,"
    " reverts"
)
_AT_ONCE = 500


# --- what is asked for


def add(
    connection: Connection,
    command: CommandRow,
    actor: str,
    supersedes: Mapping[str, Collection[int]],
    held: Collection[str] = (),
) -> CommandRow:
    """Add a command; return a command with a known id unchanged.

    Args:
        connection: in a transaction.
        command: the command.
        actor: who has requested it.
        supersedes: the commands that it replaces, with the ranks on which they have not taken effect.
        held: those of them that are replaced only as long as they have no step.
    """
    known = read(connection, command.run, command.id)
    if known is not None:
        return known
    _insert(connection, command)
    before = {control: controls.values_of(connection, command.run, control) for control in command.settings}
    if command.control:
        before = before[command.control]
    after = {"value": command.value, "reason": command.reason}
    _audit(connection, actor, command, "requested", before=before, after=after)
    for rank in command.ranks:
        controls.set_desired(connection, command.run, rank, command.id, command.settings)
    for older, ranks in supersedes.items():
        replaced = read(connection, command.run, older) if older in held else None
        if replaced is None or replaced.apply_at_step is None:
            supersede(connection, command.run, older, ranks, command.id)
    # Return the value as it was given: reading it back would replace U+0000.
    return replace(command, seq=_known(connection, command.run, command.id).seq)


def _insert(connection: Connection, command: CommandRow) -> None:
    connection.execute(
        "INSERT INTO command (command_id, run_id, control, value, state, requested_by, requested_ns, reason,"
        " apply_at_step, reverts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            command.id,
            command.run,
            command.control,
            dump(command.value),
            command.state,
            command.requested_by,
            command.requested_ns,
            as_text(command.reason, MAX_TEXT_CHARS),
            command.apply_at_step,
            command.reverts,
        ),
    )
    for rank, result in command.ranks.items():
        _put_rank(connection, command.run, command.id, rank, result)


# --- what becomes of it


def schedule(
    connection: Connection,
    run_id: str,
    command_id: str,
    step: int | None,
    seen: Collection[int],
    *,
    again: bool = False,
) -> CommandRow | None:
    """Schedule a command held by the ranks `seen` for a step, None for the next one; only `again` if it has a step."""
    command = read(connection, run_id, command_id)
    if command is None or not command.open_ranks or (command.apply_at_step is not None and not again):
        return command
    connection.execute(
        "UPDATE command SET apply_at_step = ? WHERE run_id = ? AND command_id = ?", (step, run_id, command_id)
    )
    _audit(connection, "server", command, "scheduled", before=command.apply_at_step, after=step)
    return delivered(connection, run_id, command_id, seen)


def delivered(connection: Connection, run_id: str, command_id: str, ranks: Collection[int]) -> CommandRow | None:
    """Record that ranks have received the command."""
    command = read(connection, run_id, command_id)
    if command is None:
        return None
    for rank in sorted(ranks):
        if command.ranks.get(rank, RankResult("applied")).state == "pending":
            _put_rank(connection, run_id, command_id, rank, RankResult("delivered"))
            command = _settle(connection, command, f"rank {rank}", "delivered", {})
    return command


def answer(connection: Connection, stream: StreamRow, record: Result) -> None:
    """Record the outcome of a command on a rank, and the value of its control."""
    controls.note_result(connection, stream, record)
    command = read(connection, stream.run, record.command) or _restored(connection, stream, record)
    if command is None:
        return
    before = command.ranks.get(stream.rank)
    message = as_text(record.message, MAX_TEXT_CHARS)
    _put_rank(
        connection,
        stream.run,
        record.command,
        stream.rank,
        RankResult(record.state, record.old, record.new, record.step, record.time_ns, message),
    )
    if record.state == "rejected" or (before is not None and before.state not in OPEN):
        _find_desired(connection, command, stream.rank)
    after = {"old": record.old, "new": record.new, "step": record.step, "message": message}
    _settle(connection, command, f"rank {stream.rank}", record.state, after)


def _restored(connection: Connection, stream: StreamRow, record: Result) -> CommandRow | None:
    """Add a value to the ledger that a process was given when it started."""
    if record.command != restoring_id(record.restores, record.control, stream.writer):
        return None
    original = read(connection, stream.run, record.restores)
    if original is None or record.control not in original.settings:
        return None
    command = CommandRow(
        id=record.command,
        run=stream.run,
        control=record.control,
        value=original.settings[record.control],
        state="delivered",
        requested_by=original.requested_by,
        requested_ns=time.time_ns(),
        reason=f"restored on rank {stream.rank} in attempt {stream.attempt}",
        apply_at_step=None,
        ranks={stream.rank: RankResult("delivered")},
    )
    _insert(connection, command)
    _audit(connection, "server", command, "restored", before=None, after={"value": command.value, "of": original.id})
    return _known(connection, command.run, command.id)


def conclude(connection: Connection, run_id: str, command_id: str, away: Collection[int]) -> CommandRow | None:
    """Set the state of a command that all but absent ranks have answered; the parts of those stay open."""
    command = read(connection, run_id, command_id)
    if command is None or command.state not in OPEN or not command.open_ranks <= set(away):
        return command
    states = {result.state for result in command.ranks.values()}
    answers: tuple[CommandState, ...] = ("rejected", "applied")
    for state in answers:
        if state in states:
            _set_state(connection, command, state, "server", {"away": sorted(command.open_ranks)})
            break
    return read(connection, run_id, command_id)


def expire(
    connection: Connection, run_id: str, command_id: str, ranks: Collection[int] | None = None, message: str = ""
) -> CommandRow | None:
    """Expire the open parts of a command, on some ranks or all; return None if there are none."""
    return _end(connection, run_id, command_id, ranks, "expired", message)


def supersede(
    connection: Connection, run_id: str, command_id: str, ranks: Collection[int], by: str
) -> CommandRow | None:
    """End the open parts of a command on some ranks in favour of a newer one; return None if there are none."""
    command = _end(connection, run_id, command_id, ranks, "superseded", f"superseded by {by}")
    if command is not None:
        connection.execute(
            "UPDATE command SET superseded_by = ? WHERE run_id = ? AND command_id = ?", (by, run_id, command_id)
        )
        command = replace(command, superseded_by=by)
    return command


def end_run(connection: Connection, run_id: str) -> None:
    """Expire the open commands of a finished run."""
    for command in read_open(connection, run_id):
        expire(connection, run_id, command.id, None, "the run has finished")


def _end(
    connection: Connection,
    run_id: str,
    command_id: str,
    ranks: Collection[int] | None,
    state: Any,
    message: str,
) -> CommandRow | None:
    command = read(connection, run_id, command_id)
    ended = command.open_ranks if command is not None and ranks is None else frozenset(ranks or ())
    if command is None or not ended & command.open_ranks:
        return None
    ended &= command.open_ranks
    for rank in sorted(ended):
        _put_rank(connection, run_id, command_id, rank, RankResult(state, message=message))
        _find_desired(connection, command, rank)
    return _settle(connection, command, "server", state, {"ranks": sorted(ended), "message": message})


# --- reading


def read(connection: Connection, run_id: str, command_id: str) -> CommandRow | None:
    """Return one command with its ranks."""
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM command WHERE run_id = ? AND command_id = ?", (run_id, command_id)
    ).fetchall()
    found = _with_ranks(connection, run_id, rows)
    return found[0] if found else None


def read_many(
    connection: Connection, run_id: str, limit: int, before: int | None = None, after: int | None = None
) -> tuple[CommandRow, ...]:
    """Return the latest commands of a run accepted before a number, or the first ones after one, oldest first."""
    where, order = ("seq < ?", "DESC") if after is None else ("seq > ?", "ASC")
    number = after if after is not None else LAST_STEP if before is None else before
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM command WHERE run_id = ? AND {where} ORDER BY seq {order} LIMIT ?",
        (run_id, number, limit),
    ).fetchall()
    return _with_ranks(connection, run_id, rows[::-1] if after is None else rows)


def read_open(connection: Connection, run_id: str) -> tuple[CommandRow, ...]:
    """Return the commands that some rank may still answer, oldest first."""
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM command WHERE run_id = ? AND command_id IN (SELECT command_id FROM command_rank"
        " WHERE run_id = ? AND state IN ('pending', 'delivered')) ORDER BY seq",
        (run_id, run_id),
    ).fetchall()
    return _with_ranks(connection, run_id, rows)


def runs_with_open(connection: Connection) -> tuple[str, ...]:
    """Return the runs that have commands which some rank may still answer."""
    rows = connection.execute("SELECT DISTINCT run_id FROM command_rank WHERE state IN ('pending', 'delivered')")
    return tuple(run for (run,) in rows.fetchall())


def steps_of_open(connection: Connection) -> dict[tuple[str, str], int | None]:
    """Return the step of each command, by run and id, that has not ended."""
    # The condition has to be that of the index `command_open`.
    rows = connection.execute(
        "SELECT run_id, command_id, apply_at_step FROM command WHERE state IN ('pending', 'delivered')"
    )
    return {(run, command): step for run, command, step in rows.fetchall()}


def _with_ranks(connection: Connection, run_id: str, rows: list[tuple[Any, ...]]) -> tuple[CommandRow, ...]:
    ranks: dict[str, dict[int, RankResult]] = {row[0]: {} for row in rows}
    for start in range(0, len(rows), _AT_ONCE):
        ids = [row[0] for row in rows[start : start + _AT_ONCE]]
        for command_id, rank, state, old, new, step, time_ns, message in connection.execute(
            "SELECT command_id, rank, state, old, new, step, time_ns, message FROM command_rank"
            f" WHERE run_id = ? AND command_id IN ({', '.join('?' * len(ids))}) ORDER BY rank",
            (run_id, *ids),
        ):
            ranks[command_id][rank] = RankResult(state, load_or(old, None), load_or(new, None), step, time_ns, message)
    return tuple(
        CommandRow(
            id=row[0],
            run=row[1],
            control=row[2],
            value=load_or(row[3], None),
            state=row[4],
            requested_by=row[5],
            requested_ns=row[6],
            reason=row[7],
            apply_at_step=row[8],
            ranks=ranks[row[0]],
            seq=row[9],
            superseded_by=row[10],
            reverts=row[11],
        )
        for row in rows
    )


def _known(connection: Connection, run_id: str, command_id: str) -> CommandRow:
    command = read(connection, run_id, command_id)
    assert command is not None
    return command


# --- small parts


def _settle(
    connection: Connection, command: CommandRow, actor: str, action: str, after: Mapping[str, Any]
) -> CommandRow:
    """Derive the command's state from its ranks, see `_state`; `command` is its former state."""
    now = _known(connection, command.run, command.id)
    return _set_state(connection, replace(now, state=command.state), _state(command, now), actor, after, action)


def _state(before: CommandRow, now: CommandRow) -> CommandState:
    """Ended when all ranks have; delivered when the first one has it. An applied command remains applied."""
    states = {result.state for result in now.ranks.values()}
    if states & OPEN:
        return before.state if before.state not in OPEN else "pending" if states == {"pending"} else "delivered"
    if before.state == "applied" and "applied" in states:
        return "applied"
    order: tuple[CommandState, ...] = ("rejected", "expired", "applied", "superseded")
    return next(state for state in order if state in states)


def _set_state(
    connection: Connection,
    command: CommandRow,
    state: CommandState,
    actor: str,
    after: Mapping[str, Any],
    action: str | None = None,
) -> CommandRow:
    connection.execute(
        "UPDATE command SET state = ? WHERE run_id = ? AND command_id = ?", (state, command.run, command.id)
    )
    _audit(connection, actor, command, action or state, before=command.state, after={"state": state, **after})
    applied = {rank: result for rank, result in command.ranks.items() if result.state == "applied"}
    # Recorded once: when it has ended, or was concluded and is applied late.
    was_told = command.state in ("applied", "rejected")
    if applied and not was_told and state not in OPEN:
        write_event(connection, command.run, _event(command, applied))
    return replace(command, state=state)


def _event(command: CommandRow, applied: Mapping[int, RankResult]) -> EventRow:
    """Return a command as an event of the charts, at the step of the last rank."""
    rank, last = max(applied.items(), key=lambda item: item[1].step or 0)
    changes = [
        f"{name}: {_part(command, last.old, name)} → {_part(command, last.new, name)}" for name in command.settings
    ]
    is_action = last.old is None and last.new is None
    return EventRow(
        id=0,
        kind="control",
        level="info",
        time_ns=last.time_ns or command.requested_ns,
        step=last.step,
        rank=rank if len(command.ranks) == 1 else None,
        text=command.control if is_action else ", ".join(changes),
        data={
            "command": command.id,
            "control": command.control,
            "old": last.old,
            "new": last.new,
            "by": command.requested_by,
            "reason": command.reason,
            "ranks": {str(number): result.step for number, result in applied.items()},
        },
    )


def _part(command: CommandRow, value: Any, name: str) -> Any:
    return value if command.control else value.get(name) if isinstance(value, dict) else None


def _find_desired(connection: Connection, command: CommandRow, rank: int) -> None:
    for control in command.settings:
        controls.find_desired(connection, command.run, rank, control)


def _put_rank(connection: Connection, run_id: str, command_id: str, rank: int, result: RankResult) -> None:
    connection.execute(
        "INSERT INTO command_rank (run_id, command_id, rank, state, old, new, step, time_ns, message)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id, command_id, rank) DO UPDATE SET"
        " state = excluded.state, old = excluded.old, new = excluded.new, step = excluded.step,"
        " time_ns = excluded.time_ns, message = excluded.message",
        (
            run_id,
            command_id,
            rank,
            result.state,
            dump(result.old),
            dump(result.new),
            result.step,
            result.time_ns,
            result.message,
        ),
    )


def _audit(connection: Connection, actor: str, command: CommandRow, action: str, *, before: Any, after: Any) -> None:
    connection.execute(
        "INSERT INTO audit (at_ns, actor, run_id, command_id, action, before, after) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (time.time_ns(), actor, command.run, command.id, action, dump(before), dump(after)),
    )
