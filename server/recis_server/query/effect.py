"""The effect of a command: loss, speed and hash tables in equal windows of steps before and after it.

Owns which steps are compared and when they cannot be; `noise` decides whether a difference is more than noise. Must not
know HTTP. The work is bounded: windows of at most `MAX_WINDOW` steps, the `MAX_RANKS` lowest ranks that have applied
the command, `MAX_TABLES` tables, and the `NEIGHBOURS` commands accepted before and after it.

Each rank is measured around the step at which it has applied the command itself. The windows end where another command
has changed the same control, at the first step of the run, and, once the run has ended, at its last. Points that a
later attempt has superseded do not count, nor do points of earlier steps that were trained after the command.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from recis_server.errors import InvalidValue
from recis_server.query.headline import metric_of
from recis_server.query.noise import Sample, compare
from recis_server.query.shapes import Shape, plain
from recis_server.store.interface import Store
from recis_server.store.steps import FIRST_STEP, LAST_STEP
from recis_server.store.values import OPEN, Buckets, CommandRow, ControlRow, RankResult, RunRow

__all__ = ["MAX_WINDOW", "MIN_WINDOW", "read_effect"]

MAX_WINDOW = 10_000
MIN_WINDOW = 10
MAX_RANKS = 16
MAX_TABLES = 16
NEIGHBOURS = 200
_DEFAULT_WINDOW = 100
_PASSES = 5
"""Filter passes in a window, unless its length is given."""
_INTERVAL = "filter_interval"
_ROWS = re.compile(r"table/(.+)/rows", re.DOTALL)
_EMPTY = np.empty(0)


@dataclass(frozen=True, slots=True)
class _Metric:
    """A series to compare; `add` tells whether its ranks are added up."""

    key: str
    role: str
    table: str = ""
    add: bool = False


@dataclass(frozen=True, slots=True)
class _Ends:
    """The limits of one rank's windows: the number of steps before and after the command, and the reasons."""

    before: int
    after: int
    before_cause: str
    after_cause: str
    before_by: str = ""
    after_by: str = ""


@dataclass(slots=True)
class _Rank:
    """A rank that has applied the command after `step`, at `time`, and its points around that step."""

    step: int
    time: float
    points: dict[str, Buckets] = field(default_factory=dict)
    first: int | None = None
    last: int | None = None
    last_time: float = 0.0


async def read_effect(store: Store, run: RunRow, command: CommandRow, window: int | None = None) -> Shape:
    """Return what a command has changed, see `docs/http.md`.

    Args:
        store: the store of the run.
        run: the run.
        command: one of its commands.
        window: the steps of each window; by default 100, or five filter intervals if these are more.

    Raises:
        InvalidValue: the tables have too many passes in such windows.
    """
    controls = await store.controls(run.id)
    problem = _unmeasurable(command, controls)
    if problem is not None:
        return _answer(command, *problem)
    applied = [(rank, result) for rank, result in sorted(command.ranks.items()) if _is_applied(result)]
    ranks = {rank: _Rank(result.step or 0, (result.time_ns or 0) / 1e9) for rank, result in applied[:MAX_RANKS]}
    keys = [row.key for row in await store.metrics(run.id)]
    metrics, tables_left_out = await asyncio.to_thread(_metrics, keys)
    if not metrics:
        return _answer(command, "none", "The run reports neither a loss nor a speed nor filter passes.")
    wanted = window or _window(command, controls, ranks)
    await _read_points(store, run.id, ranks, metrics, wanted)
    earlier = await store.commands(run.id, NEIGHBOURS, before=command.seq)
    later = await store.commands(run.id, NEIGHBOURS, after=command.seq)
    more = {
        "ranks_left_out": len(applied) - len(ranks),
        "tables_left_out": tables_left_out,
        "without": {str(rank): one.state for rank, one in sorted(command.ranks.items()) if not _is_applied(one)},
    }
    has_ended = run.state in ("finished", "failed")
    return await asyncio.to_thread(
        _measure, command, ranks, metrics, wanted, (earlier, later), has_ended=has_ended, more=more
    )


# --- what is compared


def _is_applied(result: RankResult) -> bool:
    return result.state == "applied" and result.step is not None


def _unmeasurable(command: CommandRow, controls: Sequence[ControlRow]) -> tuple[str, str] | None:
    """Return state and reason of a command that cannot have an effect, None for others."""
    if not any(_is_applied(result) for result in command.ranks.values()):
        if command.state in OPEN:
            return "open", "No rank has applied the command yet."
        texts = {
            "rejected": "The command was rejected.",
            "expired": "The command expired before a rank applied it.",
            "superseded": f"The command was replaced by {command.superseded_by} before it took effect.",
        }
        return "none", texts.get(command.state, "No rank has applied the command.")
    actions = {row.control for row in controls if row.type == "action"}
    if command.control == "stop" and "stop" in actions:
        return "none", "The command has ended the training: there are no steps after it."
    return None


def _metrics(keys: Sequence[str]) -> tuple[list[_Metric], int]:
    """Return the series to compare, and how many tables are left out."""
    found = [_Metric(key, role) for role in ("loss", "rate") if (key := metric_of(keys, role))]
    known = set(keys)
    tables = sorted(match[1] for key in keys if (match := _ROWS.fullmatch(key)))
    for table in tables[:MAX_TABLES]:
        found.append(_Metric(f"table/{table}/rows", "rows", table, add=True))
        if (key := f"table/{table}/pass_ms") in known:
            found.append(_Metric(key, "pass_ms", table))
    return found, max(0, len(tables) - MAX_TABLES)


def _window(command: CommandRow, controls: Sequence[ControlRow], ranks: Iterable[int]) -> int:
    """Return the default length of a window: long enough for a few filter passes."""
    intervals = [row.value for row in controls if row.control == _INTERVAL and row.rank in ranks]
    if _INTERVAL in command.settings:
        intervals += [_part(command, one.old, _INTERVAL) for one in command.ranks.values()]
        intervals.append(command.settings[_INTERVAL])
    steps = [_PASSES * one for one in intervals if type(one) is int]
    return min(MAX_WINDOW, max([_DEFAULT_WINDOW, *steps]))


def _part(command: CommandRow, value: Any, control: str) -> Any:
    return value if command.control else value.get(control) if isinstance(value, Mapping) else None


# --- reading


async def _read_points(
    store: Store, run: str, ranks: Mapping[int, _Rank], metrics: Sequence[_Metric], window: int
) -> None:
    """Read all points of the windows, and the first and the last step of each rank."""
    keys = [metric.key for metric in metrics]
    main = [metric.key for metric in metrics if not metric.table] or keys
    ends = await store.chart(run, main, list(ranks), None, None, 1)
    for one in ends.series:
        rank = ranks[one.rank]  # type: ignore[index]
        rank.first = one.first if rank.first is None else min(rank.first, one.first)
        if rank.last is None or one.last > rank.last:
            rank.last, rank.last_time = one.last, float(one.buckets.time[-1])
    by_step: dict[int, list[int]] = {}
    for number, rank in ranks.items():
        by_step.setdefault(rank.step, []).append(number)
    for step, numbers in by_step.items():
        start, stop = max(FIRST_STEP, step - window + 1), min(LAST_STEP, step + window + 1)
        try:
            read = await store.chart(run, keys, numbers, start, stop, 0)
        except InvalidValue as error:
            message = f"expected fewer steps than {window}: the windows have too many filter passes"
            raise InvalidValue("window", message) from error
        for one in read.series:
            # Of expired points only wider buckets are left, which may lie across the step.
            if read.width == 1:
                ranks[one.rank].points[one.key] = one.buckets  # type: ignore[index]


# --- measuring


def _measure(
    command: CommandRow,
    ranks: Mapping[int, _Rank],
    metrics: Sequence[_Metric],
    wanted: int,
    neighbours: tuple[Sequence[CommandRow], Sequence[CommandRow]],
    *,
    has_ended: bool,
    more: Shape,
) -> Shape:
    """Return the answer once everything has been read."""
    ends = [_ends(command, number, rank, neighbours, has_ended=has_ended) for number, rank in ranks.items()]
    limits = [(one.before, one.before_cause, one.before_by) for one in ends]
    limits += [(one.after, one.after_cause, one.after_by) for one in ends]
    steps, cause, by = min(limits, key=lambda limit: limit[0])
    length = min(wanted, max(0, steps))
    is_cut = length < wanted
    windows = {"steps": length, "cut": cause if is_cut else None, "by": by if is_cut and by else None}
    more = {**more, "windows": windows}
    if all(one.last is not None and one.last < one.step and one.last_time > one.time for one in ranks.values()):
        return _answer(command, "none", _REPEATED, **more)
    if length < MIN_WINDOW:
        return _answer(command, "none", _TOO_SHORT[cause].format(steps=length, least=MIN_WINDOW), **more)
    missing = max(length + rank.step - (rank.step if rank.last is None else rank.last) for rank in ranks.values())
    if missing > 0 and not has_ended:
        return _answer(command, "waiting", "", missing_steps=missing, **more)
    compared = [_compare(metric, ranks, length) for metric in metrics]
    compared = [one for one in compared if one["before"]["count"] + one["after"]["count"] + one["repeated"]]
    if not any(one["before"]["count"] for one in compared):
        repeated = any(one["repeated"] for one in compared)
        return _answer(command, "none", _REPEATED if repeated else _EXPIRED, **more)
    others = [one for part in neighbours for one in part]
    return _answer(command, "measured", "", metrics=compared, also=_also(command, others, ranks, length), **more)


_REPEATED = (
    "A later attempt has trained the steps before the command again, with the value that the command had set; there is "
    "nothing left to compare with."
)
_EXPIRED = "The store has no single points before the command."
_TOO_SHORT = {
    "start": "Only {steps} steps were trained before the command; at least {least} are needed.",
    "end": "The run ended {steps} steps after the command; at least {least} are needed.",
    "earlier": "Another command changed the same control {steps} steps before; at least {least} are needed.",
    "superseded": "Another command changed the same control {steps} steps later; at least {least} are needed.",
}


def _ends(
    command: CommandRow,
    number: int,
    rank: _Rank,
    neighbours: tuple[Sequence[CommandRow], Sequence[CommandRow]],
    *,
    has_ended: bool,
) -> _Ends:
    """Return how far the windows of a rank may reach."""
    before, before_cause, before_by = MAX_WINDOW, "start", ""
    after, after_cause, after_by = MAX_WINDOW, "end", ""
    if rank.first is not None:
        before = min(before, rank.step - rank.first + 1)
    if rank.last is not None and has_ended:
        after = min(after, rank.last - rank.step)
    for other in neighbours[0]:
        step = _changed_at(other, command, number)
        if step is None or step >= rank.step or rank.step - step >= before:
            continue
        if _stands(rank, step, (other.ranks[number].time_ns or 0) / 1e9):
            before, before_cause, before_by = rank.step - step, "earlier", other.id
    for other in neighbours[1]:
        step = _changed_at(other, command, number)
        is_same = all(command.settings.get(name, value) == value for name, value in other.settings.items())
        if step is not None and not is_same and step - rank.step < after:
            after, after_cause, after_by = step - rank.step, "superseded", other.id
    return _Ends(before, after, before_cause, after_cause, before_by, after_by)


def _changed_at(other: CommandRow, command: CommandRow, rank: int) -> int | None:
    """Return the step at which another command has changed a control of this one on a rank."""
    result = other.ranks.get(rank)
    if result is None or not _is_applied(result):
        return None
    shared = other.settings.keys() & command.settings.keys()
    changed = any(_part(other, result.old, name) != _part(other, result.new, name) for name in shared)
    return result.step if changed else None


def _stands(rank: _Rank, step: int, time: float) -> bool:
    """Return whether the points up to a step were trained before a time, rather than again by a later attempt."""
    times = [one.time[one.x <= step] for one in rank.points.values()]
    found = np.concatenate([_EMPTY, *times])
    return not len(found) or bool((found <= time).any())


def _compare(metric: _Metric, ranks: Mapping[int, _Rank], length: int) -> Shape:
    """Return one metric in both windows."""
    before, after, repeated = [], [], 0
    nothing = Sample(_EMPTY, _EMPTY)
    for rank in ranks.values():
        points = rank.points.get(metric.key)
        if points is None:
            before.append(nothing)
            after.append(nothing)
            continue
        offsets = points.x - rank.step
        is_again = points.time > rank.time
        # A report of the step itself may come shortly after the command, but belongs to the steps before it.
        at = np.flatnonzero(offsets == 0)
        is_again[at] = is_again[at - 1] & (at > 0)
        earlier, later = (offsets > -length) & (offsets <= 0), (offsets > 0) & (offsets <= length)
        repeated += int((earlier & is_again).sum())
        earlier &= ~is_again
        before.append(Sample(offsets[earlier] + length - 1, points.last[earlier]))
        after.append(Sample(offsets[later] - 1, points.last[later]))
    change = compare(before, after, length, add=metric.add)
    shape: Shape = plain(asdict(change))
    return {
        "key": metric.key,
        "role": metric.role,
        "table": metric.table or None,
        "over_ranks": "sum" if metric.add else "mean",
        **shape,
        "repeated": repeated,
    }


def _also(
    command: CommandRow, others: Iterable[CommandRow], ranks: Mapping[int, _Rank], length: int
) -> list[dict[str, Any]]:
    """Return the commands for other controls that took effect in the windows."""
    found = []
    for other in others:
        steps = [
            result.step
            for rank, result in other.ranks.items()
            if rank in ranks and result.step is not None and abs(result.step - ranks[rank].step) < length
        ]
        if steps and not other.settings.keys() & command.settings.keys():
            found.append({"command": other.id, "controls": list(other.settings), "step": min(steps)})
    return found


def _answer(command: CommandRow, state: str, message: str, **more: Any) -> Shape:
    """Return the answer, with what is missing from it."""
    ranks = {str(rank): one.step for rank, one in sorted(command.ranks.items()) if _is_applied(one)}
    empty: Shape = {
        "windows": None,
        "missing_steps": 0,
        "metrics": [],
        "also": [],
        "without": {},
        "ranks_left_out": 0,
        "tables_left_out": 0,
    }
    about = {"command": command.id, "control": command.control or None, "state": state, "message": message}
    return {**about, "steps": ranks, **empty, **more}
