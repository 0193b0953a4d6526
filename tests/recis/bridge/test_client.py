"""The sender's event loop; what the sender does is tested with real servers in `tests/e2e` and `tests/faults`."""

import asyncio
import selectors
import socket

import pytest

from recis.bridge.client import MOST_SKIPPED, _make_loop


def test_a_loop_with_work_asks_the_kernel_seldom_and_still_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    select = selectors.DefaultSelector.select

    def counted(selector: selectors.DefaultSelector, timeout: float | None = None) -> object:
        nonlocal asked
        asked += 1
        return select(selector, timeout)

    monkeypatch.setattr(selectors.DefaultSelector, "select", counted)

    async def rounds_until_heard() -> int:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            heard = asyncio.create_task(reader.read(1))
            await asyncio.sleep(0.01)
            theirs.send(b"x")
            before, rounds = asked, 0
            while not heard.done():
                await asyncio.sleep(0)
                rounds += 1
            assert asked - before <= 2
            writer.close()
            return rounds

    with asyncio.Runner(loop_factory=_make_loop) as runner:
        assert runner.run(rounds_until_heard()) <= 2 * MOST_SKIPPED + 4


def test_timers_are_on_time_in_a_loop_that_has_work() -> None:
    async def fired() -> bool:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        due = loop.time() + 0.02
        loop.call_at(due, done.set_result, None)
        while not done.done():  # noqa: ASYNC110 - the work that the loop has
            await asyncio.sleep(0)
        return loop.time() >= due

    with asyncio.Runner(loop_factory=_make_loop) as runner:
        assert runner.run(fired())
