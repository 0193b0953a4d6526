"""Rows of the store as the dictionaries of HTTP answers and live messages: one shape for both.

Must not know HTTP, sockets or where rows come from. Times ending in `_at` are ISO 8601 in UTC, `time` is in seconds.
JSON has no NaN and no infinities: a non-finite value is "NaN", "Infinity" or "-Infinity".
"""

import math
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec

from recis.wire.messages import Pass
from recis.wire.text import as_name
from recis_server.store.values import (
    AttemptRow,
    CommandRow,
    ControlRow,
    EventRow,
    LinePage,
    MetricRow,
    ProcessRow,
    RankResult,
    RunRow,
    TraceRow,
)

__all__ = [
    "RUN_FIELDS",
    "command_shape",
    "controls_shape",
    "event_shape",
    "info_shape",
    "lines_shape",
    "listed_run",
    "metric_shape",
    "moment",
    "pass_shape",
    "plain",
    "run_shape",
    "trace_shape",
]

Shape = dict[str, Any]
MAX_DEPTH = 64
_EPOCH = datetime(1970, 1, 1)
RUN_FIELDS = (
    "id",
    "project",
    "name",
    "state",
    "message",
    "created_at",
    "updated_at",
    "ranks",
    "world_size",
    "attempts",
    "last_step",
    "summary",
    "tags",
    "notes",
    "archived",
    "config",
    "received",
)
"""The members of a run's shape."""


def plain(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Return the value with non-finite numbers as strings, at any depth; omit what is nested deeper than `depth`."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict | list | tuple):
        if depth == 0:
            return "…"
        if isinstance(value, dict):
            return {str(key): plain(item, depth - 1) for key, item in value.items()}
        return [plain(item, depth - 1) for item in value]
    return value


def run_shape(row: RunRow, state: str) -> Shape:
    """Return one run; `state` is the state to show."""
    return {**_run(row), "state": state, "config": plain(row.config)}


def listed_run(row: RunRow) -> Shape:
    """Return a run without its state, for msgspec's encoder only: the configuration is inserted as it is stored."""
    text = row.config_json
    # Non-finite numbers are stored under these names; such a configuration has to be parsed and shaped.
    is_plain = "NaN" not in text and "Infinity" not in text
    return {**_run(row), "config": msgspec.Raw(text.encode()) if is_plain else plain(row.config)}


def _run(row: RunRow) -> Shape:
    return {
        "id": row.id,
        "project": row.project,
        "name": row.name,
        "message": row.message,
        "created_at": moment(row.created_ns),
        "updated_at": moment(row.updated_ns),
        "ranks": row.ranks,
        "world_size": row.world_size,
        "attempts": row.attempts,
        "last_step": row.last_step,
        "summary": {key: value if math.isfinite(value) else plain(value) for key, value in row.summary.items()},
        "tags": row.tags,
        "notes": row.notes,
        "archived": row.archived,
        "received": {"points": row.points, "missing": row.missing, "dropped": row.dropped},
    }


def metric_shape(row: MetricRow) -> Shape:
    """Return one series name."""
    return {
        "key": row.key,
        "ranks": list(row.ranks),
        "count": row.count,
        "first_step": row.first_step,
        "last_step": row.last_step,
        "last_value": row.last_value if math.isfinite(row.last_value) else plain(row.last_value),
        "nan_count": row.nan_count,
    }


def pass_shape(rank: int, record: Pass) -> Shape:
    """Return one filter pass of a rank."""
    fields = msgspec.structs.asdict(record)
    time_ns = fields.pop("time_ns")
    shown = {"table": as_name(record.table), "milliseconds": plain(record.milliseconds)}
    return {"rank": rank, "time": time_ns / 1e9, **fields, **shown}


def event_shape(row: EventRow) -> Shape:
    """Return one event."""
    return {
        "id": row.id,
        "kind": row.kind,
        "level": row.level,
        "time": row.time_ns / 1e9,
        "step": row.step,
        "rank": row.rank,
        "text": row.text,
        "data": plain(row.data),
    }


def info_shape(row: RunRow, attempts: Sequence[AttemptRow], attempt: int, processes: Iterable[ProcessRow]) -> Shape:
    """Return what the processes of one attempt of a run say about themselves."""
    return {
        "attempt": attempt,
        "attempts": [{"attempt": one.number, "started_at": moment(one.started_ns)} for one in attempts],
        "ranks": [
            {
                "rank": one.rank,
                "host": one.host,
                "pid": one.pid,
                "client": one.client,
                "started_at": moment(one.started_ns),
                "info": plain(one.info),
            }
            for one in processes
        ],
        "config": plain(row.config),
    }


def lines_shape(page: LinePage) -> Shape:
    """Return a part of a run's log."""
    return {
        "lines": [
            {
                "id": row.id,
                "time": row.time_ns / 1e9,
                "rank": row.rank,
                "attempt": row.attempt,
                "stream": row.stream or "reported",
                "level": row.level,
                "step": row.step,
                "text": row.text,
            }
            for row in page.lines
        ],
        "first": page.first,
        "last": page.last,
        "more": page.more,
        "dropped": page.dropped,
        "removed": page.removed,
    }


def controls_shape(rows: Iterable[ControlRow]) -> list[Shape]:
    """Return all controls of a run: the present and the desired value on each rank.

    `value` and `desired` are those of the lowest rank; `differs` names the ranks whose value is not the desired one, or
    not that of the lowest rank.
    """
    shapes: dict[str, Shape] = {}
    for row in sorted(rows, key=lambda one: (one.control, one.rank)):
        desired = row.desired if row.desired_by else row.value
        shape = shapes.setdefault(row.control, _control(row, desired))
        shape["ranks"][str(row.rank)] = {"value": plain(row.value), "step": row.step}
        if row.value != desired or plain(row.value) != shape["value"]:
            shape["differs"].append(row.rank)
    return list(shapes.values())


def _control(row: ControlRow, desired: Any) -> Shape:
    return {
        "name": row.control,
        "type": row.type,
        "value": plain(row.value),
        "desired": plain(desired),
        "minimum": plain(row.minimum),
        "maximum": plain(row.maximum),
        "choices": plain(row.choices) if row.type == "enum" else None,
        "nullable": row.nullable,
        "unit": row.unit,
        "description": row.description,
        "apply": row.apply,
        "confirm": row.confirm,
        "differs": [],
        "ranks": {},
    }


def command_shape(row: CommandRow, connected: Collection[int] = ()) -> Shape:
    """Return one command of the ledger; `connected` are the ranks connected now."""
    here = sorted(row.open_ranks & set(connected))
    unseen = [rank for rank in here if row.ranks[rank].state == "pending"]
    return {
        "id": row.id,
        "run": row.run,
        "control": row.control or None,
        "value": plain(row.value),
        "values": plain(row.settings),
        "state": row.state,
        "requested_by": row.requested_by,
        "requested_at": moment(row.requested_ns),
        "reason": row.reason,
        "apply_at_step": row.apply_at_step,
        "superseded_by": row.superseded_by or None,
        "reverts": row.reverts or None,
        "waiting_for": unseen or here,
        "away": sorted(row.open_ranks - set(connected)),
        "ranks": {str(rank): _rank_shape(row, result) for rank, result in sorted(row.ranks.items())},
    }


def _rank_shape(row: CommandRow, result: RankResult) -> Shape:
    return {
        "state": result.state,
        "old": plain(result.old),
        "new": plain(result.new),
        "step": result.step,
        "late": None not in (result.step, row.apply_at_step) and result.step > row.apply_at_step,  # type: ignore[operator]
        "time": None if result.time_ns is None else result.time_ns / 1e9,
        "message": result.message,
    }


def trace_shape(row: TraceRow) -> Shape:
    """Return one trace, without the location of its file."""
    return {
        "id": row.id,
        "run": row.run,
        "name": row.name,
        "rank": row.rank,
        "attempt": row.attempt,
        "step": row.step,
        "size": row.size,
        "sha256": row.sha256,
        "state": row.state,
        "created_at": moment(row.created_ns),
        "summary_state": row.summary_state,
        "summary_error": row.summary_error or None,
        "summary": row.summary,
    }


def moment(time_ns: int) -> str:
    """A time as ISO 8601 in UTC."""
    # A trainer's clock may show any time; the calendar ends with the year 9999.
    seconds, rest_ns = divmod(min(max(time_ns, 0), 253_402_300_800 * 10**9 - 1), 10**9)
    return f"{_second(seconds)}.{rest_ns // 10**6:03d}Z"


@lru_cache(4096)
def _second(seconds: int) -> str:
    # Listed runs have mostly changed in the same few seconds.
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()
