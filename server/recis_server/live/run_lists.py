"""The runs that have changed, once a second, for browsers that show a list of runs.

Owns which runs have changed and the messages about them, encoded once for all who see the same part of each run; must
not know sockets. Bounded: the newest entry of each run that changed within `KEPT` messages.
"""

import asyncio
import logging
from collections.abc import Sequence

from recis_server.errors import ServerError
from recis_server.ingest.presence import Presence
from recis_server.live.messages import text_message
from recis_server.live.viewer import Viewer
from recis_server.query.runlist import View, listed_json
from recis_server.query.runs import shown_state
from recis_server.store.interface import Store

__all__ = ["DEFAULT_VIEW", "RunLists"]

_logger = logging.getLogger(__name__)

LIST_PACE_S = 1.0
VALUE_PACE_S = 1e-4
"""Lists of runs with very many metrics are sent less often, because they take time here and in browsers."""
LIST_ID = -1
"""The id under which a browser collects the list; watches have ids from 0."""
KEPT = 64
"""Messages that a browser may be behind; one that reads nothing for so long is closed."""
_RUNS_AT_ONCE = 128
DEFAULT_VIEW = View(
    (
        "archived",
        "created_at",
        "last_step",
        "message",
        "name",
        "project",
        "ranks",
        "state",
        "summary",
        "tags",
        "updated_at",
    )
)


class _List:
    """The list of one view: the newest entry of each run that has changed, with the number of its message."""

    def __init__(self) -> None:
        self.number = 0
        self._entries: dict[str, tuple[int, bytes]] = {}
        self._frames: dict[int, bytes] = {}
        self.viewers: set[Viewer] = set()

    def put(self, entries: dict[str, bytes]) -> None:
        """Add a message."""
        self.number += 1
        for run, entry in entries.items():
            self._entries.pop(run, None)
            self._entries[run] = (self.number, entry)
        # The oldest come first, because an entry that is replaced goes to the end.
        old = [run for run, (number, _) in self._entries.items() if number <= self.number - KEPT]
        for run in old:
            del self._entries[run]
        self._frames.clear()

    def remove(self, run: str) -> None:
        """Remove a run that was deleted."""
        self._entries.pop(run, None)
        self._frames.clear()

    def collect(self, seen: int | None, watch_id: int) -> tuple[list[bytes], int] | None:
        """See `viewer.Source`: one message with all runs that have changed, for a new browser none."""
        if seen is None or seen == self.number:
            return [], self.number
        frame = self._frames.get(seen)
        if frame is None:
            entries = [entry for number, entry in self._entries.values() if number > seen]
            frame = text_message(b'{"type":"runs","runs":[' + b",".join(entries) + b"]}")
            self._frames[seen] = frame
        return [frame], self.number


class RunLists:
    """Sends the changes of runs to the browsers that show a list of them.

    Args:
        store: where runs are read.
        presence: the states of runs.
    """

    def __init__(self, store: Store, presence: Presence) -> None:
        self._store = store
        self._presence = presence
        self._lists: dict[View, _List] = {}
        self._views: dict[Viewer, View] = {}
        self._changed: set[str] = set()
        self._deleted: set[str] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.num_messages = 0
        """Messages made so far, over all lists."""

    def __len__(self) -> int:
        return len(self._views)

    async def open(self) -> None:
        """Start reading runs that change."""
        self._task = asyncio.create_task(self._work(), name="live-lists")

    async def close(self) -> None:
        """Stop; safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def follow(self, viewer: Viewer, view: View) -> None:
        """Let the viewer collect the runs that change from now on."""
        self.unfollow(viewer)
        one = self._lists.setdefault(view, _List())
        one.viewers.add(viewer)
        self._views[viewer] = view
        viewer.subscribe(LIST_ID, one)

    def unfollow(self, viewer: Viewer) -> None:
        """End a `follow`."""
        view = self._views.pop(viewer, None)
        if view is None:
            return
        viewer.unsubscribe(LIST_ID)
        self._lists[view].viewers.discard(viewer)
        if not self._lists[view].viewers:
            del self._lists[view]

    def changed(self, run: str) -> None:
        """Include a run in the next message."""
        if self._lists:
            self._changed.add(run)
            self._wake.set()

    def deleted(self, run: str) -> None:
        """Send at once that a run was deleted."""
        self._deleted.add(run)
        self._changed.discard(run)
        for one in self._lists.values():
            one.remove(run)
        message = text_message({"type": "deleted", "run": run})
        for viewer in self._views:
            viewer.push(("run", run), message)

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = sorted(self._changed), set()
            self._deleted.clear()
            num_values = 0
            try:
                num_values = await self._send(changed)
            except ServerError as error:
                _logger.warning("could not send an update of the list of runs: %s", error)
                self._changed.update(changed)
                self._wake.set()
            except Exception:  # boundary: an error in one message must not end the updates
                _logger.exception("could not send an update of the list of runs")
            await asyncio.sleep(max(LIST_PACE_S, num_values * VALUE_PACE_S))

    async def _send(self, changed: Sequence[str]) -> int:
        """Read the runs once for all lists, and give each list its entries; return the number of values read."""
        entries: dict[View, dict[str, bytes]] = {view: {} for view in self._lists}
        wanted = [view.keys for view in entries]
        keys = None if None in wanted else {key for keys in wanted for key in keys or ()}
        num_values = 0
        for first in range(0, len(changed), _RUNS_AT_ONCE):
            for row in await self._store.runs_named(changed[first : first + _RUNS_AT_ONCE], keys):
                num_values += len(row.summary)
                state = shown_state(row, self._presence)
                for view, found in entries.items():
                    found[row.id] = listed_json(row, state, view)
        for view, found in entries.items():
            for run in self._deleted:
                found.pop(run, None)
            one = self._lists.get(view)
            if one is not None and found:
                one.put(found)
                self.num_messages += 1
                for viewer in one.viewers:
                    viewer.wake()
        return num_values
