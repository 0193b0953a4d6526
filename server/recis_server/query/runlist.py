"""The list of runs as JSON, with what was encoded before kept as bytes: of ten thousand runs few change in a second.

Owns that memory, by what of the runs was asked for; the store decides what of it is still right. A run's state is put
in when the list is made, because silence changes it without a commit. Must not know HTTP or engines.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from recis_server.errors import InvalidValue
from recis_server.query.runs import STATES, Liveness, judged
from recis_server.query.shapes import RUN_FIELDS, listed_run
from recis_server.store.interface import RunMark, RunRow, RunsWanted, Store

__all__ = ["RunList", "View", "Wanted"]

KEPT_BYTES = 64 << 20
"""Encoded runs in memory, of all views."""
KEPT_VIEWS = 16
_OVERHEAD_BYTES = 300
"""What a run takes beside its JSON."""


class View(NamedTuple):
    """What of each run is listed: members of its JSON beside `id`, and metrics of its summary; None is all."""

    fields: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs a list is for."""

    project: str | None = None
    state: str | None = None
    text: str | None = None
    sort: str = "-created_at"
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class _Shown:
    """A run's JSON after a comma, without its state and the closing brace."""

    id: str
    said: str
    updated_ns: int
    json: bytes

    @property
    def num_bytes(self) -> int:
        return len(self.json) + _OVERHEAD_BYTES


class RunList:
    """See the module; used on the event loop."""

    def __init__(self, store: Store, liveness: Liveness) -> None:
        self._store = store
        self._liveness = liveness
        self._views: OrderedDict[View, dict[str, _Shown]] = OrderedDict()
        self.num_bytes = 0
        """Bytes that are kept."""

    async def page(self, wanted: Wanted, view: View) -> bytes:
        """A page of runs and the cursor of the next, as JSON.

        Raises:
            InvalidValue: a sort, a cursor or a field that is none.
        """
        for name in view.fields or ():
            if name not in RUN_FIELDS:
                raise InvalidValue("fields", f"expected some of {', '.join(RUN_FIELDS)}, got {name[:80]!r}")
        # Who is connected is asked once: a run is filtered and shown by the same state.
        live = self._liveness.live_states()
        now_ns = time.time_ns()

        def accept(mark: RunMark) -> bool:
            return judged(mark.state, live.get(mark.id), mark.updated_ns, now_ns) == wanted.state

        # What ranks have said ends the question; only runs that have not ended have to be judged one by one.
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
            ),
            self._views.get(view, {}),
            lambda row: _show(row, view),
        )
        self._keep(view, page.runs)
        has_state = view.fields is None or "state" in view.fields
        tails = {state: f',"state":"{state}"}}'.encode() if has_state else b"}" for state in STATES}
        pieces: list[bytes] = []
        for one in page.runs:
            said = one.said
            state = said if said != "running" else judged(said, live.get(one.id), one.updated_ns, now_ns)
            pieces += one.json, tails[state]
        cursor = msgspec.json.encode(page.next_cursor)
        return b"".join((b'{"runs":[', b"".join(pieces)[1:], b'],"next_cursor":', cursor, b"}"))

    def _keep(self, view: View, runs: tuple[_Shown, ...]) -> None:
        kept = self._views.setdefault(view, {})
        self._views.move_to_end(view)
        for one in runs:
            known = kept.get(one.id)
            if known is not one:
                self.num_bytes += one.num_bytes - (known.num_bytes if known is not None else 0)
                kept[one.id] = one
        while len(self._views) > KEPT_VIEWS or (self.num_bytes > KEPT_BYTES and self._views):
            # The view that was asked for longest ago; this one, the newest, only when it is too large by itself.
            _, gone = self._views.popitem(last=False)
            self.num_bytes -= sum(one.num_bytes for one in gone.values())


def _show(row: RunRow, view: View) -> _Shown:
    shape = listed_run(row)
    if view.fields is not None:
        shape = {name: value for name, value in shape.items() if name == "id" or name in view.fields}
    return _Shown(row.id, row.state, row.updated_ns, b"," + msgspec.json.encode(shape)[:-1])
