import copy
import os
import pickle
import threading
from collections.abc import Callable

import pytest

from recis.nn.modules.table_lock import TableLock, exclusive


class Table:
    def __init__(self) -> None:
        self.lock = TableLock()

    @exclusive
    def held_elsewhere(self) -> bool:
        """Return whether another thread has to wait for the lock."""
        got: list[bool] = []

        def attempt() -> None:
            with self.lock:
                got.append(True)

        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        thread.join(0.05)
        return not got


def test_a_method_holds_the_lock_and_may_call_another() -> None:
    table = Table()
    with table.lock:
        assert table.held_elsewhere()


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda lock: pickle.loads(pickle.dumps(lock))])
def test_a_copy_is_a_lock_of_its_own(make: Callable[[TableLock], TableLock]) -> None:
    lock = TableLock()
    with lock:
        assert make(lock) is not lock
        assert isinstance(make(lock), TableLock)


@pytest.mark.parametrize("holder", ["another thread", "the thread that forks"])
def test_a_forked_child_waits_for_no_thread_of_its_parent(holder: str) -> None:
    lock = TableLock()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            entered.set()
            leave.wait()

    if holder == "another thread":
        thread = threading.Thread(target=hold)
        thread.start()
        entered.wait()
        child = os.fork()
        if child == 0:
            with lock:
                os._exit(7)
        leave.set()
        thread.join()
    else:
        with lock:
            child = os.fork()
        if child == 0:
            with lock:
                os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
