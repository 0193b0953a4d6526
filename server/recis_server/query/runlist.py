"""The list of runs as JSON, from cached bytes: of ten thousand runs few change in a second.

Owns the cache, by fields and metrics requested, and fills it at the start for the usual requests; the store decides
which entries are still valid. The state of a run is added when the list is built, because silence changes it without a
commit. Must not know HTTP or engines.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from recis_server.errors import InvalidValue, ServerError
from recis_server.query.runs import STATES, Liveness, judged
from recis_server.query.shapes import RUN_FIELDS, listed_run
from recis_server.store.interface import Store
from recis_server.store.values import RunMark, RunPage, RunRow, RunsWanted

__all__ = ["MOST_LISTED", "PAGE_VIEW", "SORTS", "RunList", "View", "Wanted", "check_view", "listed_json"]

SORTS = ("created_at", "updated_at", "name", "project", "last_step")
"""Sort keys of a list; the store rejects any other."""
MOST_LISTED = 10_000
"""The most runs in one answer."""
KEPT_BYTES = 64 << 20
"""Size of the cache, over all views."""
KEPT_VIEWS = 16
AHEAD_S = 1.0
"""How long filling the cache may delay the start: every open page requests the whole list when the server is up."""
AHEAD_RUNS, AHEAD_PAUSE_S = 500, 0.1
"""Runs encoded at once, and the pause between two such batches after the start, while trainings reconnect."""
_OVERHEAD_BYTES = 300
"""Memory of a run beside its JSON."""


class View(NamedTuple):
    """The part of each run that is listed: members of its JSON in addition to `id`, and metrics of its summary; None
    for all."""

    fields: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None


PAGE_VIEW = View(
    ("archived", "created_at", "last_step", "name", "project", "ranks", "state", "summary", "tags", "updated_at"),
    ("loss", "qps"),
)
"""Fields and metrics that the page requests (`web/js/data/run-list.js`), each in alphabetical order as in a route."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The runs that a list contains; `archived` is None for both kinds."""

    project: str | None = None
    state: str | None = None
    text: str | None = None
    sort: str = "-created_at"
    limit: int = 50
    cursor: str | None = None
    archived: bool | None = False
    tags: tuple[str, ...] = ()


@dataclass(slots=True)
class _Shown:
    """A run's JSON after a comma; without the state and the closing brace if the run has not ended."""

    id: str
    updated_ns: int
    has_ended: bool
    json: bytes

    @property
    def num_bytes(self) -> int:
        return len(self.json) + _OVERHEAD_BYTES


class RunList:
    """Lists of runs as JSON, assembled from cached entries. Not thread-safe: used on the event loop.

    Args:
        store: the source of runs.
        liveness: knows who is connected.
        kept_bytes: the size of the cache, over all views.
    """

    def __init__(self, store: Store, liveness: Liveness, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._store = store
        self._liveness = liveness
        self._kept_bytes = kept_bytes
        self._views: OrderedDict[View, dict[str, _Shown]] = OrderedDict()
        self._ahead: asyncio.Task[None] | None = None
        self._is_open = False
        self.num_bytes = 0
        """Current size of the cache."""

    async def open(self) -> None:
        """Encode the lists that the page and a client without options will request.

        Return after `AHEAD_S` at the latest; the rest is encoded in the background.
        """
        self._ahead = asyncio.create_task(self._read_ahead(), name="runs-ahead")
        await asyncio.wait((self._ahead,), timeout=AHEAD_S)
        self._is_open = True

    async def close(self) -> None:
        """Stop encoding; safe to call twice."""
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.gather(self._ahead, return_exceptions=True)
            self._ahead = None

    async def _read_ahead(self) -> None:
        try:
            for view in (PAGE_VIEW, View()):
                cursor: str | None = None
                for _ in range(MOST_LISTED // AHEAD_RUNS):
                    wanted = Wanted(limit=AHEAD_RUNS, cursor=cursor)
                    page = await self._read(wanted, view, self._liveness.live_states())
                    cursor = page.next_cursor
                    if cursor is None:
                        break
                    await asyncio.sleep(AHEAD_PAUSE_S if self._is_open else 0.0)
        except ServerError as error:
            _logger.info("the list of runs will be read on request: %s", error.message)

    async def page(self, wanted: Wanted, view: View) -> bytes:
        """Return a page of runs and the cursor of the next one as JSON.

        Raises:
            InvalidValue: an invalid sort key, cursor or field.
        """
        check_view(view, "fields")
        # Ask once who is connected, so that a run is filtered and shown by the same state.
        live = self._liveness.live_states()
        page = await self._read(wanted, view, live)
        tails = {state: _tail(state, view) for state in STATES}
        pieces = [
            one.json if one.has_ended else one.json + tails[judged("running", live.get(one.id))] for one in page.runs
        ]
        if pieces:
            pieces[0] = pieces[0][1:]
        return b"".join((b'{"runs":[', *pieces, b'],"next_cursor":', msgspec.json.encode(page.next_cursor), b"}"))

    async def _read(self, wanted: Wanted, view: View, live: Mapping[str, str]) -> RunPage[_Shown]:
        """Return the runs of a page, encoding those that are not cached or have changed."""

        def accept(mark: RunMark) -> bool:
            return judged(mark.state, live.get(mark.id)) == wanted.state

        fresh: list[_Shown] = []

        def show(row: RunRow) -> _Shown:
            fresh.append(_show(row, view))
            return fresh[-1]

        # A state reported by the ranks is final; only runs that have not ended have to be judged one by one.
        is_judged = wanted.state not in (None, "finished", "failed")
        page = await self._store.runs_anew(
            RunsWanted(
                project=wanted.project,
                text=wanted.text,
                said="running" if is_judged else wanted.state,
                accept=accept if is_judged else None,
                sort=wanted.sort,
                limit=wanted.limit,
                cursor=wanted.cursor,
                keys=view.keys if view.fields is None or "summary" in view.fields else (),
                archived=wanted.archived,
                tags=wanted.tags,
            ),
            self._views.get(view, {}),
            show,
        )
        self._keep(view, fresh)
        return page

    def _keep(self, view: View, fresh: list[_Shown]) -> None:
        kept = self._views.setdefault(view, {})
        self._views.move_to_end(view)
        for one in fresh:
            known = kept.get(one.id)
            self.num_bytes += one.num_bytes - (known.num_bytes if known is not None else 0)
            kept[one.id] = one
        while len(self._views) > KEPT_VIEWS or (self.num_bytes > self._kept_bytes and self._views):
            # Evict the least recently used view; this one, the newest, only if it is too large by itself.
            _, gone = self._views.popitem(last=False)
            self.num_bytes -= sum(one.num_bytes for one in gone.values())


def check_view(view: View, field: str) -> None:
    """Raise `InvalidValue` for a field that runs do not have."""
    for name in view.fields or ():
        if name not in RUN_FIELDS:
            raise InvalidValue(field, f"expected some of {', '.join(RUN_FIELDS)}, got {name[:80]!r}")


def listed_json(row: RunRow, state: str, view: View) -> bytes:
    """Return one run as in a list; `state` is the state to show."""
    if view.keys is not None:
        row = row._replace(summary={key: row.summary[key] for key in view.keys if key in row.summary})
    shown = _show(row, view)
    return shown.json[1:] if shown.has_ended else shown.json[1:] + _tail(state, view)


def _show(row: RunRow, view: View) -> _Shown:
    shape = listed_run(row)
    if view.fields is not None:
        shape = {name: value for name, value in shape.items() if name == "id" or name in view.fields}
    json = b"," + msgspec.json.encode(shape)[:-1]
    has_ended = row.state != "running"
    return _Shown(row.id, row.updated_ns, has_ended, json + _tail(row.state, view) if has_ended else json)


def _tail(state: str, view: View) -> bytes:
    return f',"state":"{state}"}}'.encode() if view.fields is None or "state" in view.fields else b"}"
