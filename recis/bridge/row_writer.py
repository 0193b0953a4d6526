"""Write reports of known names to a mapped segment, on one thread, without locks or system calls, for the fast path.

Owns how a row is written atomically; must not know which threads wait for the segment (`fast_path`), or that a segment
is more than words. There are two implementations: `_row_writer.c`, and one in Python for platforms where that was not
compiled (docs/decisions/0011). Both pass the same tests.
"""

from _thread import get_ident
from collections.abc import Callable
from operator import itemgetter
from struct import Struct
from sys import byteorder
from time import time_ns
from typing import Any, NamedTuple

from recis.bridge.records import PRIME, ROW_VALUES

__all__ = ["MOST_LAYOUTS", "PlainRowWriter", "RowWriter"]

MOST_LAYOUTS = 32
"""Most layouts that are remembered: a training may report different names at different steps. Beyond it, the layout
learned first is forgotten.
"""

FEW_VALUES = 64
"""Up to this many names, looking up each one is faster than first comparing their order."""
_PLAIN = frozenset({float, int})
_number = int.from_bytes


class _Row(NamedTuple):
    """One row of a report: its head without the checksum, its salt, and which of the report's values it holds."""

    head: int
    salt: int
    first: int
    stop: int
    pack: Callable[..., bytes]  # of step, values, time


class _ReportLayout(NamedTuple):
    keys: tuple[str, ...]
    words: int
    rows: list[_Row]
    values_of: Callable[[dict[str, Any]], tuple[Any, ...]]


class PlainRowWriter:
    """Writes nothing until it is aimed at a segment, has learned a layout and has a limit.

    Attributes:
        owner: identity of the only thread that may write, 0 before the first `aim`.
        busy: the owner is writing a report. It also refuses code that interrupts the owner on its own thread: a signal
            handler, or a finalizer run by the garbage collector. The compiled writer cannot be interrupted.
        position: the word of the segment where the next row begins, how many reports may still be written, and how many
            values have been; owned by the owner as long as there is a limit. They are one value because an exception
            from a signal handler may occur between two assignments.
        limit: no row may take this word or a later one; 0 keeps the owner out.
    """

    __slots__ = ("_bytes", "_layouts", "_words", "busy", "limit", "owner", "position")

    def __init__(self) -> None:
        self.owner = 0
        self.busy = False
        self.position = (0, 0, 0)
        self.limit = 0
        self._layouts: list[_ReportLayout] = []
        self._words: Any = None
        self._bytes: Any = None

    def aim(self, words: "memoryview[int]") -> None:
        """Prepare for reports of the calling thread, and forget all layouts. Call it while there is no limit.

        Args:
            words: the segment as int64; it cannot be released before `leave`.
        """
        self._layouts = []
        self._words, self._bytes = words, words.cast("B")
        self.owner = get_ident()

    def learn(self, keys: tuple[str, ...], rows: tuple[tuple[int, int], ...]) -> None:
        """Learn a layout: write reports of these names as well from now on. Call it while there is no limit.

        Args:
            keys: the names, in the order of the values in the rows. Known ones change nothing.
            rows: for every `ROW_VALUES` of the names a row: its head word without checksum, see `records`, and a number
                of at most 32 bits that is added to its checksum.
        """
        if all(layout.keys != keys for layout in self._layouts):
            made = []
            for place, (head, salt) in enumerate(rows):
                first, stop = ROW_VALUES * place, min(ROW_VALUES * (place + 1), len(keys))
                made.append(_Row(head, salt, first, stop, Struct(f"=q{stop - first}dq").pack))
            layout = _ReportLayout(keys, len(keys) + 3 * len(rows), made, _getter(keys))
            self._layouts = [*self._layouts[-MOST_LAYOUTS + 1 :], layout]

    def leave(self) -> None:
        """Release the segment; nothing is written until the next `aim`."""
        self.limit = 0
        self._words = self._bytes = None

    def write(self, metrics: Any, step: Any) -> bool:
        """Add the rows of a report, with the current time, if the owner calls, there is room and the names are known.

        Only floats and ints are converted: reading a value on a device would wait for the device. Only a plain dict is
        read: looking up a missing name in a defaultdict would add it.

        Returns:
            False if the report has to take the slow path; nothing of it has been written then. Never raises.
        """
        if self.busy or self.owner != get_ident():
            return False
        words = 0
        try:
            self.busy = True
            limit = self.limit  # before `position`, which others set only at a limit of 0 and while this is not busy
            end, left, num_values = self.position
            if left > 0 and type(step) is int and type(metrics) is dict and end + len(metrics) + 3 <= limit:
                rows, size, values = self._find(metrics)
                if end + size <= limit:
                    now = time_ns()
                    if len(rows) > 1:
                        packed = [pack(step, *values[first:stop], now) for _, _, first, stop, pack in rows]
                        words = size
                        self._put(end, rows, packed)
                    else:
                        [(head, salt, _, _, pack)] = rows
                        row = pack(step, *values, now)
                        words = size
                        self._bytes[8 * end + 8 : 8 * (end + size)] = row
                        # The head comes last: from here on the row survives a kill.
                        self._words[end] = head + (_number(row, byteorder) + salt + end) % PRIME
                    self.position = end + size, left - 1, num_values + len(values)
                    return True
        except Exception:  # noqa: BLE001 - other names, or too large a number: the caller takes the slow path
            return bool(words) and not self._erase(end, words)  # a signal handler may raise behind the last row
        except BaseException:  # raised by a signal handler
            if words:
                self._erase(end, words)
            raise
        finally:
            self.busy = False
        return False

    def _put(self, place: int, rows: list[_Row], packed: list[bytes]) -> None:
        """Write several rows. All were packed before the first is written, because a number may be too large."""
        for (head, salt, _, _, _), row in zip(rows, packed, strict=True):
            start, stop = 8 * place + 8, 8 * place + 8 + len(row)
            self._bytes[start:stop] = row
            self._words[place] = head + (_number(row, byteorder) + salt + place) % PRIME
            place = stop // 8

    def _erase(self, end: int, words: int) -> bool:
        """Restore the zeros after the last record and return True, unless the report already counts as written."""
        if end != self.position[0]:
            return False
        self._bytes[8 * end : 8 * (end + words)] = bytes(8 * words)
        return True

    def _find(self, metrics: dict[str, Any]) -> tuple[list[_Row], int, tuple[Any, ...]]:
        """Return the rows of the layout with these names, their words, and the values in its order.

        Raises:
            LookupError: there is no such layout, or not all values are float or int.
        """
        num_names = len(metrics)
        for keys, words, rows, values_of in self._layouts:
            if len(keys) == num_names:
                try:
                    # A dict of this length with all of the names has no other.
                    values = values_of(metrics)
                except KeyError:
                    continue
                if _PLAIN.issuperset(map(type, values)):
                    return rows, words, values
        raise LookupError


def _getter(keys: tuple[str, ...]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """Return a function of a dict that returns the values of `keys`, or raises `KeyError`."""
    # With a single name `itemgetter` returns the value, not a tuple.
    look_up = itemgetter(*keys) if len(keys) > 1 else lambda metrics: (metrics[keys[0]],)
    if len(keys) <= FEW_VALUES:
        return look_up
    return lambda metrics: tuple(metrics.values()) if tuple(metrics) == keys else look_up(metrics)


RowWriter: Any
try:
    from recis.bridge._row_writer import RowWriter
except ImportError:
    RowWriter = PlainRowWriter
