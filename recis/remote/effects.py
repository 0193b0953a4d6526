"""Format the effect of a command, and the forecast of a filter interval, as lines for a terminal.

Owns the wording and the number formats; must not know requests or options. Arguments are answers of the server.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recis.wire.text import as_name

__all__ = ["effect_lines", "forecast_lines"]

_VERDICTS = {"noise": "within the noise", "trend": "perhaps a trend", "unknown": "too few values"}
_CUTS = {
    "start": "the run began",
    "end": "the run has ended",
    "earlier": "a command changed this before",
    "superseded": "a command changed this again",
}
_ESTIMATES = ("rows_before", "evicted", "rows_after", "at_most", "pass_ms", "ms_per_step")


def effect_lines(effect: Mapping[str, Any]) -> list[str]:
    """Return the compared steps, a row for each metric, and the limits of the comparison."""
    lines = [as_name(f"command {effect['command']}: {_compared(effect)}", 1024)]
    if effect["metrics"]:
        rows = [
            (
                one["key"],
                _VERDICTS.get(one["verdict"], one["verdict"]),
                _figure(one["difference"], one["noise"], sign="+"),
                _figure(one["before"]["mean"], one["before"]["error"]),
                _figure(one["after"]["mean"], one["after"]["error"]),
            )
            for one in effect["metrics"]
        ]
        lines += _table([("metric", "result", "change", "before", "after"), *rows])
    return lines + [as_name(note, 1024) for note in _notes(effect)]


def forecast_lines(forecast: Mapping[str, Any]) -> list[str]:
    """Return a row of predicted values for each table, their sum, and the limits of the prediction."""
    predicted = [(one["table"], one["prediction"]) for one in forecast["tables"] if one["prediction"]]
    if forecast["total"] and len(predicted) > 1:
        predicted.append(("all tables", forecast["total"]))
    rows = [
        (table, str(one["next_step"]), *(_figure(one[name]["value"], one[name]["error"]) for name in _ESTIMATES))
        for table, one in predicted
    ]
    lines = _table([("table", "next_step", *_ESTIMATES), *rows]) if rows else []
    notes = [
        forecast["message"],
        *(f"{one['table']}: {one['message']}" for one in forecast["tables"] if one["message"]),
    ]
    return lines + [as_name(note, 1024) for note in notes if note]


def _compared(effect: Mapping[str, Any]) -> str:
    """Return the compared steps, or why none are compared."""
    windows = effect["windows"] or {"steps": 0, "cut": None}
    if effect["state"] == "waiting":
        missing = effect["missing_steps"]
        return f"not enough steps yet: {missing} more are needed for {windows['steps']} after the change"
    if effect["state"] != "measured":
        return str(effect["message"])
    steps = sorted(set(effect["steps"].values()))
    where = f"step {steps[0]}" if len(steps) == 1 else f"the step of each rank, {steps[0]} to {steps[-1]}"
    cut = f"; no more, as {_CUTS.get(windows['cut'], windows['cut'])}" if windows["cut"] else ""
    return f"{windows['steps']} steps before and after {where}{cut}"


def _notes(effect: Mapping[str, Any]) -> Iterable[str]:
    for one in effect["also"]:
        yield f"also changed: {', '.join(one['controls'])} at step {one['step']} (command {one['command']})"
    if effect["without"]:
        yield "not applied: " + ", ".join(f"rank {rank} ({state})" for rank, state in effect["without"].items())
    if repeated := max((one["repeated"] for one in effect["metrics"]), default=0):
        yield f"left out: {repeated} steps before it that a later attempt has trained again"
    for what in ("ranks", "tables"):
        if left_out := effect[f"{what}_left_out"]:
            yield f"left out: {left_out} further {what}"


def _figure(value: Any, error: Any, sign: str = "") -> str:
    """Return a value with its error; either may be None, or the name of a number that is not finite."""
    if value is None:
        return "-"
    text = format(value, f"{sign}.4g") if isinstance(value, int | float) else str(value)
    if error is None:
        return text
    return f"{text} ± {format(error, '.2g') if isinstance(error, int | float) else error}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines with aligned columns."""
    clean = [[as_name(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*clean, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in clean]
