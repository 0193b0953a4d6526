"""The consequences of another filter interval for the hash tables, predicted from their last passes.

Owns the prediction; must not know HTTP or the rules that evict. For each table and rank:

- Rows are added, and rows become due for eviction, as fast as between the last passes (their means per step): a pass
  after d steps finds the rows that the last one left and those added in d steps, and evicts those due in d steps.
- A pass takes as long per row as the last ones did.

The error is that of a single further observation with 95 % probability, by Student's t from the spread of the passes;
for other intervals it grows with the length. Passes of several tables and ranks at the same steps are added up before,
since all of them see the same data; where the steps differ, the errors are added. With a longer interval some ids are
seen again before they are evicted, and are not added again: then the prediction is an upper bound for rows.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add

import msgspec

from recis.wire.messages import Pass
from recis.wire.text import as_name
from recis_server.query.noise import quantile
from recis_server.query.shapes import Shape
from recis_server.store.interface import Store
from recis_server.store.values import PassRow, RunRow

__all__ = ["Estimate", "forecast", "read_forecast"]

LAST_PASSES = 10
"""Intervals between passes from which a prediction is made."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and half the length of its interval of 95 %, NaN if unknown."""

    value: float
    error: float

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.value + other.value, self.error + other.error)

    def __sub__(self, other: "Estimate") -> "Estimate":
        return Estimate(max(0.0, self.value - other.value), self.error + other.error)

    def __mul__(self, factor: float) -> "Estimate":
        return Estimate(self.value * factor, self.error * factor)

    def shape(self, digits: int) -> Shape:
        """Return the estimate as in answers."""
        return {
            "value": round(self.value, digits),
            "error": None if math.isnan(self.error) else round(self.error, digits),
        }


_NOTHING = Estimate(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Figures:
    """The prediction for a table on a rank, or for several: rows at the next pass, and between later ones."""

    next_step: int
    rows: float
    rows_before: Estimate
    evicted: Estimate
    rows_after: Estimate
    at_most: Estimate
    pass_ms: Estimate
    ms_per_step: Estimate

    def __add__(self, other: "_Figures") -> "_Figures":
        return _Figures(
            min(self.next_step, other.next_step),
            self.rows + other.rows,
            self.rows_before + other.rows_before,
            self.evicted + other.evicted,
            self.rows_after + other.rows_after,
            self.at_most + other.at_most,
            self.pass_ms + other.pass_ms,
            self.ms_per_step + other.ms_per_step,
        )

    def shape(self) -> Shape:
        return {
            "next_step": self.next_step,
            "rows": self.rows,
            "rows_before": self.rows_before.shape(1),
            "evicted": self.evicted.shape(1),
            "rows_after": self.rows_after.shape(1),
            "at_most": self.at_most.shape(1),
            "pass_ms": self.pass_ms.shape(4),
            "ms_per_step": self.ms_per_step.shape(6),
        }


async def read_forecast(store: Store, run: RunRow, interval: int) -> Shape:
    """Return the prediction for a filter interval in steps, see `docs/http.md`."""
    # An attempt that went back may not have reached the last passes of the previous one.
    stop = None if run.last_step is None else run.last_step + 1
    return forecast(await store.passes(run.id, None, None, None, stop), interval, run.last_step)


def forecast(passes: Sequence[PassRow], interval: int, last_step: int | None) -> Shape:
    """Return the prediction for an interval.

    Args:
        passes: in order of step.
        interval: the interval in steps.
        last_step: the last step of the run, None if it has reported none.
    """
    answer: Shape = {"filter_interval": interval, "message": "", "total": None, "tables": []}
    if not passes:
        return {**answer, "message": "There have been no filter passes yet."}
    newest = max(passes, key=lambda one: one.record.time_ns).attempt
    tables: dict[str, dict[int, list[Pass]]] = {}
    for one in passes:
        if one.attempt == newest:
            tables.setdefault(as_name(one.record.table), {}).setdefault(one.rank, []).append(one.record)
    answer["tables"] = [_table(name, ranks, interval, last_step) for name, ranks in sorted(tables.items())]
    known = [one["table"] for one in answer["tables"] if one["prediction"]]
    total = _figures([ones for name in known for ones in tables[name].values()], interval, last_step)
    unknown = len(tables) - len(known)
    if total is None:
        answer["message"] = "There has been one filter pass since the start; a prediction needs at least two."
    elif unknown:
        answer["message"] = f"{unknown} of {len(tables)} tables have had one filter pass, and are not included."
    return {**answer, "total": None if total is None else total.shape()}


def _table(name: str, ranks: dict[int, list[Pass]], interval: int, last_step: int | None) -> Shape:
    number = min(LAST_PASSES + 1, *(len(ones) for ones in ranks.values()))
    shape: Shape = {"table": name, "passes": number, "message": "", "prediction": None}
    figures = _figures(list(ranks.values()), interval, last_step)
    if figures is None:
        return {**shape, "message": "one pass; a prediction needs at least two"}
    evicts = any(one.evicted for rank in ranks.values() for one in rank)
    if not evicts:
        shape["message"] = "no pass has evicted rows: without a filter rule, a table only grows"
    elif number < 3:
        shape["message"] = "two passes; the error is not known yet"
    return {**shape, "prediction": figures.shape()}


def _figures(series: Sequence[Sequence[Pass]], interval: int, last_step: int | None) -> _Figures | None:
    """Return the prediction from the passes over some tables on some ranks; None if there are too few of one."""
    groups: dict[tuple[int, ...], list[Sequence[Pass]]] = {}
    for passes in series:
        last = passes[-LAST_PASSES - 1 :]
        groups.setdefault(tuple(one.step for one in last), []).append(last)
    found = [
        _predict([_sum(ones) for ones in zip(*group, strict=True)], interval, last_step) for group in groups.values()
    ]
    if not found or None in found:
        return None
    return reduce(add, found)


def _sum(passes: Sequence[Pass]) -> Pass:
    """Return passes at one step as one pass over all of their tables."""
    names = ("rows_before", "evicted", "rows_after", "admitted", "milliseconds")
    return msgspec.structs.replace(passes[0], **{name: sum(getattr(one, name) for one in passes) for name in names})


def _predict(passes: Sequence[Pass], interval: int, last_step: int | None) -> _Figures | None:
    """Return the prediction from passes in order of step; None if there are too few."""
    spans = [(later.step - earlier.step, later) for earlier, later in pairwise(passes) if later.step > earlier.step]
    if not spans:
        return None
    added = _mean(later.admitted / steps for steps, later in spans)
    due = _mean(later.evicted / steps for steps, later in spans)
    left = _mean(later.rows_after for _, later in spans)
    timed = [later for _, later in spans if math.isfinite(later.milliseconds)]
    cost = _mean(later.milliseconds / max(1, later.rows_before) for later in timed) if timed else _NOTHING
    last = passes[-1]
    next_step = max(last.step + interval, (last.step if last_step is None else last_step) + 1)
    steps = next_step - last.step
    rows_before = Estimate(float(last.rows_after), 0.0) + added * steps
    pass_ms = _times(cost, rows_before)
    return _Figures(
        next_step,
        float(last.rows_after),
        rows_before,
        due * steps,
        rows_before - due * steps,
        left + added * interval,
        pass_ms,
        _times(cost, left + added * interval) * (1 / interval),
    )


def _mean(values: Iterable[float]) -> Estimate:
    """Return the mean as an estimate of a single further value."""
    found = list(values)
    number = len(found)
    mean = math.fsum(found) / number
    if number < 2:
        return Estimate(mean, math.nan)
    variance = math.fsum((value - mean) ** 2 for value in found) / (number - 1)
    return Estimate(mean, quantile(number - 1) * math.sqrt(variance * (1 + 1 / number)))


def _times(one: Estimate, other: Estimate) -> Estimate:
    """Return the product, with the error to the first order."""
    return Estimate(one.value * other.value, one.error * other.value + one.value * other.error)
