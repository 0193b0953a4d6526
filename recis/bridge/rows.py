"""Rows of one layout into a mapped segment, by one thread, without a lock or a system call: the fast part of a report.

Owns how a row is written so that it is there whole or not at all; must not know who else waits for the segment
(`lane`), nor what a segment is beside words. It is there twice: `_rows.c`, and the same in Python for where it could
not be compiled (docs/decisions/0011). Both are held to the same tests.
"""

from _thread import get_ident
from time import time_ns
from typing import Any

__all__ = ["PlainRowWriter", "RowWriter"]


class PlainRowWriter:
    """Writes nothing until it has been aimed and has a limit.

    Attributes:
        owner: identity of the only thread that may write, 0 before the first `aim`.
        busy: the owner is writing a row. It also turns away whoever interrupts the owner on its own thread: a signal
            handler, or a finalizer that the garbage collector runs. The compiled writer cannot be interrupted.
        end: the word of the segment where the next row begins; the owner's as long as there is a limit.
        limit: no row may begin at this word or behind it; 0 keeps the owner out.
        width: values in a row.
    """

    __slots__ = ("_head", "_keys", "_reals", "_words", "busy", "end", "limit", "owner", "width")

    def __init__(self) -> None:
        self.owner = 0
        self.busy = False
        self.end = 0
        self.limit = 0
        self.width = 0
        self._head = 0
        self._keys: tuple[str, ...] = ()
        self._words: Any = None
        self._reals: Any = None

    def aim(self, keys: tuple[str, ...], head: int, words: "memoryview[int]", reals: "memoryview[float]") -> None:
        """Prepares rows of the calling thread; to be called while there is no limit.

        Args:
            keys: the names, in the order of the values in a row; at most `segment.ROW_KEYS`.
            head: first word of a row.
            words: the segment as int64; it cannot be released before `leave`.
            reals: the same memory as float64.
        """
        self._keys, self.width, self._head = keys, len(keys), head
        self._words, self._reals = words, reals
        self.owner = get_ident()

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
        at = end = 0
        try:
            self.busy = True
            limit = self.limit  # before `end`: with a limit nobody is at it, and nobody comes while it is busy
            at = end = self.end
            # A dict of as many names that has all of ours has no other.
            if end < limit and type(step) is int and type(metrics) is dict and len(metrics) == self.width:
                words = self._words
                reals = self._reals
                at += 1
                words[at] = step
                at += 1
                for key in self._keys:
                    value = metrics[key]
                    if type(value) is not float and type(value) is not int:
                        break
                    reals[at] = value
                    at += 1
                else:
                    words[at] = time_ns()
                    words[end] = self._head  # last: now it is there, also if the process is killed
                    self.end = at + 1
                    written = True
        except Exception:  # noqa: BLE001, S110 - other names, a number that is too large: see the other way
            pass
        finally:
            try:
                if not written and at != end == self.end:
                    # Behind the last record there are only zeros: what is left could be read as a head.
                    for place in range(end, at + 1):
                        self._words[place] = 0
            finally:
                self.busy = False
        return written


RowWriter: Any
try:
    from recis.bridge._rows import RowWriter
except ImportError:
    RowWriter = PlainRowWriter
