"""The ranks that are connected to other servers, as announced by those servers.

Owns what servers announce about their ranks and how long an announcement is valid; must not know sockets or the store.
A server announces a run when a rank has joined or left it, and all of its runs every few seconds, so that a lost
message is made up for within seconds and a server that was killed is forgotten. Bounded by what these servers have
connected.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from recis_server.bus import Bus

__all__ = ["Roster"]

GATHER_S = 0.05
"""How long changes are collected before they are announced."""
REPEAT_S, LAST_S = 3.0, 10.0
"""How often all runs are announced, and how long an announcement is valid."""
MAX_RANKS = 1 << 20
_RUNS_AT_ONCE = 1024
_SUBJECT, _ASK = "ranks", "ranks-ask"


class _Present(Struct, array_like=True, frozen=True):
    """The ranks of a run on one server, as ranges with both ends, and whether any of them has reported lately."""

    run: str
    ranges: tuple[tuple[int, int], ...]
    state: str


class _Report(Struct, array_like=True, frozen=True):
    server: str
    runs: tuple[_Present, ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    ranks: frozenset[int]
    state: str
    until_s: float


class Roster:
    """Connected ranks of other servers; used on the event loop. Without other servers on the bus it is empty.

    Args:
        bus: connects the servers.
        monotonic: clock in seconds.
    """

    def __init__(self, bus: Bus, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._monotonic = monotonic
        self._name = uuid.uuid4().hex
        self._runs: dict[str, dict[str, _Entry]] = {}
        self._told: set[str] = set()
        self._wake = asyncio.Event()
        self._listeners: list[Callable[[str], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._decoder = msgspec.msgpack.Decoder(_Report)

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with each run whose ranks on other servers change."""
        self._listeners.append(listener)

    async def open(self, own: Callable[[], Mapping[str, tuple[Iterable[int], str]]]) -> None:
        """Start; `own` returns the ranks of this server and their state, by run."""
        if self._bus.has_peers:
            self._bus.receive(_SUBJECT, self._on_report)
            self._bus.receive(_ASK, lambda data: self._tell_all())
            self._bus.subscribe_renewed(self._tell_all)
            self._bus.send(_ASK, b"")
            self._task = asyncio.create_task(self._work(own), name="roster")

    async def close(self) -> None:
        """Stop; safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def changed(self, run: str) -> None:
        """Announce a change of this server's ranks of a run."""
        if self._task is not None:
            self._told.add(run)
            self._wake.set()

    # --- queries

    def ranks(self, run: str) -> frozenset[int]:
        """Return the ranks of a run that are connected elsewhere."""
        entries = self._entries(run)
        return frozenset().union(*(entry.ranks for entry in entries)) if entries else frozenset()

    def state(self, run: str) -> str | None:
        """Return `running` or `stalled` if the run is connected elsewhere."""
        states = {entry.state for entry in self._entries(run)}
        return "running" if "running" in states else next(iter(states), None)

    def states(self) -> dict[str, str]:
        """Return the states of all runs that are connected elsewhere."""
        return {run: state for run in self._runs if (state := self.state(run)) is not None}

    def _entries(self, run: str) -> list[_Entry]:
        found = self._runs.get(run)
        if not found:
            return []
        now_s = self._monotonic()
        return [entry for entry in found.values() if entry.until_s > now_s]

    # --- messages

    def _on_report(self, data: bytes) -> None:
        report = self._decoder.decode(data)
        until_s = self._monotonic() + LAST_S
        for one in report.runs:
            ranks = frozenset(
                rank for first, last in one.ranges for rank in range(first, min(last, first + MAX_RANKS) + 1)
            )
            entries = self._runs.setdefault(one.run, {})
            before = entries.get(report.server)
            if ranks:
                entries[report.server] = _Entry(ranks, one.state, until_s)
            else:
                entries.pop(report.server, None)
                if not entries:
                    del self._runs[one.run]
            if before is None or (before.ranks, before.state) != (ranks, one.state):
                self._notify(one.run)

    def _notify(self, run: str) -> None:
        for listener in self._listeners:
            listener(run)

    def _tell_all(self) -> None:
        self._told.add("")
        self._wake.set()

    async def _work(self, own: Callable[[], Mapping[str, tuple[Iterable[int], str]]]) -> None:
        repeat_s = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, repeat_s - self._monotonic())):
                    await self._wake.wait()
            self._wake.clear()
            told, self._told = self._told, set()
            present = own()
            now_s = self._monotonic()
            if now_s >= repeat_s or "" in told:
                repeat_s = now_s + REPEAT_S
                told = (told | present.keys()) - {""}
                self._forget(now_s)
            self._tell(sorted(told), present)
            await asyncio.sleep(GATHER_S)

    def _tell(self, runs: list[str], present: Mapping[str, tuple[Iterable[int], str]]) -> None:
        for first in range(0, len(runs), _RUNS_AT_ONCE):
            told = []
            for run in runs[first : first + _RUNS_AT_ONCE]:
                ranks, state = present.get(run, ((), ""))
                told.append(_Present(run, _ranges(ranks), state))
            self._bus.send(_SUBJECT, msgspec.msgpack.encode(_Report(self._name, tuple(told))))

    def _forget(self, now_s: float) -> None:
        """Remove expired announcements."""
        for run, entries in tuple(self._runs.items()):
            gone = [server for server, entry in entries.items() if entry.until_s <= now_s]
            for server in gone:
                del entries[server]
            if not entries:
                del self._runs[run]
            if gone:
                self._notify(run)


def _ranges(ranks: Iterable[int]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for rank in sorted(ranks):
        if found and found[-1][1] == rank - 1:
            found[-1] = (found[-1][0], rank)
        else:
            found.append((rank, rank))
    return tuple(found)
