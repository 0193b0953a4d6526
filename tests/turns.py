"""Schedule the tests of a session's workers: as many run at the same time as keep the cores busy.

A test marked `alone` measures time: it waits until no other is running, and others wait for its end. A test marked
`waits` runs at any other time. Of all others, as many run as there are places. Waiting for a turn does not count
towards a timeout.
"""

import fcntl
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

__all__ = ["Turns", "is_alone"]


def is_alone(item: pytest.Item) -> bool:
    """Return whether nothing may run at the same time as this test."""
    return item.get_closest_marker("alone") is not None


class Turns:
    """A plugin of one worker that shares locks with the other workers.

    Args:
        folder: folder of the locks, the same for all workers.
        num_places: how many tests may run that neither wait nor run alone.
    """

    def __init__(self, folder: Path, num_places: int) -> None:
        self._turnstile = folder / "turnstile.lock"
        self._room = folder / "room.lock"
        self._places = [folder / f"place-{number}.lock" for number in range(num_places)]
        self._alone = ExitStack()
        self._is_alone = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Run a test when it may run; consecutive tests marked `alone` share one exclusive period."""
        if not is_alone(item):
            with self._entered(fcntl.LOCK_SH), self._place(item):
                return (yield)
        if not self._is_alone:
            self._alone.enter_context(self._entered(fcntl.LOCK_EX))
            self._is_alone = True
        try:
            return (yield)
        finally:
            if nextitem is None or not is_alone(nextitem):
                self._alone.close()
                self._is_alone = False

    @contextmanager
    def _place(self, item: pytest.Item) -> Iterator[None]:
        if item.get_closest_marker("waits") is not None:
            yield
            return
        while True:
            for path in self._places:
                with path.open("ab") as place:
                    try:
                        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue
                    yield
                    return
            time.sleep(0.01)  # there is no lock on any one of several files

    @contextmanager
    def _entered(self, how: int) -> Iterator[None]:
        with self._room.open("ab") as room:  # closing a file releases its lock, as does the end of the process
            # A worker that waits for the others to finish keeps the turnstile locked, so that no further test starts
            # meanwhile.
            with self._turnstile.open("ab") as turnstile:
                fcntl.flock(turnstile, fcntl.LOCK_EX)
                fcntl.flock(room, how)
            yield
