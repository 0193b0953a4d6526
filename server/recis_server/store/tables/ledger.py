"""Controls and commands in the tables: declared, asked for, delivered, answered, with an audit row for every change.

Functions for the write thread, each inside of a transaction that its caller has begun; must not know threads.
"""

# Names of columns and tables below are constants of this package; every value is bound.
# ruff: noqa: S608

import math
import time
from collections.abc import Mapping
from typing import Any

from recis.wire.messages import MAX_TEXT_CHARS, Declare, Result
from recis.wire.text import as_name, as_text
from recis_server.store.engines.engine import Connection
from recis_server.store.json_columns import dump, load_or
from recis_server.store.values import CommandRow, RankResult, StreamRow

__all__ = ["add", "answer", "declare", "delivered", "expire", "read", "read_many"]

_FIELDS = "command_id, run_id, control, value, state, requested_by, requested_ns, reason, apply_at_step"


def declare(connection: Connection, stream: StreamRow, record: Declare) -> None:
    """A rank offers a control, or says its value anew."""
    connection.execute(
        "INSERT INTO control (run_id, control, rank, type, value, step, minimum, maximum, nullable, unit, description)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id, control, rank) DO UPDATE SET"
        " type = excluded.type, value = excluded.value, step = excluded.step, minimum = excluded.minimum,"
        " maximum = excluded.maximum, nullable = excluded.nullable, unit = excluded.unit,"
        " description = excluded.description",
        (
            stream.run,
            as_name(record.control),
            stream.rank,
            record.type,
            dump(record.value),
            record.step,
            _bound(record.minimum),
            _bound(record.maximum),
            int(record.nullable),
            as_name(record.unit),
            as_text(record.description, MAX_TEXT_CHARS),
        ),
    )


def _bound(value: float | None) -> float | None:
    """A bound as it is kept: NaN and infinities bound nothing."""
    return value if value is not None and math.isfinite(value) else None


def add(connection: Connection, command: CommandRow, actor: str) -> CommandRow:
    """Writes a command; one whose id is known is returned as it is."""
    known = read(connection, command.run, command.id)
    if known is not None:
        return known
    connection.execute(
        f"INSERT INTO command ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        ),
    )
    for rank, result in command.ranks.items():
        _put_rank(connection, command.run, command.id, rank, result)
    before = _values(connection, command.run, command.control)
    after = {"value": command.value, "reason": command.reason}
    _audit(connection, actor, command, "requested", before=before, after=after)
    return command


def delivered(connection: Connection, run_id: str, command_id: str, rank: int) -> CommandRow | None:
    """A rank has seen the command."""
    command = read(connection, run_id, command_id)
    if command is None or command.ranks.get(rank, RankResult("applied")).state != "pending":
        return command
    _put_rank(connection, command.run, command_id, rank, RankResult("delivered"))
    return _settle(connection, run_id, command_id, f"rank {rank}", "delivered", {})


def answer(connection: Connection, stream: StreamRow, record: Result) -> None:
    """A rank says how a command ended; the value of its control is known anew."""
    connection.execute(
        "UPDATE control SET value = ?, step = ? WHERE run_id = ? AND control = ? AND rank = ?",
        (dump(record.new), record.step, stream.run, record.control, stream.rank),
    )
    command = read(connection, stream.run, record.command)
    if command is None:
        return
    result = RankResult(
        record.state, record.old, record.new, record.step, record.time_ns, as_text(record.message, MAX_TEXT_CHARS)
    )
    _put_rank(connection, stream.run, record.command, stream.rank, result)
    _settle(
        connection,
        stream.run,
        record.command,
        f"rank {stream.rank}",
        record.state,
        {"old": record.old, "new": record.new, "step": record.step, "message": result.message},
    )


def expire(connection: Connection, run_id: str, command_id: str) -> CommandRow | None:
    """Ends a command that is still open; None when it is not."""
    command = read(connection, run_id, command_id)
    if command is None or command.state not in ("pending", "delivered"):
        return None
    connection.execute("UPDATE command SET state = 'expired' WHERE run_id = ? AND command_id = ?", (run_id, command_id))
    _audit(connection, "server", command, "expired", before=command.state, after="expired")
    return read(connection, run_id, command_id)


def read(connection: Connection, run_id: str, command_id: str) -> CommandRow | None:
    """One command with its ranks."""
    row = connection.execute(
        f"SELECT {_FIELDS} FROM command WHERE run_id = ? AND command_id = ?", (run_id, command_id)
    ).fetchone()
    return None if row is None else _command(connection, row)


def read_many(connection: Connection, run_id: str, limit: int) -> tuple[CommandRow, ...]:
    """The newest commands of a run, oldest first."""
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM command WHERE run_id = ? ORDER BY seq DESC LIMIT ?",
        (run_id, limit),
    ).fetchall()
    return tuple(_command(connection, row) for row in reversed(rows))


def _command(connection: Connection, row: tuple[Any, ...]) -> CommandRow:
    command_id, run, control, value, state, requested_by, requested_ns, reason, apply_at_step = row
    ranks = {
        rank: RankResult(rank_state, load_or(old, None), load_or(new, None), step, time_ns, message)
        for rank, rank_state, old, new, step, time_ns, message in connection.execute(
            "SELECT rank, state, old, new, step, time_ns, message FROM command_rank"
            " WHERE run_id = ? AND command_id = ? ORDER BY rank",
            (run, command_id),
        )
    }
    return CommandRow(
        command_id, run, control, load_or(value, None), state, requested_by, requested_ns, reason, apply_at_step, ranks
    )


def _settle(
    connection: Connection, run_id: str, command_id: str, actor: str, action: str, after: Mapping[str, Any]
) -> CommandRow | None:
    """The command's state from its ranks': ended when all have, delivered when the first has it."""
    command = read(connection, run_id, command_id)
    assert command is not None
    states = {result.state for result in command.ranks.values()}
    if states <= {"applied", "rejected"}:
        state = "rejected" if "rejected" in states else "applied"
    elif command.state == "expired":
        state = "expired"
    else:
        state = "pending" if states == {"pending"} else "delivered"
    connection.execute("UPDATE command SET state = ? WHERE run_id = ? AND command_id = ?", (state, run_id, command_id))
    _audit(connection, actor, command, action, before=command.state, after={"state": state, **after})
    return read(connection, run_id, command_id)


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


def _values(connection: Connection, run_id: str, control: str) -> dict[str, Any]:
    rows = connection.execute(
        "SELECT rank, value FROM control WHERE run_id = ? AND control = ?", (run_id, control)
    ).fetchall()
    return {str(rank): load_or(value, None) for rank, value in rows}


def _audit(connection: Connection, actor: str, command: CommandRow, action: str, *, before: Any, after: Any) -> None:
    connection.execute(
        "INSERT INTO audit (at_ns, actor, run_id, command_id, action, before, after) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (time.time_ns(), actor, command.run, command.id, action, dump(before), dump(after)),
    )
