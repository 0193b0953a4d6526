"""Runs as rows of the interface: one, many, and pages of the list that read only what has changed.

Functions on a connection inside a transaction, so that a page is the state after one commit; must not know threads or
who asks. `run.updated_ns` also serves as a run's version: every transaction that changes anything of a `RunRow`
increases it, by at least a nanosecond (`frames`, `registration`).
"""

# Names of columns and tables below are constants of this package; every value is bound.
# ruff: noqa: S608

import base64
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import msgspec

from recis_server.errors import InvalidValue
from recis_server.store.engines.engine import Connection
from recis_server.store.json_columns import dump, load
from recis_server.store.tables.keyset_cache import KeySetCache
from recis_server.store.tables.sql_parameters import names, question_marks, saturated, total
from recis_server.store.tables.tallies import read_lasts
from recis_server.store.values import RunMark, RunPage, RunRow, RunsWanted, Versioned

__all__ = ["count_change", "read_changes", "read_page", "read_rows", "read_run", "read_versions"]

S = TypeVar("S", bound=Versioned)
T = TypeVar("T")
U = TypeVar("U")

_logger = logging.getLogger(__name__)
_FIELDS: dict[str, tuple[str, type]] = {
    "created_at": ("created_ns", int),
    "updated_at": ("updated_ns", int),
    "name": ("name", str),
    "project": ("project", str),
    "last_step": ("coalesce(last_step, -1)", int),
}
"""Sort keys of runs: the column, and the type of its values."""
_MOST_NAMED = 512
"""The most runs named in one statement."""
MAX_PAGE_CHARS = 32 << 20
"""Characters of configurations read for one page, which ends early if there are more."""
_RUN = (
    "run_id, project, name, state, message, created_ns, updated_ns, world_size, last_step, tags, notes, config,"
    " points, missing, archived"
)


def read_run(connection: Connection, keyset_cache: KeySetCache, run_id: str) -> RunRow | None:
    """Return one run."""
    return next(read_rows(connection, keyset_cache, [run_id], None), None)


def read_page(
    connection: Connection,
    keyset_cache: KeySetCache,
    wanted: RunsWanted,
    known: Mapping[str, S],
    show: Callable[[RunRow], S],
) -> RunPage[S]:
    """Return a page of runs; ties are ordered by id, so that the cursor is exact. See `Store.runs_anew`."""
    marks = _read_marks(connection, wanted)
    more = len(marks) > wanted.limit
    del marks[wanted.limit :]
    shown: list[S | None] = []
    unknown: list[int] = []
    for place, (run_id, updated_ns, _) in enumerate(marks):
        # Take everything from `known` at once: others may replace its entries meanwhile.
        one = known.get(run_id)
        if one is None or one.updated_ns != updated_ns:
            one = None
            unknown.append(place)
        shown.append(one)
    place = 0
    for place, row in enumerate(
        read_rows(connection, keyset_cache, [marks[one][0] for one in unknown], wanted.keys), 1
    ):
        shown[unknown[place - 1]] = show(row)
    if place < len(unknown):
        # The configurations exceeded the bound: the page ends before the first run that was not read.
        del shown[unknown[place] :]
        more = True
    runs = tuple(one for one in shown if one is not None)
    return RunPage(runs, _write_cursor(wanted.sort, marks[len(runs) - 1]) if more else None)


def read_rows(
    connection: Connection, keyset_cache: KeySetCache, run_ids: Sequence[str], keys: Collection[str] | None
) -> Iterator[RunRow]:
    """Yield existing runs in the order of `run_ids`; end early after `MAX_PAGE_CHARS`.

    Args:
        connection: in a transaction.
        keyset_cache: the cache of the store.
        run_ids: each once.
        keys: the metrics of the summaries, None for all.
    """
    num_chars = 0
    for part in names(run_ids, _MOST_NAMED):
        rows = _select(connection, f"SELECT {_RUN} FROM run", part)
        num_chars += sum(len(row[11]) for row in rows)
        found = {row[0]: row for row in rows}
        more = _read_more(connection, keyset_cache, part, {run_id: row[5] for run_id, row in found.items()}, keys)
        yield from (_run(found[run_id], more) for run_id in dict.fromkeys(part) if run_id in found)
        if num_chars >= MAX_PAGE_CHARS:
            return


def read_versions(connection: Connection, run_ids: Sequence[str]) -> dict[str, int]:
    """Return the version of each run that exists."""
    found: dict[str, int] = {}
    for part in names(run_ids, _MOST_NAMED):
        found.update(_select(connection, "SELECT run_id, updated_ns FROM run", part))
    return found


def count_change(connection: Connection, run_id: str) -> None:
    """Count a change of the run's commands, traces or events."""
    connection.execute("UPDATE run SET changes = changes + 1 WHERE run_id = ?", (run_id,))


def read_changes(connection: Connection, run_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return the version and the number of other changes of each run that exists."""
    found: dict[str, tuple[int, int]] = {}
    for part in names(run_ids, _MOST_NAMED):
        rows = _select(connection, "SELECT run_id, updated_ns, changes FROM run", part)
        found.update((run_id, (version, changes)) for run_id, version, changes in rows)
    return found


# --- which runs


def _read_marks(connection: Connection, wanted: RunsWanted) -> list[tuple[Any, ...]]:
    """Return id, version and sort value of each run on the page, and of the next one if there is one."""
    field, kind = _FIELDS.get(wanted.sort.removeprefix("-"), ("", str))
    if not field:
        raise InvalidValue("sort", f"expected one of {sorted(_FIELDS)}, with or without '-', got {wanted.sort[:80]!r}")
    order, after = ("DESC", "<") if wanted.sort.startswith("-") else ("ASC", ">")
    where: list[str] = ["1 = 1"]
    values: list[Any] = []
    archived = None if wanted.archived is None else int(wanted.archived)
    for column, value in (("project", wanted.project), ("state", wanted.said), ("archived", archived)):
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    if wanted.cursor is not None:
        where.append(f"({field}, run_id) {after} (?, ?)")
        values.extend(_read_cursor(wanted.cursor, wanted.sort, kind))
    words = (wanted.text or "").casefold().split()
    accept = wanted.accept
    limit = wanted.limit + 1
    is_judged = bool(words) or bool(wanted.tags) or accept is not None
    # Columns needed only for filtering cost as much as all others.
    more, bound = (", state, project, name, tags", "") if is_judged else ("", f" LIMIT {limit}")
    cursor = connection.execute(
        f"SELECT run_id, updated_ns, {field}{more} FROM run WHERE {' AND '.join(where)}"
        f" ORDER BY {field} {order}, run_id {order}{bound}",
        values,
    )
    if not is_judged:
        return cursor.fetchall()
    marks: list[tuple[Any, ...]] = []
    for row in cursor:
        if not _has_tags(row, wanted.tags) or (words and not _has(row, words)):
            continue
        if accept is None or accept(RunMark(row[0], row[3], row[1])):
            marks.append(row[:3])
            if len(marks) == limit:
                break
    return marks


def _has_tags(row: tuple[Any, ...], tags: Sequence[str]) -> bool:
    """Return whether a run has all of these tags."""
    return not tags or set(tags) <= set(load(row[6]) if row[6] != "[]" else ())


def _has(row: tuple[Any, ...], words: Sequence[str]) -> bool:
    """Return whether all words occur in the id, project, name or tags, ignoring case in any script."""
    run_id, _, _, _, project, name, tags = row
    text = "\n".join((run_id, project, name, *(load(tags) if tags != "[]" else ()))).casefold()
    return all(word in text for word in words)


def _write_cursor(sort: str, mark: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps([sort, mark[2], mark[0]]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, sort: str, kind: type) -> tuple[Any, str]:
    try:
        of_sort, place, run_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if of_sort != sort or type(place) is not kind or not isinstance(run_id, str):
            raise TypeError("wrong types")
        if isinstance(place, int) and not -(2**63) <= place < 2**63:
            raise TypeError("beyond what is stored")
        f"{place}{run_id}".encode()  # a lone surrogate is in no text that is stored
    except (ValueError, TypeError, RecursionError) as error:
        message = f"expected the next_cursor of an earlier answer with sort={sort[:80]}, got {cursor[:80]!r}"
        raise InvalidValue("cursor", message) from error
    return place, run_id


# --- what of them


def _select(connection: Connection, sql: str, values: Sequence[Any], after: str = "") -> list[Any]:
    """Return the rows of some runs; `after` is the rest of the statement, with its values at the end."""
    return connection.execute(f"{sql} WHERE run_id IN ({question_marks(len(values))}){after}", values).fetchall()


class _More(NamedTuple):
    """Data of some runs in other tables, queried one by one, so that a damaged one does not affect the others."""

    places: Mapping[str, Mapping[int, int]]
    ranks: Mapping[str, Sequence[int]]
    dropped: Mapping[str, int]
    lasts: Callable[[str], dict[str, float]]


def _read_more(
    connection: Connection,
    keyset_cache: KeySetCache,
    run_ids: Sequence[str],
    created_ns: Mapping[str, int],
    keys: Collection[str] | None,
) -> _More:
    places: dict[str, dict[int, int]] = defaultdict(dict)
    for run_id, number in _select(
        connection, "SELECT run_id, ordinal FROM attempt", run_ids, " ORDER BY run_id, started_ns, ordinal"
    ):
        places[run_id][number] = len(places[run_id]) + 1
    ranks: dict[str, list[int]] = defaultdict(list)
    dropped: dict[str, int] = defaultdict(int)
    for run_id, rank, number in _select(
        connection,
        f"SELECT run_id, rank, {total('dropped')} FROM stream",
        run_ids,
        " GROUP BY run_id, rank ORDER BY run_id, rank",
    ):
        ranks[run_id].append(rank)
        dropped[run_id] = saturated(dropped[run_id] + number)
    return _More(places, ranks, dropped, read_lasts(connection, keyset_cache, run_ids, created_ns, places, keys))


@lru_cache(1024)
def _tags(text: str) -> tuple[str, ...]:
    # Many runs have the same tags.
    return tuple(load(text))


def _run(row: tuple[Any, ...], more: _More) -> RunRow:
    (run_id, project, name, state, message, created_ns, updated_ns, world_size) = row[:8]
    (last_step, tags, notes, config, points, missing, archived) = row[8:]
    damaged: list[str] = []
    shown = RunRow(
        id=run_id,
        project=project,
        name=name,
        state=state,
        created_ns=created_ns,
        updated_ns=updated_ns,
        ranks=tuple(more.ranks.get(run_id, ())),
        world_size=world_size,
        attempts=len(more.places.get(run_id, ())),
        last_step=last_step,
        summary=_part(damaged, "summary", {}, more.lasts, run_id),
        tags=_part(damaged, "tags", (), _tags, tags),
        notes=notes,
        config_json=_part(damaged, "config", "{}", _json, config),
        points=saturated(points),
        missing=saturated(missing),
        dropped=more.dropped.get(run_id, 0),
        message=message,
        archived=bool(archived),
    )
    if not damaged:
        return shown
    parts = ", ".join(damaged)
    _say_damaged(run_id, parts)
    return shown._replace(message=f"{message} [the store cannot read this run's {parts}]".lstrip())


def _part(damaged: list[str], name: str, instead: T, read: Callable[[U], T], stored: U) -> T:
    """Return `read` of a stored value; if that fails, return `instead` and add `name` to `damaged`."""
    try:
        return read(stored)
    except Exception:  # noqa: BLE001 - boundary: a damaged row is shown as a gap and is not a failure
        damaged.append(name)
        return instead


def _json(text: str) -> str:
    """Return the text if it is JSON; re-encode it if it has NaN or deep nesting."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return dump(load(text))
    return text


@lru_cache(1024)
def _say_damaged(run_id: str, parts: str) -> None:
    """Log damage once per run: lists are read every few seconds."""
    _logger.error("run %s is damaged in the store and shown without its %s; it can be deleted", run_id, parts)
