"""The server's own numbers, as Prometheus text.

Owns names and the registry of one app; must not know what happens, only how often and how long.
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from recis.wire.messages import Points
from recis_server.store.values import Commit

__all__ = ["Meters"]


class Meters:
    """All meters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._points = Counter("recis_points", "Points that were committed", registry=self._registry)
        self._frames = Counter("recis_frames", "Frames that were committed", registry=self._registry)
        self._seconds = Histogram("recis_commit_seconds", "Duration of one commit of frames", registry=self._registry)
        self.ranks = Gauge("recis_connected_ranks", "Training processes that are connected", registry=self._registry)
        self.listed = Gauge("recis_run_list_bytes", "Memory of the lists of runs", registry=self._registry)
        self.watches = Gauge("recis_live_watches", "Charts that browsers watch", registry=self._registry)

        self.upkeep_failures = Gauge(
            "recis_upkeep_failures", "Times that the store's upkeep set a run aside", registry=self._registry
        )
        self._connections = Gauge("recis_connections", "Connections that are open", registry=self._registry)
        self._ended = Gauge(
            "recis_connections_ended", "Connections that a bound has ended", ["bound"], registry=self._registry
        )
        self._trimmed = Gauge(
            "recis_trimmed_rows", "Rows that were more than a run keeps", ["table"], registry=self._registry
        )

    def trimmed(self, rows: Mapping[str, int]) -> None:
        """Takes note of what the store has removed so far, by table."""
        for table, number in rows.items():
            self._trimmed.labels(table).set(number)

    def connected(self, number: int, ended: Mapping[str, int]) -> None:
        """Takes note of the open connections, and of those that were ended, by the bound that did it."""
        self._connections.set(number)
        for bound, times in ended.items():
            self._ended.labels(bound).set(times)

    def committed(self, seconds: float, commit: Commit) -> None:
        """Takes note of one commit."""
        self._seconds.observe(seconds)
        self._frames.inc(len(commit.frames))
        records = (record for stored in commit.frames for record in stored.frame.records)
        self._points.inc(sum(len(record.values) // 8 for record in records if isinstance(record, Points)))

    def text(self) -> bytes:
        """Everything in the text format."""
        return generate_latest(self._registry)
