"""Tables and target checks of the store benchmarks.

Owns the targets and the texts of the tables; must not know how anything is measured.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Verdict", "judge", "table"]

Result = dict[str, Any]
MILLION = 1e6


@dataclass(frozen=True)
class Verdict:
    """A target, the measured value, and whether the target is met."""

    target: str
    measured: float
    limit: float
    unit: str

    def row(self) -> list[str]:
        met = "met" if self.measured <= self.limit else "MISSED"
        return [self.target, f"{self.measured:,.3g} {self.unit}", met]


def judge(stage: str, result: Result) -> Iterator[Verdict]:
    """Return the verdicts on the targets of one result of a stage."""
    engine = result["engine"]
    match stage:
        case "charts" if result["points"] >= 10 * MILLION:
            limit = 5.0 if result["points"] < 100 * MILLION else 30.0
            what = f"{engine}: {result['points'] / MILLION:.0f}M points, {result['view']}"
            yield Verdict(f"{what}: {limit:.0f} ms in the store", result["store_ms"]["median"], limit, "ms")
            if limit < 30.0:
                yield Verdict(f"{what}: 20 ms over HTTP", result["http_ms"]["median"], 20.0, "ms")
        case "list":
            for name, what in (("page_50_ms", "a page of 50"), ("page_500_ms", "a page of 500")):
                target = f"{engine}: {what} of {result['runs']:,} runs, 50 ms over HTTP"
                yield Verdict(target, result[name]["median"], 50.0, "ms")
            target = f"{engine}: all {result['runs']:,} runs, 50 ms in the store"
            yield Verdict(target, result["all_store_ms"]["median"], 50.0, "ms")
        case "band":
            target = f"{engine}: a band over {result['ranks']} ranks, 100 ms over HTTP"
            yield Verdict(target, result["http_ms"]["median"], 100.0, "ms")
        case "load":
            target = (
                f"{engine}: a chart while {result['points_per_s'] / MILLION:.2f}M points/s are committed, p99 50 ms"
            )
            yield Verdict(target, result["chart_ms"]["p99"], 50.0, "ms")
            cores = result["server_cores"] + result["upkeep_cores"]
            yield Verdict(f"{engine}: the server and its maintenance at that load, half a core", cores, 0.5, "cores")
        case "disk":
            what = f"{result['runs']:,} runs x {result['series']} series x {result['rows']:,} steps"
            yield Verdict(f"{engine}: {what}, 6 bytes a point", result["bytes_per_point"], 6.0, "bytes")
        case "memory":
            what = f"{engine}: {result['points'] / MILLION:.0f}M points stored, {result['runs']:,} live runs"
            yield Verdict(f"{what}, 500 MB", result["server_mb"] + result["upkeep_mb"], 500.0, "MB")
            start_s = result["start_s"] if result["cold_start_s"] is None else result["cold_start_s"]
            yield Verdict(f"{engine}: start with that store, 2 s", start_s, 2.0, "s")


def table(stage: str, results: Sequence[Result]) -> tuple[str, list[str], list[list[str]]]:
    """Return title, header and rows of a stage's results."""
    title, head, row = _TABLES[stage]
    return title, ["", "engine", *head], [row(one) for one in results]


def _ms(spread: dict[str, float]) -> list[str]:
    return [f"{spread['median']:.2f}", f"{spread['max']:.1f}"]


def _charts(one: Result) -> list[str]:
    what = f"{one['points']:,} points, {one['view']}"
    return [
        what,
        one["engine"],
        f"{one['buckets']:,}",
        *_ms(one["store_ms"]),
        *_ms(one["http_ms"]),
        f"{one['bytes']:,}",
    ]


def _list(one: Result) -> list[str]:
    what = f"{one['runs']:,} runs, 10 latest values each"
    return [what, one["engine"], *_ms(one["page_50_ms"]), *_ms(one["page_500_ms"]), *_ms(one["all_store_ms"])]


def _band(one: Result) -> list[str]:
    what = f"{one['ranks']} ranks, {one['points']:,} points"
    return [what, one["engine"], f"{one['buckets']:,}", *_ms(one["store_ms"]), *_ms(one["http_ms"])]


def _load(one: Result) -> list[str]:
    charts = [f"{one['chart_ms'][name]:.1f}" for name in ("median", "p99", "max")]
    cores = [f"{one['server_cores']:.2f}", f"{one['upkeep_cores']:.2f}"]
    rates = [f"{one['points_per_s']:,.0f}", f"{one['ack_ms_p99']:.0f}"]
    return [f"{one['points']:,} points, {one['charts']} charts", one["engine"], *charts, *rates, *cores]


def _disk(one: Result) -> list[str]:
    what = f"{one['runs']:,} runs x {one['series']} series x {one['rows']:,} steps"
    rates = [f"{one[name] / MILLION:.1f}" for name in ("write", "compact")]
    return [what, one["engine"], f"{one['bytes_per_point']:.2f}", *rates]


def _memory(one: Result) -> list[str]:
    sizes = [f"{one[name]:.0f}" for name in ("empty_mb", "server_mb", "upkeep_mb")]
    cold = "-" if one["cold_start_s"] is None else f"{one['cold_start_s']:.2f}"
    what = f"{one['points']:,} points, {one['runs']:,} live runs"
    return [what, one["engine"], *sizes, f"{one['start_s']:.2f}", cold]


def _export(one: Result) -> list[str]:
    rate = one["points"] / one["seconds"] / MILLION
    return [one["format"], one["engine"], f"{rate:.2f}", f"{one['bytes'] / one['points']:.1f}", f"{one['grew_mb']:.0f}"]


_TABLES: dict[str, tuple[str, list[str], Any]] = {
    "charts": (
        "A chart of 2,000 buckets",
        ["buckets", "in the store ms", "worst", "over HTTP ms", "worst", "bytes"],
        _charts,
    ),
    "list": ("The list of runs", ["50 over HTTP ms", "worst", "500", "worst", "all in the store ms", "worst"], _list),
    "band": ("One band over all ranks", ["buckets", "in the store ms", "worst", "over HTTP ms", "worst"], _band),
    "load": (
        "Charts while points are committed",
        ["p50 ms", "p99", "worst", "points/s", "ack p99 ms", "server cores", "upkeep cores"],
        _load,
    ),
    "disk": ("On disk after compaction", ["bytes a point", "written M points/s", "compacted M points/s"], _disk),
    "memory": (
        "Memory and start",
        ["MB at start", "MB with live runs", "MB of the upkeep", "start s", "with a cold disk s"],
        _memory,
    ),
    "export": ("Exports over HTTP", ["M points/s", "bytes a point", "MB grown"], _export),
}
