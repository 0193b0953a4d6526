"""Controls: what each rank has declared, its present value, and its desired value.

Functions on a connection inside a transaction; must not know threads. `ledger` has the commands.
"""

import math
from collections.abc import Mapping
from typing import Any

from recis.wire.controls import settings_of
from recis.wire.messages import MAX_TEXT_CHARS, Declare, Result
from recis.wire.text import as_name, as_text
from recis_server.store.engines.engine import Connection
from recis_server.store.json_columns import dump, load_or
from recis_server.store.values import ControlRow, StreamRow

__all__ = ["declare", "find_desired", "note_result", "read_controls", "set_desired", "values_of"]

LOOKED_BACK = 200
"""Commands searched for the one that applies after a newer one was refused."""


def declare(connection: Connection, stream: StreamRow, record: Declare) -> None:
    """Record that a rank offers a control, or its new value."""
    connection.execute(
        "INSERT INTO control (run_id, control, rank, type, value, step, minimum, maximum, nullable, unit, description,"
        " choices, apply, confirm) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (run_id, control, rank) DO UPDATE SET"
        " type = excluded.type, value = excluded.value, step = excluded.step, minimum = excluded.minimum,"
        " maximum = excluded.maximum, nullable = excluded.nullable, unit = excluded.unit,"
        " description = excluded.description, choices = excluded.choices, apply = excluded.apply,"
        " confirm = excluded.confirm",
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
            dump(record.choices),
            record.apply,
            as_text(record.confirm, MAX_TEXT_CHARS),
        ),
    )


def _bound(value: float | None) -> float | None:
    """Return a bound for storing: NaN and infinities are no bound."""
    return value if value is not None and math.isfinite(value) else None


def note_result(connection: Connection, stream: StreamRow, record: Result) -> None:
    """Record a rank's answer to a command: the values that its controls have now."""
    for control, value in settings_of(record.control, record.new).items():
        connection.execute(
            "UPDATE control SET value = ?, step = ? WHERE run_id = ? AND control = ? AND rank = ?"
            " AND type NOT IN ('action', 'profile')",
            (dump(value), record.step, stream.run, as_name(str(control)), stream.rank),
        )


def set_desired(connection: Connection, run_id: str, rank: int, command_id: str, settings: Mapping[str, Any]) -> None:
    """Set the desired values of a rank."""
    connection.executemany(
        "UPDATE control SET desired = ?, desired_by = ? WHERE run_id = ? AND control = ? AND rank = ?"
        " AND type NOT IN ('action', 'profile')",
        [(dump(value), command_id, run_id, control, rank) for control, value in settings.items()],
    )


def find_desired(connection: Connection, run_id: str, rank: int, control: str) -> None:
    """Restore the desired values of a rank after a command was refused or has expired."""
    desired, desired_by = "null", ""
    for command_id, one, text in connection.execute(
        "SELECT c.command_id, c.control, c.value FROM command AS c JOIN command_rank AS r"
        " ON r.run_id = c.run_id AND r.command_id = c.command_id WHERE c.run_id = ? AND r.rank = ?"
        " AND r.state IN ('pending', 'delivered', 'applied') AND c.control IN (?, '') ORDER BY c.seq DESC LIMIT ?",
        (run_id, rank, control, LOOKED_BACK),
    ).fetchall():
        settings = settings_of(one, load_or(text, None))
        if control in settings:
            desired, desired_by = dump(settings[control]), command_id
            break
    connection.execute(
        "UPDATE control SET desired = ?, desired_by = ? WHERE run_id = ? AND control = ? AND rank = ?"
        " AND type NOT IN ('action', 'profile')",
        (desired, desired_by, run_id, control, rank),
    )


def values_of(connection: Connection, run_id: str, control: str) -> dict[str, Any]:
    """Return the value of a control on each rank."""
    rows = connection.execute(
        "SELECT rank, value FROM control WHERE run_id = ? AND control = ?", (run_id, control)
    ).fetchall()
    return {str(rank): load_or(value, None) for rank, value in rows}


def read_controls(connection: Connection, run_id: str) -> tuple[ControlRow, ...]:
    """Return the declared controls, by control and rank."""
    return tuple(
        ControlRow(
            control=control,
            rank=rank,
            type=kind,
            value=load_or(value, None),
            step=step,
            minimum=minimum,
            maximum=maximum,
            nullable=bool(nullable),
            unit=unit,
            description=description,
            choices=tuple(load_or(choices, ())),
            apply=apply,
            confirm=confirm,
            desired=load_or(desired, None),
            desired_by=desired_by,
        )
        for (
            control,
            rank,
            kind,
            value,
            step,
            minimum,
            maximum,
            nullable,
            unit,
            description,
            choices,
            apply,
            confirm,
            desired,
            desired_by,
        ) in connection.execute(
            "SELECT control, rank, type, value, step, minimum, maximum, nullable, unit, description, choices, apply,"
            " confirm, desired, desired_by FROM control WHERE run_id = ? ORDER BY control, rank",
            (run_id,),
        )
    )
