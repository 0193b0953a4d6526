"""All that a store answers about its runs, as plain JSON: what a store of an older version must still say."""

from dataclasses import asdict
from typing import Any

import msgspec
from recis_server.store.interface import Store
from recis_server.store.values import PassRow, RunRow, RunsWanted

__all__ = ["answers"]


async def answers(store: Store) -> dict[str, Any]:
    """Every run with its series, points, passes, events, controls, commands and traces; and the tokens."""
    page = await store.runs(RunsWanted(sort="name", limit=100))
    found: dict[str, Any] = {run.id: await _of_run(store, run.id, _run(run)) for run in page.runs}
    return {"runs": found, "tokens": [_plain(asdict(row)) for row in await store.tokens()]}


def _run(run: RunRow) -> dict[str, Any]:
    # As text it may be spelled in other ways.
    row = {**run._asdict(), "config": run.config}
    del row["config_json"]
    found: dict[str, Any] = _plain(row)
    return found


async def _of_run(store: Store, run: str, row: dict[str, Any]) -> dict[str, Any]:
    metrics = await store.metrics(run)
    points = {}
    for metric in metrics:
        _, slices = await store.points(run, metric.key, None, None, None)
        points[metric.key] = [
            [one.rank, one.steps.tolist(), one.times.tolist(), _plain(one.values.tolist()), one.attempts.tolist()]
            for one in slices
        ]
    tables = {
        "metrics": metrics,
        "passes": await store.passes(run, None, None, None, None),
        "events": await store.events(run),
        "controls": await store.controls(run),
        "commands": await store.commands(run),
        "traces": await store.traces(run),
    }
    listed = {name: [_plain(_fields(one)) for one in rows] for name, rows in tables.items()}
    for trace in listed["traces"]:  # not yet known in version 1
        assert (trace.pop("summary_state"), trace.pop("summary_error")) == ("ready", "")
    for command in listed["commands"]:  # the same
        command.pop("seq")
        assert (command.pop("superseded_by"), command.pop("reverts")) == ("", "")
    for control in listed["controls"]:
        assert (control.pop("choices"), control.pop("apply"), control.pop("confirm")) == ([], "together", "")
        control.pop("desired")
        control.pop("desired_by")
    return {"run": row, "points": points, **listed}


def _fields(row: Any) -> dict[str, Any]:
    if isinstance(row, PassRow):
        return {"rank": row.rank, "attempt": row.attempt, **msgspec.structs.asdict(row.record)}
    return msgspec.structs.asdict(row) if isinstance(row, msgspec.Struct) else asdict(row)


def _plain(value: Any) -> Any:
    """What JSON can hold, and compares as equal: NaN and infinities as text, keys as text, tuples as lists."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value
