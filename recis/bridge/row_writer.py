"""Rows of a few layouts into a mapped segment, by one thread, without a lock or a system call: a report's fast part.

Owns how a row is written so that it is there whole or not at all; must not know who else waits for the segment
(`fast_path`), nor what a segment is beside words. It exists twice: `_row_writer.c`, and the same in Python for where
that could not be compiled (docs/decisions/0011). Both pass the same tests.
"""

from _thread import get_ident
from collections.abc import Callable
from operator import itemgetter
from struct import Struct
from sys import byteorder
from time import time_ns
from typing import Any, NamedTuple

from recis.bridge.records import PRIME

__all__ = ["MOST_LAYOUTS", "MOST_VALUES", "PlainRowWriter", "RowWriter"]

MOST_VALUES = 61
"""Most values in a row; wider ones are written by `Segment.append_row`."""
MOST_LAYOUTS = 32
"""What a training reports at one step and not at the next; of more than so many the one learned first is forgotten."""


_PLAIN = frozenset({float, int})
_number = int.from_bytes


class _Layout(NamedTuple):
    keys: tuple[str, ...]
    head: int
    salt: int
    values_of: Callable[[dict[str, Any]], tuple[Any, ...]]
    pack: Callable[..., bytes]  # of step, values, time


class PlainRowWriter:
    """Writes nothing until it has been aimed, has learned a layout and has a limit.

    Attributes:
        owner: identity of the only thread that may write, 0 before the first `aim`.
        busy: the owner is writing a row. It also turns away whoever interrupts the owner on its own thread: a signal
            handler, or a finalizer that the garbage collector runs. The compiled writer cannot be interrupted.
        position: the word of the segment where the next row begins, and how many rows may still be written; the owner's
            as long as there is a limit. One value, as an exception from outside may come between any two.
        limit: no row may take this word or one behind it; 0 keeps the owner out.
    """

    __slots__ = ("_bytes", "_layouts", "_words", "busy", "limit", "owner", "position")

    def __init__(self) -> None:
        self.owner = 0
        self.busy = False
        self.position = (0, 0)
        self.limit = 0
        self._layouts: list[_Layout] = []
        self._words: Any = None
        self._bytes: Any = None

    def aim(self, words: "memoryview[int]") -> None:
        """Prepares rows of the calling thread, and forgets all layouts; to be called while there is no limit.

        Args:
            words: the segment as int64; it cannot be released before `leave`.
        """
        self._layouts = []
        self._words, self._bytes = words, words.cast("B")
        self.owner = get_ident()

    def learn(self, keys: tuple[str, ...], head: int, salt: int) -> None:
        """From now on rows of these names are written as well; to be called while there is no limit.

        Args:
            keys: the names, in the order of the values in a row; at most `MOST_VALUES`. Known ones change nothing.
            head: head word of such a row without its checksum, see `records`.
            salt: added to the checksum of such a row; at most 32 bits.
        """
        if all(layout.keys != keys for layout in self._layouts):
            # With a single name `itemgetter` returns the value, not a tuple.
            values_of = itemgetter(*keys) if len(keys) > 1 else lambda metrics: tuple(metrics[key] for key in keys)
            layout = _Layout(keys, head, salt, values_of, Struct(f"=q{len(keys)}dq").pack)
            self._layouts = [*self._layouts[-MOST_LAYOUTS + 1 :], layout]

    def leave(self) -> None:
        """Lets go of the segment; nothing is written until the next `aim`."""
        self.limit = 0
        self._words = self._bytes = None

    def write(self, metrics: Any, step: Any) -> bool:
        """Adds a row with the time of now, if the owner calls, has room and reports the names that rows are made for.

        No value but a float or an int is asked for its number: one on a device would wait for the device. Only a dict
        is asked for its names: asking a defaultdict for one that is not there would put it there.

        Returns:
            False where the report has to go another way; then nothing is left of it. Never raises.
        """
        if self.busy or self.owner != get_ident():
            return False
        row = b""
        try:
            self.busy = True
            limit = self.limit  # before where it is: with a limit nobody is at it, and nobody comes while it is busy
            end, left = self.position
            if left > 0 and type(step) is int and type(metrics) is dict and end + len(metrics) + 3 <= limit:
                head, salt, pack, values = self._find(metrics)
                row = pack(step, *values, time_ns())
                start, stop = 8 * end + 8, 8 * end + 8 + len(row)
                self._bytes[start:stop] = row
                # The head comes last: from here on the row survives a kill.
                self._words[end] = head + (_number(row, byteorder) + salt + end) % PRIME
                self.position = stop // 8, left - 1
                return True
        except Exception:  # noqa: BLE001 - other names, or too large a number: the caller takes the slow path
            return False
        except BaseException:  # raised by a signal handler
            if row and end == self.position[0]:
                # After the last record there are only zeros.
                self._bytes[8 * end : 8 * end + 8 + len(row)] = bytes(8 + len(row))
            raise
        finally:
            self.busy = False
        return False

    def _find(self, metrics: dict[str, Any]) -> tuple[int, int, Callable[..., bytes], tuple[Any, ...]]:
        """Return head, salt and `pack` of the layout with these names, and the values in its order.

        Raises:
            LookupError: there is no such layout, or not all values are float or int.
        """
        for keys, head, salt, values_of, pack in self._layouts:
            if len(keys) == len(metrics):
                try:
                    values = values_of(metrics)  # a dict of this length with all of the names has no other
                except KeyError:
                    continue
                if _PLAIN.issuperset(map(type, values)):
                    return head, salt, pack, values
        raise LookupError


RowWriter: Any
try:
    from recis.bridge._row_writer import RowWriter
except ImportError:
    RowWriter = PlainRowWriter
