"""The connected writers of each rank of a run, and whether two of them are alive at the same time.

Owns the comparison of their clocks; must not know the store or sockets. A restarted rank, in its attempt or in a new
one, has a new writer while the old one's connection may still be open, or its spool is being sent: that is not a
conflict. It is one if the older writer still reports data made after the newer one began.
"""

from dataclasses import dataclass

from recis.wire.codec import points_columns
from recis.wire.messages import FrameRecord, Hello, Points
from recis_server.store.values import StoredFrame

__all__ = ["Rivals"]

PATIENCE_NS = 2_000_000_000
"""Tolerance beyond the start of the newer writer: clocks are compared over the network."""
MOST_TOLD = 100


@dataclass(slots=True)
class _Writer:
    """A connected writer: its start by the server's clock, the lead of that clock over its own, and its host."""

    began_ns: int
    ahead_ns: int
    place: str
    connections: int = 0


class Rivals:
    """Call it for every connection, and for frames while there are two writers."""

    def __init__(self) -> None:
        self._writers: dict[str, _Writer] = {}
        self._told: set[str] = set()

    def __len__(self) -> int:
        return len(self._writers)

    def joined(self, writer: str, hello: Hello, now_ns: int) -> None:
        """Record a greeted connection of `writer`."""
        known = self._writers.get(writer)
        if known is None:
            ahead_ns = now_ns - hello.time_ns if hello.time_ns > 0 else 0
            place = f"process {hello.pid} on {hello.host[:256]}" if hello.host else f"writer {writer}"
            began_ns = hello.started_ns + ahead_ns if hello.started_ns > 0 else now_ns
            known = self._writers[writer] = _Writer(began_ns, ahead_ns, place)
        known.connections += 1

    def left(self, writer: str) -> None:
        """Record the end of a connection of `writer`."""
        known = self._writers.get(writer)
        if known is not None:
            known.connections -= 1
            if known.connections == 0:
                del self._writers[writer]

    def notice(self, stored: StoredFrame) -> tuple[list[str], list[str]] | None:
        """Return the two writers of a conflict and their hosts, the older first; once per newer writer.

        At most a hundred conflicts are returned.
        """
        name = stored.stream.writer
        own = self._writers.get(name)
        if own is None or len(self._told) >= MOST_TOLD:
            return None
        made_ns = max((_made_ns(record) for record in stored.frame.records), default=0) + own.ahead_ns
        for other, newer in self._writers.items():
            if newer.began_ns > own.began_ns and made_ns > newer.began_ns + PATIENCE_NS and other not in self._told:
                self._told.add(other)
                return [name, other], [own.place, newer.place]
        return None


def _made_ns(record: FrameRecord) -> int:
    """Return when the latest value of a record was reported, by the writer's clock."""
    if isinstance(record, Points):
        return int(points_columns(record)[1].max())
    return record.time_ns
