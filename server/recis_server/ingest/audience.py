"""The runs that are being viewed: in a chart of a browser, or by an HTTP request a moment ago.

Owns how long a view lasts and who is notified of the first one; must not know browsers, routes or connections. Writers
of other runs may send less often: see `watched` in `docs/protocol.md`.
"""

import time
from collections.abc import Callable

from recis_server.bus import Bus, Hint

__all__ = ["Audience"]

LAST_S = 15.0
"""How long a run counts as viewed after the last view."""
REPEAT_S = 5.0
"""The shortest interval at which views of the same run are published to other replicas."""
MOST_FORGOTTEN = 1024


class Audience:
    """Call `look` for every view; it is published on the bus, so that all replicas share it.

    Bounded by the runs viewed within `LAST_S`, and `MOST_FORGOTTEN` more.
    """

    def __init__(self, bus: Bus, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._monotonic = monotonic
        self._until: dict[str, float] = {}
        self._most = MOST_FORGOTTEN
        self._listeners: list[Callable[[str], None]] = []
        bus.subscribe(self._on_hint)

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with each run whose first view begins; it must return at once and must not raise."""
        self._listeners.append(listener)

    def look(self, run: str) -> None:
        """Record a view of the run."""
        if self._until.get(run, 0.0) - self._monotonic() < LAST_S - REPEAT_S:
            self._bus.publish(Hint("watched", run))

    def is_watched(self, run: str) -> bool:
        """Return whether the run was viewed in the last `LAST_S`."""
        return self._until.get(run, 0.0) > self._monotonic()

    def _on_hint(self, hint: Hint) -> None:
        if hint.topic != "watched":
            return
        begins = not self.is_watched(hint.run)
        self._until[hint.run] = self._monotonic() + LAST_S
        if not begins:
            return
        if len(self._until) > self._most:
            self._until = {run: until for run, until in self._until.items() if self.is_watched(run)}
            self._most = len(self._until) + MOST_FORGOTTEN
        for listener in self._listeners:
            listener(hint.run)
