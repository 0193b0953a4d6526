"""The source of commits for the live hub: those of this server, and of others that share its store.

Owns the interface and its implementation for a sole server; `tails` implements it for several servers.
"""

from collections.abc import Callable, Collection
from typing import Protocol

from recis_server.bus import Bus
from recis_server.live.tails import Tails
from recis_server.store.interface import Store
from recis_server.store.values import Commit

__all__ = ["Commits", "OwnCommits", "commits_of"]


class Commits(Protocol):
    """Commits of frames; listeners are called on the event loop and return at once."""

    def subscribe(
        self,
        committed: Callable[[Commit], None],
        missed: Callable[[str], None],
        changed: Callable[[Collection[str]], None],
        altered: Callable[[str], None],
    ) -> None:
        """Set the listeners.

        Args:
            committed: called with every commit of this server and, of runs that are followed, of all others.
            missed: called with a followed run whose commits are incomplete: it must be read again.
            changed: called with runs that other servers have changed.
            altered: called with a followed run whose commands, traces or events may have changed at another server.
        """

    async def open(self, followed: Callable[[], set[str]], lists: Callable[[], bool]) -> None:
        """Start; `followed` returns the runs that browsers follow now, `lists` whether any shows a list of runs."""

    async def close(self) -> None:
        """Stop; safe to call twice."""

    def follow(self, run: str) -> None:
        """Receive a run's commits from now on, until it is no longer `followed`."""


class OwnCommits(Commits):
    """The commits of a server that does not share its store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def subscribe(
        self,
        committed: Callable[[Commit], None],
        missed: Callable[[str], None],
        changed: Callable[[Collection[str]], None],
        altered: Callable[[str], None],
    ) -> None:
        """See `Commits`; nothing is missed."""
        self._store.subscribe(committed)

    async def open(self, followed: Callable[[], set[str]], lists: Callable[[], bool]) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    def follow(self, run: str) -> None:
        """Do nothing: all commits are known."""


def commits_of(store: Store, bus: Bus) -> Commits:
    """Return the source for the servers on this bus."""
    return Tails(store, bus) if bus.has_peers else OwnCommits(store)
