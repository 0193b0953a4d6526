"""Rows of a few layouts into a mapped segment, by one thread, without a lock or a system call: a report's fast part.

Owns how a row is written so that it is there whole or not at all; must not know who else waits for the segment
(`lane`), nor what a segment is beside words. It is there twice: `_rows.c`, and the same in Python for where it could
not be compiled (docs/decisions/0011). Both are held to the same tests.
"""

from _thread import get_ident
from time import time_ns
from typing import Any

__all__ = ["MOST_LAYOUTS", "PlainRowWriter", "RowWriter"]

MOST_LAYOUTS = 32
"""What a training reports at one step and not at the next; of more than so many the one learned first is forgotten."""


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

    __slots__ = ("_layouts", "_reals", "_words", "busy", "limit", "owner", "position")

    def __init__(self) -> None:
        self.owner = 0
        self.busy = False
        self.position = (0, 0)
        self.limit = 0
        self._layouts: list[tuple[tuple[str, ...], int]] = []
        self._words: Any = None
        self._reals: Any = None

    def aim(self, words: "memoryview[int]", reals: "memoryview[float]") -> None:
        """Prepares rows of the calling thread, and forgets all layouts; to be called while there is no limit.

        Args:
            words: the segment as int64; it cannot be released before `leave`.
            reals: the same memory as float64.
        """
        self._layouts = []
        self._words, self._reals = words, reals
        self.owner = get_ident()

    def learn(self, keys: tuple[str, ...], head: int) -> None:
        """From now on rows of these names are written as well; to be called while there is no limit.

        Args:
            keys: the names, in the order of the values in a row; at most `segment.ROW_KEYS`. Known ones change nothing.
            head: first word of such a row.
        """
        if all(known != keys for known, _ in self._layouts):
            self._layouts = [*self._layouts[-MOST_LAYOUTS + 1 :], (keys, head)]

    def leave(self) -> None:
        """Lets go of the segment; nothing is written until the next `aim`."""
        self.limit = 0
        self._words = self._reals = None

    def write(self, metrics: Any, step: Any) -> bool:
        """Adds a row with the time of now, if the owner calls, has room and reports the names that rows are made for.

        No value but a float or an int is asked for its number: one on a device would wait for the device. Only a dict
        is asked for its names: asking a defaultdict for one that is not there would put it there.

        Returns:
            False where the report has to go another way; then nothing is left of it. Never raises.
        """
        if self.busy or self.owner != get_ident():
            return False
        written = False
        end = num_words = 0
        try:
            self.busy = True
            limit = self.limit  # before where it is: with a limit nobody is at it, and nobody comes while it is busy
            end, left = self.position
            if left > 0 and type(step) is int and type(metrics) is dict and end + len(metrics) + 3 <= limit:
                num_words = len(metrics) + 3
                written = self._fill(metrics, step)
        except Exception:  # noqa: BLE001, S110 - a number that is too large, say: see the other way
            pass
        finally:
            try:
                if not written and num_words and end == self.position[0]:
                    # Behind the last record there are only zeros: what is left could be read as a head.
                    for place in range(end, end + num_words):
                        self._words[place] = 0
            finally:
                self.busy = False
        return written

    def _fill(self, metrics: dict[str, Any], step: int) -> bool:
        """The row and the new position, where there is a layout for it."""
        words = self._words
        (end, left), num_values = self.position, len(metrics)
        for keys, head in self._layouts:
            # A dict of as many names that has all of ours has no other.
            if len(keys) == num_values and self._fill_values(metrics, keys, end + 2):
                words[end + 1] = step
                words[end + 2 + num_values] = time_ns()
                words[end] = head  # last: now it is there, also if the process is killed
                self.position = end + 3 + num_values, left - 1
                return True
        return False

    def _fill_values(self, metrics: dict[str, Any], keys: tuple[str, ...], start: int) -> bool:
        reals = self._reals
        for place, key in enumerate(keys, start):
            value = metrics.get(key)
            if type(value) is not float and type(value) is not int:
                return False
            reals[place] = value
        return True


RowWriter: Any
try:
    from recis.bridge._rows import RowWriter
except ImportError:
    RowWriter = PlainRowWriter
