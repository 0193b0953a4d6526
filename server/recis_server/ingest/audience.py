"""Which runs somebody looks at: their charts are open in a browser, or they were asked for over HTTP a moment ago.

Owns how long a look lasts and who hears of the first one; must not know browsers, routes or connections. The others may
send less often: see `watched` in `docs/protocol.md`.
"""

import time
from collections.abc import Callable

from recis_server.bus import Bus, Hint

__all__ = ["Audience"]

LAST_S = 15.0
"""How long a run counts as watched after the newest look at it."""
REPEAT_S = 5.0
"""A look so soon after one at the same run is not told to other replicas."""
MOST_FORGOTTEN = 1024


class Audience:
    """`look` whenever somebody does; what is known goes over the bus, so that all replicas know the same.

    Bounded by the runs that are looked at within `LAST_S`, and `MOST_FORGOTTEN` more.
    """

    def __init__(self, bus: Bus, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._monotonic = monotonic
        self._until: dict[str, float] = {}
        self._most = MOST_FORGOTTEN
        self._listeners: list[Callable[[str], None]] = []
        bus.subscribe(self._on_hint)

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Calls `listener` with each run that somebody begins to look at; it returns at once and does not raise."""
        self._listeners.append(listener)

    def look(self, run: str) -> None:
        """Somebody looks at the run."""
        if self._until.get(run, 0.0) - self._monotonic() < LAST_S - REPEAT_S:
            self._bus.publish(Hint("watched", run))

    def is_watched(self, run: str) -> bool:
        """Whether somebody looked at the run in the last `LAST_S`."""
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
