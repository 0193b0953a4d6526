"""The audit of a run for people: who has changed what, when and why, and the outcome.

Owns the columns and the CSV; must not know HTTP.
"""

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any

from recis_server.errors import NotFound
from recis_server.query.shapes import Shape, moment, plain
from recis_server.store.interface import Store
from recis_server.store.values import CommandRow

__all__ = ["AUDIT_AT_ONCE", "audit_csv", "audit_shape", "get_command"]

AUDIT_AT_ONCE = 200
_COLUMNS = (
    *("time", "by", "reason", "command", "control", "value", "rank", "old", "new", "step", "apply_at_step", "outcome"),
    *("message", "superseded_by", "reverts"),
)


async def get_command(store: Store, run: str, command: str) -> CommandRow:
    """Return one command; raise `NotFound`."""
    row = await store.command(run, command)
    if row is None:
        raise NotFound(f"run {run} has no command {command[:200]!r}")
    return row


def audit_shape(row: CommandRow) -> list[Shape]:
    """Who has changed what, when and why: one entry for each control and rank of a command."""
    return [
        {
            "time": moment(row.requested_ns),
            "by": row.requested_by,
            "reason": row.reason,
            "command": row.id,
            "control": control,
            "value": plain(value),
            "rank": rank,
            "old": plain(_of(row, result.old, control)),
            "new": plain(_of(row, result.new, control)),
            "step": result.step,
            "apply_at_step": row.apply_at_step,
            "outcome": result.state,
            "message": result.message,
            "superseded_by": row.superseded_by or None,
            "reverts": row.reverts or None,
        }
        for control, value in row.settings.items()
        for rank, result in sorted(row.ranks.items())
    ]


def _of(row: CommandRow, value: Any, control: str) -> Any:
    return value if row.control else value.get(control) if isinstance(value, dict) else None


async def audit_csv(store: Store, run: str) -> AsyncIterator[str]:
    """All of a run's audit as CSV, newest first, in parts."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    before = None
    while rows := await store.commands(run, AUDIT_AT_ONCE, before=before):
        for row in reversed(rows):
            for entry in audit_shape(row):
                writer.writerow([_cell(name, entry[name]) for name in _COLUMNS])
        yield text.getvalue()
        text.seek(0)
        text.truncate()
        before = rows[0].seq
    yield text.getvalue()


def _cell(name: str, value: object) -> object:
    """Return a cell for a spreadsheet: values as JSON, and text never as a formula."""
    if name in ("value", "old", "new"):
        return json.dumps(value)
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
