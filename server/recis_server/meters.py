"""The server's own metrics in the Prometheus text format.

Owns their names and the registry of one app; must not know what happens, only how often and how long.
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from recis.wire.messages import Points
from recis_server.bus import COUNTS
from recis_server.store.values import Commit

__all__ = ["Meters"]


LIVE = {
    "viewers": "Connected browsers",
    "watches": "Charts watched by browsers",
    "channels": "Different charts among those watched by browsers",
    "snapshots": "Charts read for browsers, each for all who waited for it",
    "changes": "Times that the changes of a chart were worked out and encoded, each for all who watch it",
    "lists": "Messages about changed runs that were made, each for all who see the same list",
    "messages": "Writes to browsers, of one or several messages",
    "blocked": "Browsers that do not read at the moment",
}
"""What browsers cost, by the name after `recis_live_`."""


class Meters:
    """All metrics of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._points = Counter("recis_points", "Points committed", registry=self._registry)
        self._frames = Counter("recis_frames", "Frames committed", registry=self._registry)
        self._seconds = Histogram("recis_commit_seconds", "Duration of one commit of frames", registry=self._registry)
        self.ranks = Gauge("recis_connected_ranks", "Connected training processes", registry=self._registry)
        self.listed = Gauge(
            "recis_run_list_bytes", "Memory used by cached run lists, in bytes", registry=self._registry
        )
        self._live = {
            name: Gauge(f"recis_live_{name}", meaning, registry=self._registry) for name, meaning in LIVE.items()
        }
        self.upkeep_failures = Gauge(
            "recis_upkeep_failures", "Runs set aside by store maintenance after a failure", registry=self._registry
        )
        self._bus = {
            name: Gauge(f"recis_bus_{name}", meaning, registry=self._registry) for name, meaning in COUNTS.items()
        }
        self._connections = Gauge("recis_connections", "Open connections", registry=self._registry)
        self._ended = Gauge(
            "recis_connections_ended", "Connections ended by a bound", ["bound"], registry=self._registry
        )
        self._trimmed = Gauge(
            "recis_trimmed_rows", "Rows removed beyond the bounds of a run", ["table"], registry=self._registry
        )

    def live(self, counts: Mapping[str, int]) -> None:
        """Set what is sent to browsers: the numbers named in `LIVE`."""
        for name, number in counts.items():
            self._live[name].set(number)

    def bus(self, counts: Mapping[str, int]) -> None:
        """Set what is sent between servers: the numbers named in `bus.COUNTS`."""
        for name, number in counts.items():
            self._bus[name].set(number)

    def trimmed(self, rows: Mapping[str, int]) -> None:
        """Set the number of rows that the store has trimmed, by table."""
        for table, number in rows.items():
            self._trimmed.labels(table).set(number)

    def connected(self, number: int, ended: Mapping[str, int]) -> None:
        """Set the number of open connections, and of those ended, by the bound responsible."""
        self._connections.set(number)
        for bound, times in ended.items():
            self._ended.labels(bound).set(times)

    def committed(self, seconds: float, commit: Commit) -> None:
        """Record one commit."""
        self._seconds.observe(seconds)
        self._frames.inc(len(commit.frames))
        records = (record for stored in commit.frames for record in stored.frame.records)
        self._points.inc(sum(len(record.values) // 8 for record in records if isinstance(record, Points)))

    def text(self) -> bytes:
        """Return all metrics in the text format."""
        return generate_latest(self._registry)
