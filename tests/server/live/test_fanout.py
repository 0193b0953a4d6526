import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from recis_server.live import fanout as module
from recis_server.live.fanout import Fanout
from recis_server.live.viewer import Viewer

from tests.server.live.page import Browser
from tests.server.realserver import until


def run(scenario: Callable[[Fanout], Any], step: Callable[[str], list[list[Viewer]]] = lambda _: []) -> None:
    async def main() -> None:
        fanout = Fanout(step)
        await fanout.open()
        try:
            await scenario(fanout)
        finally:
            await fanout.close()
            await fanout.close()

    asyncio.run(main())


def test_one_round_has_everything_that_waits_for_a_browser() -> None:
    viewers: list[Viewer] = []

    def step(run: str) -> list[list[Viewer]]:
        if run == "bad":
            raise ValueError(run)
        return [viewers, []]

    async def scenario(fanout: Fanout) -> None:
        browser = Browser()
        viewers.append(Viewer(browser, fanout.mark))
        fanout.changed("bad")
        fanout.changed("r1")
        for number in range(5):
            viewers[0].push(number, {"n": number})
        await until(lambda: len(browser.texts) == 5)
        assert (browser.num_writes, fanout.num_flushes) == (1, 1)

    run(scenario, step)


def test_those_who_do_not_read_delay_nobody_and_get_it_when_they_read() -> None:
    async def scenario(fanout: Fanout) -> None:
        browsers = [Browser() for _ in range(40)]
        viewers = [Viewer(browser, fanout.mark) for browser in browsers]
        for browser in browsers[::2]:
            browser.is_reading = False
        for viewer in viewers:
            viewer.push("run", {})
        await until(lambda: all(browser.texts for browser in browsers[1::2]) and fanout.num_blocked == 20)
        viewers[0].leave()
        for browser in browsers:
            browser.is_reading = True
        await until(lambda: all(browser.texts for browser in browsers[2::2]) and not fanout.num_blocked)
        assert browsers[0].texts == []

    run(scenario)


def test_an_error_at_one_browser_is_not_that_of_others() -> None:
    async def scenario(fanout: Fanout) -> None:
        browsers = [Browser() for _ in range(3)]
        for place, browser in enumerate(browsers):
            viewer = Viewer(browser, fanout.mark)
            if place == 1:
                viewer.flush = lambda: 1 / 0  # type: ignore[assignment, method-assign, return-value]
            viewer.push("run", {})
        await until(lambda: browsers[0].texts and browsers[2].texts)

    run(scenario)


def test_sending_gives_way_to_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each slice, and for longer when the loop is busy."""
    monkeypatch.setattr(module, "SLICE_S", 0.0)
    rests: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        rests.append(seconds)
        end_s = time.thread_time() + (2 * module.BUSY_S if len(rests) == 1 else 0.0)
        while time.thread_time() < end_s:
            pass
        await real_sleep(0)

    async def scenario() -> None:
        fanout = Fanout(lambda _: [])
        browsers = [Browser() for _ in range(3)]
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "sleep", sleep)
            await fanout.send([Viewer(browser, fanout.mark) for browser in browsers])
        # One rest after each browser, and another one because the loop was busy during the first.
        assert len(rests) >= len(browsers) + 1
        assert module.BUSY_S < rests[1] <= module.MAX_REST_S

    asyncio.run(scenario())
