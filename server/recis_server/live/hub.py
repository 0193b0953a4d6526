"""Distribution of live updates: from commits and hints to the browsers that follow runs, lists or charts.

Owns the followers of runs and the rate at which runs are reread; must not know sockets (see `viewer`) or JSON
representations (see `query.shapes`). Everything is encoded once for all who receive it. A run that nobody follows or
watches costs one dictionary lookup per commit.

    hub = Hub(store, presence, audience, bus)   # app.state.hub; `open` and `close` in the lifespan
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from recis.wire.messages import Declare, Event, Pass, Points, Result
from recis_server.bus import Bus, Hint
from recis_server.errors import InvalidValue, ServerError
from recis_server.ingest.audience import Audience
from recis_server.ingest.presence import Presence
from recis_server.live.channels import Channels
from recis_server.live.chart import View
from recis_server.live.commits import commits_of
from recis_server.live.fanout import Fanout
from recis_server.live.limits import ViewerLimits
from recis_server.live.messages import text_message
from recis_server.live.run_lists import DEFAULT_VIEW, LIST_ID, RunLists
from recis_server.live.viewer import Outlet, Viewer
from recis_server.query import runlist
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
from recis_server.store.values import CommandRow, Commit, RunRow, StoredFrame

__all__ = ["Hub"]

_logger = logging.getLogger(__name__)

RUN_PACE_S = 0.5
RECENT_S = 1.0
"""The greatest age of the messages that a new follower gets: followers who arrive together share them."""
LOOK_S = 10.0
"""Interval at which a followed run is sent although nothing has arrived, because silence changes its state."""
NAME_PACE_S = 1e-4
"""Runs with very many names are sent less often, because their messages take time here and in the browser."""
TICK_S = 0.05
MAX_FOLLOWS = 64
MAX_WATCHES = 256
_EVENTS_AT_ONCE = 200
_RUNS_AT_ONCE = 128
_LATEST = 20
"""Commands, traces and events that are sent again if a hint may have been lost, of each kind."""


@dataclass(slots=True)
class _Topic:
    """A run with followers.

    Holds the series known to its followers, the newest event and the last pass of each rank sent, and when the run and
    its series may be sent again.
    """

    followers: set[Viewer] = field(default_factory=set)
    known: dict[int, set[str]] = field(default_factory=dict)
    last_event: int | None = None
    pass_steps: dict[int, int] = field(default_factory=dict)
    run_due_s: float = 0.0
    metrics_due_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _sent: dict[str, tuple[float, bytes]] = field(default_factory=dict)

    def learn(self, rank: int, keys: tuple[str, ...]) -> bool:
        """Add these series; return whether any of them is new."""
        known = self.known.setdefault(rank, set())
        if known.issuperset(keys):
            return False
        known.update(keys)
        return True

    def sent(self, kind: str, frame: bytes, now_s: float) -> None:
        """Keep a message for those who follow next."""
        self._sent[kind] = (now_s, frame)

    def recent(self, kind: str, now_s: float) -> bytes | None:
        """Return the latest message of a kind, None if it is too old."""
        sent_s, frame = self._sent.get(kind, (-RECENT_S, b""))
        return frame if now_s - sent_s < RECENT_S else None


class Hub:
    """Passes what has changed on to the browsers that follow it.

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
        self._due: dict[Hint, float] = {}
        self._altered: set[str] = set()
        self._missed_passes: set[str] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._fanout = Fanout(self._step)
        self.limits = ViewerLimits()
        self.lists = RunLists(store, presence)
        self.channels = Channels(store, self._fanout.changed, self._fanout.send)
        self._commits = commits_of(store, bus)
        self._commits.subscribe(self._on_commit, self._on_missed, self._on_changed, self._on_altered)
        presence.roster.subscribe(lambda run: self._on_changed((run,)))
        bus.subscribe(self._on_hint)

    async def open(self) -> None:
        """Start sending changes."""
        await self._fanout.open()
        await self.lists.open()
        await self._commits.open(lambda: self._topics.keys() | self.channels.runs(), lambda: len(self.lists) > 0)
        self._task = asyncio.create_task(self._work(), name="live-hub")

    async def close(self) -> None:
        """Stop; safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._commits.close()
        await self.lists.close()
        await self.channels.close()
        await self._fanout.close()

    def viewer(self, outlet: Outlet) -> Viewer:
        """Return a new viewer, to be forgotten with `forget`."""
        return Viewer(outlet, self._fanout.mark)

    def counts(self) -> dict[str, int]:
        """Return the numbers of `meters.LIVE`."""
        return {
            "viewers": self.limits.num_viewers,
            "watches": self.channels.num_watches,
            "channels": len(self.channels),
            "snapshots": self.channels.num_snapshots,
            "changes": self.channels.num_changes,
            "lists": self.lists.num_messages,
            "messages": self._fanout.num_flushes,
            "blocked": self._fanout.num_blocked,
        }

    # --- requests of browsers

    async def follow(self, viewer: Viewer, run: str) -> None:
        """Send the run, its series and its controls now, and their changes from now on.

        Raises:
            NotFound: no such run.
            InvalidValue: this browser follows too many runs.
        """
        if sum(viewer in topic.followers for topic in self._topics.values()) >= MAX_FOLLOWS:
            raise InvalidValue("$.run", f"expected at most {MAX_FOLLOWS} runs followed at a time")
        if run not in self._topics and not await self._store.has_run(run):
            raise no_run(run)
        topic = self._topics.setdefault(run, _Topic())
        topic.followers.add(viewer)
        self._commits.follow(run)
        # Read after adding the follower: a commit in between is sent twice rather than never. With the lock, followers
        # that arrive together, as after a restart, share the first one's read.
        async with topic.lock:
            if topic.last_event is None:
                newest = await self._store.events_after(run, 0, 1)
                topic.last_event = newest[-1].id if newest else 0
            for kind in ("run", "metrics", "controls"):
                frame = topic.recent(kind, self._monotonic())
                if frame is None:
                    await self._tell(Hint(kind, run), {viewer})
                else:
                    viewer.push((kind, run), frame)

    def unfollow(self, viewer: Viewer, run: str) -> None:
        """End a `follow`."""
        topic = self._topics.get(run)
        if topic is not None:
            topic.followers.discard(viewer)
            if not topic.followers:
                del self._topics[run]

    def follow_list(self, viewer: Viewer, view: runlist.View = DEFAULT_VIEW) -> None:
        """Send the runs that change, once a second.

        Raises:
            InvalidValue: a field that runs do not have.
        """
        runlist.check_view(view, "$.fields")
        self.lists.follow(viewer, view)

    def unfollow_list(self, viewer: Viewer) -> None:
        """End a `follow_list`."""
        self.lists.unfollow(viewer)

    async def watch(self, viewer: Viewer, watch_id: int, view: View) -> None:
        """Add a watch, or replace the one with this id: a snapshot is read, and changes follow.

        Raises:
            NotFound: no such run.
            InvalidValue: this browser has too many watches.
        """
        watched = viewer.watch_ids()
        if watch_id not in watched and len(watched) - (LIST_ID in watched) >= MAX_WATCHES:
            raise InvalidValue("$.id", f"expected at most {MAX_WATCHES} watches at a time")
        if not self.channels.is_watched(view.run) and not await self._store.has_run(view.run):
            raise no_run(view.run)
        self.channels.unsubscribe(viewer, watch_id)
        self._commits.follow(view.run)
        self.channels.subscribe(viewer, watch_id, view)
        self._audience.look(view.run)

    def unwatch(self, viewer: Viewer, watch_id: int) -> None:
        """End a `watch`."""
        self.channels.unsubscribe(viewer, watch_id)

    def forget(self, viewer: Viewer) -> None:
        """Remove everything of a disconnected browser."""
        viewer.leave()
        self.unfollow_list(viewer)
        for watch_id in viewer.watch_ids():
            self.unwatch(viewer, watch_id)
        for run in tuple(self._topics):
            self.unfollow(viewer, run)

    # --- updates

    def _on_commit(self, commit: Commit) -> None:
        self.channels.on_commit(commit)
        for stored in commit.frames:
            run = stored.stream.run
            topic = self._topics.get(run)
            if topic is not None:
                self._note(topic, stored)
                self._schedule(Hint("run", run))
            self.lists.changed(run)

    def _on_missed(self, run: str) -> None:
        self.channels.missed(run)
        self.lists.changed(run)
        if run in self._topics:
            for hint in (Hint("run", run), Hint("metrics", run), Hint("controls", run)):
                self._schedule(hint)
            self._missed_passes.add(run)
            self._on_altered(run)

    def _on_altered(self, run: str) -> None:
        """Send the latest commands, traces and events again: a hint about one of them may have been lost."""
        if run in self._topics:
            self._schedule(Hint("events", run))
            self._altered.add(run)
            self._wake.set()

    def _on_changed(self, runs: Iterable[str]) -> None:
        for run in runs:
            self.lists.changed(run)
            if run in self._topics:
                self._schedule(Hint("run", run))

    def _step(self, run: str) -> Iterator[set[Viewer]]:
        if self.channels.is_watched(run):
            self._audience.look(run)
        return self.channels.step(run)

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
                    topic.pass_steps[rank] = record.step
                case Event():
                    self._schedule(Hint("events", run))
                case Declare() | Result():
                    self._schedule(Hint("controls", run))
        if passes:
            message = text_message({"type": "passes", "run": run, "passes": passes})
            for viewer in topic.followers:
                viewer.push_each(message)

    def _on_hint(self, hint: Hint) -> None:
        if hint.topic == "deleted":
            topic = self._topics.pop(hint.run, None)
            if topic is not None:
                _push(topic.followers, ("run", hint.run), {"type": "deleted", "run": hint.run})
            self.lists.deleted(hint.run)
        elif hint.topic != "watched":
            if hint.topic == "run":
                self.lists.changed(hint.run)
            if hint.run in self._topics:
                self._schedule(hint)

    def _schedule(self, hint: Hint) -> None:
        """Schedule a read and an update: runs at their rate limit, everything else at the next tick."""
        if hint in self._due:
            return
        topic = self._topics[hint.run]
        self._due[hint] = {"run": topic.run_due_s, "metrics": topic.metrics_due_s}.get(hint.topic, 0.0)
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
            runs = [hint.run for hint in due if hint.topic == "run" and hint.run in self._topics]
            for first in range(0, len(runs), _RUNS_AT_ONCE):
                await self._attempt(self._tell_runs(runs[first : first + _RUNS_AT_ONCE], now_s), "runs")
            for hint in due:
                if hint.topic != "run" and hint.run in self._topics:
                    await self._attempt(self._tell(hint, set(self._topics[hint.run].followers)), hint)
            await self._tell_missed()
            if self._due:
                self._wake.set()
            await asyncio.sleep(TICK_S)

    async def _tell_missed(self) -> None:
        altered, self._altered = self._altered, set()
        passes, self._missed_passes = self._missed_passes, set()
        for run in altered & self._topics.keys():
            await self._attempt(self._tell_latest(run, self._topics[run].followers), f"run {run}")
        for run in passes & self._topics.keys():
            await self._attempt(self._tell_passes(run, self._topics[run]), f"the passes of run {run}")

    async def _tell_latest(self, run: str, viewers: set[Viewer]) -> None:
        for command in await self._store.commands(run, _LATEST):
            self._push_command(command, viewers)
        for event in await self._store.events_after(run, 0, _LATEST):  # also those that have occurred again
            _push(viewers, ("event", run, event.id), {"type": "event", "run": run, "event": event_shape(event)})
        for trace in (await self._store.traces(run))[:_LATEST]:
            _push(viewers, ("trace", trace.id), {"type": "trace", "run": run, "trace": trace_shape(trace)})

    async def _tell_passes(self, run: str, topic: _Topic) -> None:
        """Send the filter passes since the last one of the rank that is furthest behind; all known ones without any."""
        start = min(topic.pass_steps.values(), default=None)
        rows = await self._store.passes(run, None, None, start, None)
        if rows:
            passes = [pass_shape(row.rank, row.record) for row in rows]
            _push(topic.followers, ("passes", run), {"type": "passes", "run": run, "passes": passes})

    async def _attempt(self, telling: Coroutine[Any, Any, None], what: object) -> None:
        try:
            await telling
        except ServerError as error:
            _logger.warning("could not send an update of %s: %s", what, error)
        except Exception:  # boundary: as below
            _logger.exception("could not send an update of %s", what)

    async def _tell_runs(self, runs: list[str], now_s: float) -> None:
        """Send many runs with one read."""
        rows = await self._store.runs_named(runs)
        for run in set(runs) - {row.id for row in rows}:
            self._on_hint(Hint("deleted", run))
        for row in rows:
            topic = self._topics.get(row.id)
            if topic is None:
                continue
            topic.run_due_s = now_s + RUN_PACE_S + len(row.summary) * NAME_PACE_S
            try:
                await self._push_run(row, topic.followers)
            except Exception:  # boundary: an error in one run must not stop the updates of the others
                _logger.exception("could not send an update of run %s", row.id)

    async def _push_run(self, row: RunRow, viewers: set[Viewer]) -> None:
        state = shown_state(row, self._presence)
        if len(row.summary) > NAMES_AT_ONCE:
            message = await asyncio.to_thread(lambda: text_message({"type": "run", "run": run_shape(row, state)}))
        else:
            message = text_message({"type": "run", "run": run_shape(row, state)})
        self._push(viewers, "run", row.id, message)

    def _push(self, viewers: set[Viewer], kind: str, run: str, message: Any) -> None:
        """Queue what replaces the earlier message of its kind about a run."""
        frame = message if isinstance(message, bytes) else text_message(message)
        topic = self._topics.get(run)
        if topic is not None:
            topic.sent(kind, frame, self._monotonic())
        _push(viewers, (kind, run), frame)

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
                self._push(viewers, "controls", run, {"type": "controls", "run": run, "controls": controls})
            case "command":
                command = await self._store.command(run, hint.id)
                if command is not None:
                    self._push_command(command, viewers)
            case "trace":
                trace = await self._store.trace(hint.id)
                if trace is not None:
                    _push(viewers, ("trace", hint.id), {"type": "trace", "run": run, "trace": trace_shape(trace)})
            case "events":
                await self._tell_events(run, viewers, hint.id)
            case "deleted" | "watched":
                raise AssertionError(f"{hint.topic} is never scheduled")

    def _push_command(self, command: CommandRow, viewers: set[Viewer]) -> None:
        shape = command_shape(command, self._presence.ranks(command.run))
        _push(viewers, ("command", command.run, command.id), {"type": "command", "run": command.run, "command": shape})

    async def _tell_metrics(self, run: str, viewers: set[Viewer]) -> None:
        rows = await self._store.metrics(run)
        if len(rows) > NAMES_AT_ONCE:
            self._push(viewers, "metrics", run, await asyncio.to_thread(lambda: text_message(metrics_text(run, rows))))
        else:
            metrics = [metric_shape(row) for row in rows]
            self._push(viewers, "metrics", run, {"type": "metrics", "run": run, "metrics": metrics})
        if run in self._topics:
            self._topics[run].metrics_due_s = self._monotonic() + len(rows) * NAME_PACE_S

    async def _tell_events(self, run: str, viewers: set[Viewer], changed: str) -> None:
        topic = self._topics.get(run)
        if topic is None or topic.last_event is None:
            return
        # One that occurred again keeps its id.
        after = min(topic.last_event, int(changed) - 1) if changed else topic.last_event
        for row in await self._store.events_after(run, after, _EVENTS_AT_ONCE):
            if row.id > topic.last_event or str(row.id) == changed:
                topic.last_event = max(topic.last_event, row.id)
                _push(viewers, ("event", run, row.id), {"type": "event", "run": run, "event": event_shape(row)})


def _push(viewers: set[Viewer], thing: tuple[object, ...], message: Any) -> None:
    """Queue a message, a frame or a JSON value, for viewers; it is encoded once."""
    frame = message if isinstance(message, bytes) else text_message(message)
    for viewer in viewers:
        viewer.push(thing, frame)
