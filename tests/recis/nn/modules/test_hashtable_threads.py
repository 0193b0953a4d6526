"""The table used from several threads: nothing is lost, torn or admitted twice, and locks survive copies and forks."""

import copy
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from recis.nn import FilterHook, HashTable
from recis.optim import SparseAdagrad


def in_threads(num: int, work: Callable[[int], None]) -> None:
    """Run `work` with the numbers from 0 on in parallel threads; raise the first error."""
    start = threading.Barrier(num)

    def run(number: int) -> None:
        start.wait()
        work(number)

    with ThreadPoolExecutor(num) as pool:
        for done in [pool.submit(run, number) for number in range(num)]:
            done.result()


def test_lookups_from_several_threads_admit_each_id_once() -> None:
    table = HashTable([4], block_size=8)
    batches = [torch.randint(0, 5_000, (20, 64), generator=torch.Generator().manual_seed(seed)) for seed in range(4)]

    def work(number: int) -> None:
        for ids in batches[number]:
            rows = table(ids)
            assert torch.equal(rows, table(ids))

    in_threads(4, work)
    known = torch.cat(batches).unique()  # type: ignore[no-untyped-call]
    assert sorted(table.ids().tolist()) == known.tolist()
    assert len(table) == len(table.ids())


def test_gradients_of_several_threads_are_all_counted_while_rows_come_and_go() -> None:
    table = HashTable([2], block_size=8, filter_hook=FilterHook("GlobalStepFilter", {"filter_step": 1}))
    kept = torch.arange(50)

    def work(number: int) -> None:
        for step in range(30):
            if number == 0:
                table.tick(step)
                table.run_filter(step)
            passing = torch.arange(1_000 * (number + 1) + 20 * step, 1_000 * (number + 1) + 20 * (step + 1))
            table(torch.cat((kept, passing))).sum().backward()

    in_threads(4, work)
    table(kept)
    pending = table.grad()
    assert pending is not None
    slots, grad = pending
    position = {slot: index for index, slot in enumerate(slots.tolist())}
    rows = [position[slot] for slot in table.slots(kept).tolist()]
    assert (grad[rows] == 4 * 30).all()


def test_an_optimizer_steps_while_other_threads_make_the_table_grow() -> None:
    table = HashTable([2], block_size=4, initializer=0.0)
    optimizer = SparseAdagrad({"table": table}, lr=1.0)
    kept = torch.arange(10)
    table(kept)

    def work(number: int) -> None:
        for step in range(15):
            if number == 0:
                before = table(kept).detach().clone()
                table(kept).sum().backward()
                optimizer.step()
                optimizer.zero_grad()
                assert (table(kept) < before).all()  # the update was not lost in a replaced column
            else:
                table(torch.arange(1_000 * number + 50 * step, 1_000 * number + 50 * (step + 1)))

    in_threads(3, work)


def test_a_copy_and_a_forked_child_have_locks_of_their_own() -> None:
    table = HashTable([2])
    table(torch.arange(5))
    twin = copy.deepcopy(table)
    assert twin.lock is not table.lock
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with table.lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold, name="holder")
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if len(table) == 5 else 1)
    assert os.waitpid(child, 0)[1] == 0
    done.set()
    thread.join()
