"""All channels: from commits to the messages of each, and the snapshots that they need.

Owns which views are watched, the reads of snapshots and the memory for them; must not know sockets or other messages to
browsers. A run that nobody watches costs one dictionary lookup per frame.

    channels.subscribe(viewer, 1, view)     # the viewer collects the messages of the channel from now on
    for viewers in channels.step(run):      # those who now have something to collect
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator

from recis.wire.messages import Points
from recis_server.errors import ServerError, StoreUnavailable
from recis_server.live.channel import Channel
from recis_server.live.chart import View
from recis_server.live.viewer import Viewer
from recis_server.query.charts import read_chart
from recis_server.store.interface import Store
from recis_server.store.values import ChartRead, Commit

__all__ = ["Channels"]

_logger = logging.getLogger(__name__)

READS_AT_ONCE = 2
AGAIN_S = 1.0
"""Pause before a chart is read again after the store was unavailable."""
MAX_SNAPSHOT_BYTES = 64 << 20
"""Size of the snapshots in memory, over all channels; the newest one is kept until its receivers have it."""


class Channels:
    """The channels of all views that are watched.

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
        self._runs: dict[str, dict[View, Channel]] = {}
        self._subscribers: dict[Channel, set[tuple[Viewer, int]]] = {}
        self._reads: dict[Channel, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(READS_AT_ONCE)
        self._snapshots: OrderedDict[Channel, None] = OrderedDict()
        self.num_snapshots = 0
        """Snapshots read so far."""
        self.num_changes = 0
        """Messages with the changes of a channel, made so far."""

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
        channels = self._runs.setdefault(view.run, {})
        channel = channels.get(view)
        if channel is None:
            channel = channels[view] = Channel(view, self._ask)
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
        """Pass the frames of watched runs to their channels."""
        for stored in commit.frames:
            channels = self._runs.get(stored.stream.run)
            if channels is None:
                continue
            num_bytes = sum(len(record.values) for record in stored.frame.records if isinstance(record, Points))
            for channel in channels.values():
                channel.add(commit.versions[stored.stream.run][1], stored, num_bytes)
            self._changed(stored.stream.run)

    def missed(self, run: str) -> None:
        """Read the charts of a run again, because `on_commit` has missed commits."""
        for channel in self._runs.get(run, {}).values():
            channel.miss()
        self._changed(run)

    def runs(self) -> set[str]:
        """Return the runs that have channels."""
        return set(self._runs)

    def step(self, run: str) -> Iterator[set[Viewer]]:
        """Compute the changes, channel by channel; yield the viewers of each that have something to collect."""
        for channel in tuple(self._runs.get(run, {}).values()):
            viewers: set[Viewer] = set()
            try:
                if channel in self._subscribers and channel.step():
                    self.num_changes += 1
                    viewers = {viewer for viewer, _ in self._subscribers[channel]}
            except Exception:  # boundary: an error in one view must not end the others
                _logger.exception("could not work out what changed in a chart of run %s", run)
            yield viewers

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
        except StoreUnavailable as error:
            # The browsers keep their watches, and get their charts as soon as the store is available.
            _logger.warning("could not read a chart of run %s: %s", channel.view.run, error)
            await asyncio.sleep(AGAIN_S)
        except ServerError as error:
            self._refuse(channel, error)
        except Exception:  # boundary: an error in one view must not end the others
            _logger.exception("could not read a chart of run %s", channel.view.run)
            self._refuse(channel, ServerError("the server failed at this chart; see its log"))
        finally:
            del self._reads[channel]
        # Later commits may have made it obsolete: compute the changes, and let the viewers that still wait ask again.
        self._changed(channel.view.run)
        for viewer, watch_id in self._subscribers.get(channel, ()):
            if viewer.is_waiting_for(watch_id):
                viewer.wake()

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
        channels = self._runs[channel.view.run]
        del channels[channel.view]
        if not channels:
            del self._runs[channel.view.run]
