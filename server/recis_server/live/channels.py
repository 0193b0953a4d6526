"""All channels: from commits to the messages of each, and the snapshots that they need.

Owns which views are watched, the points that have not been passed on, the reads of snapshots and the memory for them;
must not know sockets or what else browsers are sent. A run that nobody watches costs one dictionary lookup per frame.

    channels.subscribe(viewer, 1, view)     # the viewer collects the messages of the channel from now on
    changed = channels.step(run)            # the viewers that now have something to collect
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from recis.wire.messages import Points
from recis_server.errors import ServerError
from recis_server.live.channel import Channel
from recis_server.live.chart import View
from recis_server.live.rows import select_rows
from recis_server.live.viewer import Viewer
from recis_server.query.charts import read_chart
from recis_server.store.interface import Store
from recis_server.store.values import ChartRead, Commit, StoredFrame

__all__ = ["Channels"]

_logger = logging.getLogger(__name__)

READS_AT_ONCE = 2
MAX_SNAPSHOT_BYTES = 64 << 20
"""Of snapshots at hand, over all channels; the newest one is kept until its receivers have it."""
MAX_PENDING_BYTES = 4 << 20
"""Of a run's frames that are not passed on yet; beyond that they are passed on at once."""


@dataclass(slots=True)
class _Watched:
    """A run with channels, and its frames since the last step."""

    channels: dict[View, Channel] = field(default_factory=dict)
    frames: list[tuple[int, StoredFrame]] = field(default_factory=list)
    num_bytes: int = 0

    def pass_on(self) -> None:
        for commit, stored in self.frames:
            for channel in self.channels.values():
                rows = select_rows(commit, stored, channel.keys)
                if rows is not None:
                    channel.feed(rows)
        self.frames, self.num_bytes = [], 0


class Channels:
    """See the module.

    Args:
        store: where snapshots are read.
        changed: called with a run that has something to pass on.
        send: sends to viewers what they have to collect.
    """

    def __init__(
        self, store: Store, changed: Callable[[str], None], send: Callable[[Iterable[Viewer]], Awaitable[None]]
    ) -> None:
        self._store = store
        self._changed = changed
        self._send = send
        self._runs: dict[str, _Watched] = {}
        self._subscribers: dict[Channel, set[tuple[Viewer, int]]] = {}
        self._reads: dict[Channel, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(READS_AT_ONCE)
        self._snapshots: OrderedDict[Channel, None] = OrderedDict()
        self.num_snapshots = 0
        """Snapshots read so far."""
        self.num_changes = 0
        """Messages with what changed in a channel, made so far."""

    def __len__(self) -> int:
        return len(self._subscribers)

    @property
    def num_watches(self) -> int:
        """Number of watches over all browsers."""
        return sum(map(len, self._subscribers.values()))

    async def close(self) -> None:
        """End all reads."""
        reads = tuple(self._reads.values())
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)

    def is_watched(self, run: str) -> bool:
        """Return whether there is a channel of this run."""
        return run in self._runs

    def subscribe(self, viewer: Viewer, watch_id: int, view: View) -> None:
        """Let the viewer collect the messages of a view."""
        watched = self._runs.setdefault(view.run, _Watched())
        channel = watched.channels.get(view)
        if channel is None:
            channel = watched.channels[view] = Channel(view, self._ask)
            self._subscribers[channel] = set()
        self._subscribers[channel].add((viewer, watch_id))
        viewer.subscribe(watch_id, channel)

    def unsubscribe(self, viewer: Viewer, watch_id: int) -> None:
        """End a `subscribe`."""
        channel = viewer.unsubscribe(watch_id)
        if not isinstance(channel, Channel):
            return
        subscribers = self._subscribers[channel]
        subscribers.discard((viewer, watch_id))
        if not subscribers:
            self._end(channel)

    def on_commit(self, commit: Commit) -> None:
        """Keep the frames of watched runs until the next step."""
        for stored in commit.frames:
            watched = self._runs.get(stored.stream.run)
            if watched is None:
                continue
            if not watched.frames:
                self._changed(stored.stream.run)
            watched.frames.append((commit.number, stored))
            records = stored.frame.records
            watched.num_bytes += sum(len(record.values) for record in records if isinstance(record, Points))
            if watched.num_bytes > MAX_PENDING_BYTES:
                watched.pass_on()

    def step(self, run: str) -> set[Viewer]:
        """Work out what changed in the channels of a run; return the viewers who have something to collect."""
        viewers: set[Viewer] = set()
        watched = self._runs.get(run)
        if watched is None:
            return viewers
        watched.pass_on()
        for channel in watched.channels.values():
            if channel.step():
                self.num_changes += 1
                viewers.update(viewer for viewer, _ in self._subscribers[channel])
        return viewers

    # --- snapshots

    def _ask(self, channel: Channel) -> None:
        if channel not in self._reads and channel in self._subscribers:
            self._reads[channel] = asyncio.create_task(self._read(channel), name="live-snapshot")

    async def _read(self, channel: Channel) -> None:
        try:
            # Held until it is sent: all points of a view are in memory.
            async with self._places:
                if channel in self._subscribers:
                    await self._read_now(channel)
        except ServerError as error:
            self._refuse(channel, error)
        except Exception:  # boundary: an error in one view must not end the others
            _logger.exception("could not read a chart of run %s", channel.view.run)
            self._refuse(channel, ServerError("the server failed at this chart; see its log"))
        finally:
            del self._reads[channel]

    async def _read_now(self, channel: Channel) -> None:
        channel.begin()
        try:
            read = await self._read_chart(channel.view)
        except BaseException:
            channel.fail()
            raise
        self.num_snapshots += 1
        if channel.arrive(read):
            self._keep(channel)
        else:
            self._changed(channel.view.run)
        await self._send({viewer for viewer, _ in self._subscribers.get(channel, ())})

    async def _read_chart(self, view: View) -> ChartRead:
        return await read_chart(
            self._store,
            view.run,
            view.keys,
            "all" if view.rank is None else view.rank,
            view.start,
            view.stop,
            view.points,
            superseded=view.superseded,
        )

    def _keep(self, channel: Channel) -> None:
        """Keep the newest snapshots, as far as they fit."""
        self._snapshots[channel] = None
        self._snapshots.move_to_end(channel)
        if channel not in self._subscribers:
            del self._snapshots[channel]
        while len(self._snapshots) > 1 and sum(one.snapshot_bytes for one in self._snapshots) > MAX_SNAPSHOT_BYTES:
            oldest, _ = self._snapshots.popitem(last=False)
            oldest.drop_snapshot()

    def _refuse(self, channel: Channel, error: ServerError) -> None:
        for viewer, watch_id in tuple(self._subscribers.get(channel, ())):
            if viewer.is_waiting_for(watch_id):
                self.unsubscribe(viewer, watch_id)
                viewer.push_error(error, watch_id=watch_id)

    def _end(self, channel: Channel) -> None:
        del self._subscribers[channel]
        self._snapshots.pop(channel, None)
        channels = self._runs[channel.view.run].channels
        del channels[channel.view]
        if not channels:
            del self._runs[channel.view.run]
