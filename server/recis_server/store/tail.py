"""What is not in chunks yet: the hot frames of some series of a run, read together.

Owns how columns are cut out of frames and their order of arrival. Functions on a connection inside of a read
transaction; must not know chunks, attempts' order or who asks.
"""

# Lists of parameters are made of question marks; every value is bound.
# ruff: noqa: S608

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from recis_server.store.codec import Rows, last_step
from recis_server.store.engine import Connection

__all__ = ["Tail", "read_tails"]

_MOST_NAMED = 512
"""Series that one statement names at most."""
_FIRSTS = "SELECT attempt, min(lo) FROM frame WHERE run_id = ? AND keyset = ? GROUP BY attempt"
_FRAMES = """
SELECT id, attempt, num_rows, steps, times, data FROM frame
WHERE run_id = ? AND keyset = ? AND hi >= ? AND lo <= ? ORDER BY id
"""
_COLUMN = """
SELECT id, attempt, num_rows, steps, times,
    substr(data, CAST(? * num_rows * 8 + 1 AS INTEGER), CAST(num_rows * 8 AS INTEGER))
FROM frame WHERE run_id = ? AND keyset = ? AND hi >= ? AND lo <= ? ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class Tail:
    """Of one series: the first step that each attempt has in any hot frame, and its rows in the range."""

    firsts: dict[int, int] = field(default_factory=dict)
    rows: dict[int, Rows] = field(default_factory=dict)


class _Piece(NamedTuple):
    frame: int
    attempt: int
    steps: bytes
    times: bytes
    values: bytes


def read_tails(connection: Connection, run_id: str, wanted: Sequence[int], low: int, high: int) -> Mapping[int, Tail]:
    """The hot rows of `low <= step < high` of the wanted series; a frame is read once, however many it has of them."""
    tails = {series: Tail() for series in wanted}
    pieces: dict[int, list[_Piece]] = {series: [] for series in wanted}
    last = last_step(high)
    for keyset, members in _keysets(connection, run_id, wanted).items():
        for attempt, first in connection.execute(_FIRSTS, (run_id, keyset)).fetchall():
            for series, _ in members:
                firsts = tails[series].firsts
                firsts[attempt] = min(first, firsts.get(attempt, first))
        if len(members) == 1:
            # The others' columns stay in the database.
            ((series, position),) = members
            for frame, attempt, _, *columns in connection.execute(_COLUMN, (position, run_id, keyset, low, last)):
                pieces[series].append(_Piece(frame, attempt, *columns))
            continue
        for frame, attempt, num_rows, steps, times, data in connection.execute(_FRAMES, (run_id, keyset, low, last)):
            size = num_rows * 8
            for series, position in members:
                values = data[position * size : (position + 1) * size]
                pieces[series].append(_Piece(frame, attempt, steps, times, values))
    for series, found in pieces.items():
        # A series that is in several key sets comes set after set.
        found.sort(key=lambda piece: piece.frame)
        tails[series].rows.update(_join(found))
    return tails


def _keysets(connection: Connection, run_id: str, wanted: Sequence[int]) -> Mapping[int, Sequence[tuple[int, int]]]:
    """Key sets with the wanted series that are in them, and the place of each."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for first in range(0, len(wanted), _MOST_NAMED):
        part = list(wanted[first : first + _MOST_NAMED])
        # Few different lengths, so that the engines keep the statements.
        part += part[-1:] * ((1 << (len(part) - 1).bit_length()) - len(part))
        names = ", ".join("?" * len(part))
        for series, keyset, position in connection.execute(
            f"SELECT series, keyset, position FROM keyset WHERE run_id = ? AND series IN ({names})", (run_id, *part)
        ).fetchall():
            found[keyset].append((series, position))
    return found


def _join(pieces: Sequence[_Piece]) -> dict[int, Rows]:
    """Rows per attempt; of equal steps the one that arrived last counts."""
    attempts: dict[int, list[_Piece]] = defaultdict(list)
    for piece in pieces:
        attempts[piece.attempt].append(piece)
    rows: dict[int, Rows] = {}
    for attempt, group in attempts.items():
        steps = np.frombuffer(b"".join([piece.steps for piece in group]), "<i8")
        times = np.frombuffer(b"".join([piece.times for piece in group]), "<i8")
        values = np.frombuffer(b"".join([piece.values for piece in group]), "<f8")
        rows[attempt] = Rows.join([Rows(steps, times, values)])
    return rows
