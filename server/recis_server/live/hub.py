"""Distribution of live updates: from commits and hints to the browsers that follow runs or watch series.

Owns the followers of runs, the watchers of series and the rate at which runs are reread; must not know sockets
(see `viewer`) or JSON representations (see `query.shapes`). A run that nobody follows or watches costs one dictionary
lookup per commit.

    hub = Hub(store, presence, audience, bus)   # app.state.hub; `open` and `close` in the lifespan
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from recis.wire.codec import points_columns
from recis.wire.messages import Declare, Event, Pass, Points, Result
from recis_server.bus import Bus, Hint
from recis_server.errors import InvalidValue, ServerError
from recis_server.ingest.audience import Audience
from recis_server.ingest.presence import Presence
from recis_server.live.seats import Seats
from recis_server.live.viewer import Viewer, as_text
from recis_server.live.watch import Rows, Watch
from recis_server.query.metrics import NAMES_AT_ONCE, metrics_text
from recis_server.query.runs import no_run, shown_state
from recis_server.query.shapes import (
    command_shape,
    controls_shape,
    event_shape,
    metric_shape,
    pass_shape,
    run_shape,
    trace_shape,
)
from recis_server.store.interface import Store
from recis_server.store.values import Commit, RunRow, StoredFrame

__all__ = ["Hub"]

_logger = logging.getLogger(__name__)

RUN_PACE_S = 0.5
LIST_PACE_S = 2.0
LOOK_S = 10.0
"""How often a followed run is told although nothing came: silence changes its state."""
NAME_PACE_S = 1e-4
"""A run of very many names is told less often: what there is to tell takes time, here and in the browser."""
TICK_S = 0.05
READS_AT_ONCE = 2
MAX_FOLLOWS = 64
MAX_WATCHES = 256
_EVENTS_AT_ONCE = 200
_RUNS_AT_ONCE = 128
_Columns: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]


@dataclass(slots=True)
class _Topic:
    """A run with followers.

    Holds the series known to its followers, the newest event sent, and when its series may be sent again.
    """

    followers: set[Viewer] = field(default_factory=set)
    known: dict[int, set[str]] = field(default_factory=dict)
    last_event: int | None = None
    metrics_due_s: float = 0.0

    def learn(self, rank: int, keys: tuple[str, ...]) -> bool:
        """Add these series; return whether any of them is new."""
        known = self.known.setdefault(rank, set())
        if known.issuperset(keys):
            return False
        known.update(keys)
        return True


class Hub:
    """See the module.

    Args:
        store: where runs and series are read.
        presence: the states of runs.
        audience: notified of which runs are watched.
        bus: hints about changes not made by a commit of this server.
        monotonic: clock in seconds, for rate limits.
    """

    def __init__(
        self,
        store: Store,
        presence: Presence,
        audience: Audience,
        bus: Bus,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._presence = presence
        self._audience = audience
        self._monotonic = monotonic
        self._topics: dict[str, _Topic] = {}
        self._lists: set[Viewer] = set()
        self._watched: dict[str, dict[str, set[tuple[Viewer, Watch]]]] = {}
        self._due: dict[Hint, float] = {}
        self._told_at: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.seats = Seats()
        self.reads = asyncio.Semaphore(READS_AT_ONCE)
        """Held by a viewer while it reads a snapshot: all points of a watch lie in memory then."""
        store.subscribe(self._on_commit)
        bus.subscribe(self._on_hint)

    async def open(self) -> None:
        """Start sending changes."""
        self._task = asyncio.create_task(self._work(), name="live-hub")

    async def close(self) -> None:
        """Stop; safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @property
    def num_watches(self) -> int:
        """Number of watched series over all browsers."""
        return sum(len(watches) for keys in self._watched.values() for watches in keys.values())

    # --- requests of browsers

    async def follow(self, viewer: Viewer, run: str) -> None:
        """Send the run, its series and its controls now, and their changes from now on.

        Raises:
            NotFound: no such run.
            InvalidValue: this browser follows too many runs.
        """
        if sum(viewer in topic.followers for topic in self._topics.values()) >= MAX_FOLLOWS:
            raise InvalidValue("$.run", f"expected at most {MAX_FOLLOWS} runs followed at a time")
        if not await self._store.has_run(run):
            raise no_run(run)
        topic = self._topics.get(run)
        if topic is None:
            topic = self._topics[run] = _Topic()
        topic.followers.add(viewer)
        # Read after adding the follower: a commit in between is sent twice rather than never.
        if topic.last_event is None:
            newest = await self._store.events(run, 1)
            topic.last_event = newest[-1].id if newest else 0
        for kind in ("run", "metrics", "controls"):
            await self._tell(Hint(kind, run), {viewer})

    def unfollow(self, viewer: Viewer, run: str) -> None:
        """End a `follow`."""
        topic = self._topics.get(run)
        if topic is not None:
            topic.followers.discard(viewer)
            if not topic.followers:
                del self._topics[run]

    def follow_list(self, viewer: Viewer) -> None:
        """Send every run when it changes, at most every 2 s."""
        self._lists.add(viewer)

    def unfollow_list(self, viewer: Viewer) -> None:
        """End a `follow_list`."""
        self._lists.discard(viewer)

    async def watch(self, viewer: Viewer, watch: Watch) -> None:
        """Add a watch; the viewer reads its snapshot.

        Raises:
            NotFound: no such run.
            InvalidValue: this browser has too many watches.
        """
        if watch.id not in viewer.watches and len(viewer.watches) >= MAX_WATCHES:
            raise InvalidValue("$.id", f"expected at most {MAX_WATCHES} watches at a time")
        if not await self._store.has_run(watch.run):
            raise no_run(watch.run)
        self.unwatch(viewer, watch.id)
        viewer.watches[watch.id] = watch
        keys = self._watched.setdefault(watch.run, {})
        for key in watch.keys:
            keys.setdefault(key, set()).add((viewer, watch))
        self._audience.look(watch.run)
        viewer.wake()

    def unwatch(self, viewer: Viewer, watch_id: int) -> None:
        """End a `watch`."""
        watch = viewer.watches.pop(watch_id, None)
        if watch is None:
            return
        keys = self._watched[watch.run]
        for key in watch.keys:
            keys[key].discard((viewer, watch))
            if not keys[key]:
                del keys[key]
        if not keys:
            del self._watched[watch.run]

    def forget(self, viewer: Viewer) -> None:
        """Remove everything of a disconnected browser."""
        for watch_id in tuple(viewer.watches):
            self.unwatch(viewer, watch_id)
        for run in tuple(self._topics):
            self.unfollow(viewer, run)
        self.unfollow_list(viewer)

    # --- updates

    def _on_commit(self, commit: Commit) -> None:
        for stored in commit.frames:
            run = stored.stream.run
            if watched := self._watched.get(run):
                _feed(commit.number, stored, watched)
                self._audience.look(run)
            topic = self._topics.get(run)
            if topic is not None:
                self._note(topic, stored)
            if topic is not None or self._lists:
                self._schedule(Hint("run", run))

    def _note(self, topic: _Topic, stored: StoredFrame) -> None:
        run, rank = stored.stream.run, stored.stream.rank
        passes = []
        for record in stored.frame.records:
            match record:
                case Points(keys=keys):
                    if topic.learn(rank, keys):
                        self._schedule(Hint("metrics", run))
                case Pass():
                    passes.append(pass_shape(rank, record))
                case Event():
                    self._schedule(Hint("events", run))
                case Declare() | Result():
                    self._schedule(Hint("controls", run))
        if passes:
            for viewer in topic.followers:
                viewer.push_passes(run, passes)

    def _on_hint(self, hint: Hint) -> None:
        if hint.topic == "deleted":
            topic = self._topics.pop(hint.run, None)
            for viewer in self._lists | (topic.followers if topic is not None else set()):
                viewer.push(("run", hint.run), {"type": "deleted", "run": hint.run})
        elif hint.topic != "watched" and (hint.run in self._topics or (hint.topic == "run" and self._lists)):
            self._schedule(hint)

    def _schedule(self, hint: Hint) -> None:
        """Schedule a read and an update: runs at their rate limit, everything else at the next tick."""
        if hint in self._due:
            return
        due_s = 0.0
        if hint.topic == "run":
            pace_s = RUN_PACE_S if hint.run in self._topics else LIST_PACE_S
            due_s = self._told_at.get(hint.run, 0.0) + pace_s
        elif hint.topic == "metrics" and hint.run in self._topics:
            due_s = self._topics[hint.run].metrics_due_s
        self._due[hint] = due_s
        self._wake.set()

    async def _work(self) -> None:
        looked_s = self._monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            self._wake.clear()
            now_s = self._monotonic()
            if now_s - looked_s >= LOOK_S:
                looked_s = now_s
                self._due.update({Hint("run", run): now_s for run in self._topics})
            due = [hint for hint, due_s in self._due.items() if due_s <= now_s]
            for hint in due:
                del self._due[hint]
            runs = [hint.run for hint in due if hint.topic == "run" and (self._lists or hint.run in self._topics)]
            for first in range(0, len(runs), _RUNS_AT_ONCE):
                await self._attempt(self._tell_runs(runs[first : first + _RUNS_AT_ONCE], now_s), "runs")
            for hint in due:
                if hint.topic != "run" and hint.run in self._topics:
                    await self._attempt(self._tell(hint, set(self._topics[hint.run].followers)), hint)
            if len(self._told_at) > 2 * len(self._topics) + 10_000:
                self._told_at.clear()
            if self._due:
                self._wake.set()
            await asyncio.sleep(TICK_S)

    async def _attempt(self, telling: Coroutine[Any, Any, None], what: object) -> None:
        try:
            await telling
        except ServerError as error:
            _logger.warning("could not send an update of %s: %s", what, error)
        except Exception:  # boundary: as below
            _logger.exception("could not send an update of %s", what)

    async def _tell_runs(self, runs: list[str], now_s: float) -> None:
        """Send many runs with one read: while a list is open, all live runs are sent every two seconds."""
        self._told_at.update(dict.fromkeys(runs, now_s))
        for row in await self._store.runs_named(runs):
            topic = self._topics.get(row.id)
            try:
                await self._push_run(row, self._lists | (topic.followers if topic is not None else set()))
                self._told_at[row.id] += len(row.summary) * NAME_PACE_S
            except Exception:  # boundary: an error in one run must not stop the updates of the others
                _logger.exception("could not send an update of run %s", row.id)

    async def _push_run(self, row: RunRow, viewers: set[Viewer]) -> None:
        state = shown_state(row, self._presence)
        if len(row.summary) > NAMES_AT_ONCE:
            text = await asyncio.to_thread(lambda: as_text({"type": "run", "run": run_shape(row, state)}))
            _push(viewers, ("run", row.id), text)
        else:
            _push(viewers, ("run", row.id), {"type": "run", "run": run_shape(row, state)})

    async def _tell(self, hint: Hint, viewers: set[Viewer]) -> None:
        """Read what the hint refers to and push it to `viewers`."""
        if not viewers:
            return
        run = hint.run
        match hint.topic:
            case "run":
                row = await self._store.run(run)
                if row is not None:
                    await self._push_run(row, viewers)
            case "metrics":
                await self._tell_metrics(run, viewers)
            case "controls":
                controls = controls_shape(await self._store.controls(run))
                _push(viewers, ("controls", run), {"type": "controls", "run": run, "controls": controls})
            case "command":
                command = await self._store.command(run, hint.id)
                if command is not None:
                    message = {
                        "type": "command",
                        "run": run,
                        "command": command_shape(command, self._presence.ranks(run)),
                    }
                    _push(viewers, ("command", run, hint.id), message)
            case "trace":
                trace = await self._store.trace(hint.id)
                if trace is not None:
                    _push(viewers, ("trace", hint.id), {"type": "trace", "run": run, "trace": trace_shape(trace)})
            case "events":
                await self._tell_events(run, viewers, hint.id)
            case "deleted" | "watched":
                raise AssertionError(f"{hint.topic} is never scheduled")

    async def _tell_metrics(self, run: str, viewers: set[Viewer]) -> None:
        rows = await self._store.metrics(run)
        if len(rows) > NAMES_AT_ONCE:
            _push(viewers, ("metrics", run), await asyncio.to_thread(metrics_text, run, rows))
        else:
            metrics = [metric_shape(row) for row in rows]
            _push(viewers, ("metrics", run), {"type": "metrics", "run": run, "metrics": metrics})
        if run in self._topics:
            self._topics[run].metrics_due_s = self._monotonic() + len(rows) * NAME_PACE_S

    async def _tell_events(self, run: str, viewers: set[Viewer], changed: str) -> None:
        topic = self._topics.get(run)
        if topic is None or topic.last_event is None:
            return
        for row in await self._store.events(run, _EVENTS_AT_ONCE):
            if row.id > topic.last_event or str(row.id) == changed:
                topic.last_event = max(topic.last_event, row.id)
                _push(viewers, ("event", run, row.id), {"type": "event", "run": run, "event": event_shape(row)})


def _push(viewers: set[Viewer], thing: tuple[object, ...], message: dict[str, Any] | str) -> None:
    for viewer in viewers:
        viewer.push(thing, message)


def _feed(commit: int, stored: StoredFrame, watched: dict[str, set[tuple[Viewer, Watch]]]) -> None:
    """Feed the points of watched series to their watches, in order."""
    found: dict[str, list[_Columns]] = {}
    for record in stored.frame.records:
        if not isinstance(record, Points):
            continue
        wanted = [(place, key) for place, key in enumerate(record.keys) if key in watched]
        if not wanted:
            continue
        steps, times, values = points_columns(record)
        # Copied once for all watches: a view would keep the whole frame alive as long as a bucket is open.
        steps, times = steps.copy(), times.copy()
        for place, key in wanted:
            found.setdefault(key, []).append((steps, times, values[place].copy()))
    for key, parts in found.items():
        rows = Rows(commit, key, stored.stream.rank, stored.stream.attempt, *_by_step(parts))
        for viewer, watch in watched[key]:
            if watch.feed(rows):
                viewer.wake()


def _by_step(parts: list[_Columns]) -> _Columns:
    """Return a frame's points of one series by step, merged from all sets of names that it was reported among.

    Unmerged, the parts would look like retrained steps, for which a chart is reread.
    """
    if len(parts) == 1:
        return parts[0]
    steps, times, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(steps, kind="stable")
    return steps[order], times[order], values[order]
