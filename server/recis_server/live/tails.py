"""Exchange commits between servers that share a store, for the runs that browsers follow.

Owns which commits are sent and received, their order, and the detection of lost ones; must not know browsers. A commit
takes a run from one version to the next one, so the commits of a run are a chain, whoever made them. A link that is
missing for long, or a version in the row that the chain does not reach, means that the run must be read again.

Commits of a run that no other server follows are not sent. Bounded: the runs that others follow (`MAX_WANTED`), the
commits of a run that wait for an earlier one (`MAX_HELD`), and the size of a message (by the bus).
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from recis.wire.codec import WireError, decode_client, encode
from recis.wire.messages import Frame
from recis_server.bus import Bus
from recis_server.errors import ServerError
from recis_server.store.interface import Store
from recis_server.store.values import Commit, StoredFrame, StreamRow

__all__ = ["Tails"]

_logger = logging.getLogger(__name__)

POLL_S = 1.0
"""How often the versions of followed runs are read, in case a message was lost."""
GRACE_S = 0.3
"""How long a commit may take to arrive after its version was read, or after a later commit."""
REPEAT_S, LAST_S = 3.0, 10.0
"""How often servers announce the runs that they follow, and how long an announcement is valid."""
LOOK_S = 5.0
"""How often the versions of recently changed runs are read while a browser shows a list of runs."""
_CLOCKS_NS = 120 * 10**9
"""Largest difference between the clocks of two servers, from which versions are derived."""
MAX_WANTED = 65_536
MAX_HELD = 256
_IDS_AT_ONCE = 2048
_LISTS, _WANTED, _CHANGED = "lists", "wanted", "changed"


class _Sent(Struct, array_like=True, frozen=True):
    """A frame in a tail: its writer, and the frame as its writer would send it."""

    writer: str
    rank: int
    attempt: int
    started_ns: int
    received_ns: int
    frame: bytes


class _Tail(Struct, array_like=True, frozen=True):
    """The part of a commit that belongs to one run."""

    run: str
    before: int
    after: int
    frames: tuple[_Sent, ...]


@dataclass(slots=True)
class _Followed:
    """The chain of one run: its version as of the commits passed on, None before it is known, and later commits.

    `changes` is the number of its other changes when it was last read.
    """

    version: int | None = None
    changes: int | None = None
    held: dict[int, Commit] = field(default_factory=dict)  # by the version before
    timer: asyncio.TimerHandle | None = None


class Tails:
    """The commits of this server and of all others, as `commits.Commits`; used on the event loop.

    Args:
        store: the commits of this server, and the versions of runs.
        bus: carries those of the others.
        monotonic: clock in seconds.
    """

    def __init__(self, store: Store, bus: Bus, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._bus = bus
        self._monotonic = monotonic
        self._followed: dict[str, _Followed] = {}
        self._wanted: dict[str, float] = {}
        """Until when other servers follow a run, by run."""
        self._lists_until_s = 0.0
        self._changed: set[str] = set()
        self._repeat_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._tails = msgspec.msgpack.Decoder(_Tail)
        self._ids = msgspec.msgpack.Decoder(list[str])
        store.subscribe(self._on_commit)

    def subscribe(
        self,
        committed: Callable[[Commit], None],
        missed: Callable[[str], None],
        changed: Callable[[Collection[str]], None],
        altered: Callable[[str], None],
    ) -> None:
        """See `commits.Commits`."""
        self._committed, self._missed, self._on_changed, self._altered = committed, missed, changed, altered

    async def open(self, followed: Callable[[], set[str]], lists: Callable[[], bool]) -> None:
        """See `commits.Commits`."""
        self._bus.receive(_WANTED, self._on_wanted)
        self._bus.receive(_LISTS, self._on_lists)
        self._bus.receive(_CHANGED, lambda data: self._on_changed(self._ids.decode(data)))
        self._bus.subscribe_renewed(self._on_renewed)
        self._start(self._work(followed, lists))

    async def close(self) -> None:
        """See `commits.Commits`."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for run in tuple(self._followed):
            self._leave(run)

    def follow(self, run: str) -> None:
        """See `commits.Commits`."""
        if run not in self._followed:
            self._followed[run] = _Followed()
            self._bus.receive(_subject(run), self._on_tail)
            self._bus.send(_WANTED, msgspec.msgpack.encode([run]))
            self._start(self._begin(run))

    # --- this server's commits

    def _on_commit(self, commit: Commit) -> None:
        now_s = self._monotonic()
        rest = []
        if self._lists_until_s > now_s:
            self._changed.update(commit.versions)
        for run, versions in commit.versions.items():
            is_wanted = self._wanted.get(run, 0.0) > now_s
            if not (is_wanted or run in self._followed):
                rest.append(run)
                continue
            part = commit
            if len(commit.versions) > 1:
                frames = tuple(stored for stored in commit.frames if stored.stream.run == run)
                part = Commit(commit.number, frames, {run: versions})
            if is_wanted:
                self._bus.send(_subject(run), _encoded(run, *versions, part.frames))
            if run in self._followed:
                self._arrived(run, part)
            else:
                self._committed(part)
        if len(rest) == len(commit.versions):
            self._committed(commit)
        elif rest:
            frames = tuple(stored for stored in commit.frames if stored.stream.run in rest)
            self._committed(Commit(commit.number, frames, {run: commit.versions[run] for run in rest}))

    # --- messages of others

    def _on_wanted(self, data: bytes) -> None:
        until_s = self._monotonic() + LAST_S
        for run in self._ids.decode(data):
            self._wanted[run] = until_s
        if len(self._wanted) > MAX_WANTED:
            now_s = self._monotonic()
            alive = {run: until for run, until in self._wanted.items() if until > now_s}
            self._wanted = alive if len(alive) <= MAX_WANTED else {}

    def _on_lists(self, data: bytes) -> None:
        del data
        self._lists_until_s = self._monotonic() + LAST_S

    def _on_tail(self, data: bytes) -> None:
        tail = self._tails.decode(data)
        if tail.run not in self._followed:
            return
        try:
            frames = tuple(_decoded(tail.run, sent) for sent in tail.frames)
        except WireError as error:
            _logger.warning("a tail of run %s could not be read: %s", tail.run, error)
            return
        self._arrived(tail.run, Commit(0, frames, {tail.run: (tail.before, tail.after)}))

    def _on_renewed(self) -> None:
        self._repeat_s = 0.0
        for run, followed in self._followed.items():
            self._flush(run, followed, is_missing=True)

    # --- the chain

    def _arrived(self, run: str, commit: Commit) -> None:
        """Pass a commit on once all earlier ones were passed on, or after `GRACE_S`."""
        followed = self._followed[run]
        before, after = commit.versions[run]
        if followed.version is not None and after <= followed.version:
            return
        followed.held[before] = commit
        while followed.version is not None and (following := followed.held.pop(followed.version, None)) is not None:
            _, followed.version = following.versions[run]
            self._committed(following)
        if len(followed.held) > MAX_HELD:
            self._flush(run, followed, is_missing=True)
        elif followed.held and followed.timer is None:
            loop = asyncio.get_running_loop()
            followed.timer = loop.call_later(GRACE_S, self._overdue, run, followed)

    def _overdue(self, run: str, followed: _Followed) -> None:
        followed.timer = None
        if followed.held and self._followed.get(run) is followed:
            self._flush(run, followed, is_missing=True)

    def _flush(self, run: str, followed: _Followed, *, is_missing: bool) -> None:
        """Pass on the held commits; report missing ones first, so that these continue the snapshot read then."""
        if is_missing:
            self._missed(run)
        for _, commit in sorted(followed.held.items()):
            _, after = commit.versions[run]
            if followed.version is None or after > followed.version:
                followed.version = after
                self._committed(commit)
        followed.held.clear()

    async def _begin(self, run: str) -> None:
        """Read the version at which the chain begins; others may have committed before they learned of the follower."""
        followed = self._followed.get(run)
        try:
            found = await self._store.changes([run])
        except ServerError as error:
            _logger.warning("the version of run %s could not be read: %s", run, error)
            return
        if followed is not None and followed.version is None and self._followed.get(run) is followed:
            version, followed.changes = found.get(run, (0, 0))
            self._reach(run, followed, version)

    def _reach(self, run: str, followed: _Followed, version: int) -> None:
        """Continue the chain at a version that was read, with the commits after it."""
        followed.version = version
        held, followed.held = followed.held, {}
        for _, commit in sorted(held.items()):
            self._arrived(run, commit)

    def _leave(self, run: str) -> None:
        followed = self._followed.pop(run)
        if followed.timer is not None:
            followed.timer.cancel()
        self._bus.ignore(_subject(run))

    # --- once a second

    async def _work(self, followed: Callable[[], set[str]], lists: Callable[[], bool]) -> None:
        known: dict[str, int] = {}
        look_s = 0.0
        while True:
            await asyncio.sleep(POLL_S - GRACE_S)
            try:
                wanted = followed()
                for run in self._followed.keys() - wanted:
                    self._leave(run)
                for run in wanted - self._followed.keys():
                    self.follow(run)
                self._repeat(lists())
                self._tell_changed()
                await self._check()
                if not lists():
                    known = {}
                elif self._monotonic() >= look_s:
                    look_s = self._monotonic() + LOOK_S
                    known = await self._look(known)
            except ServerError as error:
                _logger.warning("the versions of runs could not be read: %s", error)
                await asyncio.sleep(GRACE_S)
            except Exception:  # boundary: an error must not end the updates
                _logger.exception("the versions of runs could not be compared")
                await asyncio.sleep(GRACE_S)

    def _repeat(self, has_lists: bool) -> None:
        """Announce again what this server follows."""
        now_s = self._monotonic()
        if now_s < self._repeat_s:
            return
        self._repeat_s = now_s + REPEAT_S
        runs = sorted(self._followed)
        for first in range(0, len(runs), _IDS_AT_ONCE):
            self._bus.send(_WANTED, msgspec.msgpack.encode(runs[first : first + _IDS_AT_ONCE]))
        if has_lists:
            self._bus.send(_LISTS, b"")

    def _tell_changed(self) -> None:
        """Tell the other servers which runs this one has changed."""
        changed, self._changed = sorted(self._changed), set()
        for first in range(0, len(changed), _IDS_AT_ONCE):
            self._bus.send(_CHANGED, msgspec.msgpack.encode(changed[first : first + _IDS_AT_ONCE]))

    async def _check(self) -> None:
        """Compare the followed runs with their rows: a version read `GRACE_S` ago must have arrived by now."""
        runs = tuple(self._followed)
        found = await self._store.changes(runs) if runs else {}
        await asyncio.sleep(GRACE_S)
        for run in runs:
            followed = self._followed.get(run)
            if followed is None:
                continue
            version, changes = found.get(run, (None, None))
            if version is None:
                if followed.version:  # the run was deleted
                    followed.version = 0
                    self._missed(run)
            elif followed.version is None or followed.version < version:
                self._missed(run)
                self._reach(run, followed, version)
            elif changes != followed.changes:
                self._altered(run)
            followed.changes = changes

    async def _look(self, known: dict[str, int]) -> dict[str, int]:
        """Find runs that have changed, for lists, in case a message was lost; return the versions of recent ones."""
        versions = await self._store.versions_since(max(known.values(), default=0) - _CLOCKS_NS)
        changed = [run for run, version in versions.items() if known.get(run) != version]
        if known and changed:
            self._on_changed(changed)
        known = {**known, **versions}
        # Only versions that the next look reads again are compared with it.
        oldest = max(known.values(), default=0) - _CLOCKS_NS
        return {run: version for run, version in known.items() if version >= oldest}

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="live-tails")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _subject(run: str) -> str:
    """Return the subject of a run; a run's id may contain characters that are not allowed in subjects."""
    return f"tail.{hashlib.sha256(run.encode(errors='surrogatepass')).hexdigest()[:32]}"


def _encoded(run: str, before: int, after: int, frames: tuple[StoredFrame, ...]) -> bytes:
    sent = tuple(
        _Sent(
            stored.stream.writer,
            stored.stream.rank,
            stored.stream.attempt,
            stored.stream.started_ns,
            stored.received_ns,
            encode(stored.frame),
        )
        for stored in frames
    )
    return msgspec.msgpack.encode(_Tail(run, before, after, sent))


def _decoded(run: str, sent: _Sent) -> StoredFrame:
    frame = decode_client(sent.frame)
    if not isinstance(frame, Frame):
        raise WireError("malformed", f"expected a frame, got {type(frame).__name__.lower()}")
    stream = StreamRow(run, sent.writer, sent.rank, sent.attempt, 0, sent.started_ns)
    return StoredFrame(stream, frame, sent.received_ns)
