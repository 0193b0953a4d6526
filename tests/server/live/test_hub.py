import asyncio
from pathlib import Path

import pytest
from recis_server.bus import Hint
from recis_server.errors import InvalidValue, NotFound
from recis_server.live import hub as module
from recis_server.live.chart import View
from recis_server.live.hub import MAX_FOLLOWS, MAX_WATCHES
from recis_server.query import metrics
from recis_server.store.values import EventRow, MetricRow, StoredFrame

from recis.wire.messages import Frame
from tests.server.live.page import Browser
from tests.server.realserver import hello, parts, points, until


def watch(run: str = "r1", key: str = "loss") -> View:
    return View(run, (key,), 0, None, None, 10)


def test_unknown_runs_are_not_found(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            browser = Browser()
            page = server.hub.viewer(browser)
            with pytest.raises(NotFound):
                await server.hub.follow(page, "r1")
            with pytest.raises(NotFound):
                await server.hub.watch(page, 1, watch())
            server.hub.unfollow(page, "r1")
            server.hub.unwatch(page, 1)
            assert server.hub.channels.num_watches == 0

    asyncio.run(scenario())


def test_one_browser_cannot_ask_for_more_than_the_limits(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            browser = Browser()
            page = server.hub.viewer(browser)
            await server.store.register(hello(), 1)
            for number in range(MAX_WATCHES):
                await server.hub.watch(page, number, watch())
            await server.hub.watch(page, 0, watch(key="qps"))
            with pytest.raises(InvalidValue, match=str(MAX_WATCHES)):
                await server.hub.watch(page, MAX_WATCHES, watch())
            for number in range(MAX_FOLLOWS + 1):
                await server.store.register(hello(f"run{number}", f"w{number}"), 1)
            for number in range(MAX_FOLLOWS):
                await server.hub.follow(page, f"run{number}")
            with pytest.raises(InvalidValue, match=str(MAX_FOLLOWS)):
                await server.hub.follow(page, f"run{MAX_FOLLOWS}")

    asyncio.run(scenario())


def test_silence_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.05)

    async def scenario() -> None:
        async with parts(tmp_path) as server:
            browser = Browser()
            page = server.hub.viewer(browser)
            await server.store.register(hello(), 1)
            await server.hub.close()
            await server.hub.open()
            await server.hub.follow(page, "r1")
            await until(lambda: len(browser.of("run")) >= 3)

    asyncio.run(scenario())


def test_an_event_is_told_once_and_older_ones_not_at_all(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            await server.store.register(hello(), 1)
            for text in ("old", "older"):
                await server.store.add_event("r1", EventRow(0, "alert", "info", 1, None, None, text, {}))
            browser = Browser()
            page = server.hub.viewer(browser)
            await server.hub.follow(page, "r1")
            for text in ("new", "newer"):
                await server.store.add_event("r1", EventRow(0, "alert", "info", 1, None, None, text, {}))
                server.bus.publish(Hint("events", "r1"))
                server.bus.publish(Hint("events", "r1"))
            await until(lambda: len(browser.of("event")) >= 2)
            texts = [message["event"]["text"] for message in browser.of("event")]
            assert texts == ["new", "newer"]

    asyncio.run(scenario())


def test_many_who_follow_at_once_are_told_what_was_read_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            stream = await server.store.register(hello(), 1)
            await server.store.append(StoredFrame(stream, Frame(n=1, records=(points([7], loss=[0.5]),)), 1))
            num_reads = 0
            read = server.store.metrics

            async def counted(run: str) -> tuple[MetricRow, ...]:
                nonlocal num_reads
                num_reads += 1
                return await read(run)

            monkeypatch.setattr(server.store, "metrics", counted)
            browsers = [Browser() for _ in range(50)]
            viewers = [server.hub.viewer(browser) for browser in browsers]
            await asyncio.gather(*(server.hub.follow(viewer, "r1") for viewer in viewers))
            await until(lambda: all(browser.of("controls") for browser in browsers))
            assert num_reads == 1
            for browser in browsers:
                assert browser.of("run")[-1]["run"]["last_step"] == 7
                assert [one["key"] for one in browser.of("metrics")[-1]["metrics"]] == ["loss"]
            # Afterwards all of them are told of changes, and one who comes later of what is then.
            await server.store.append(StoredFrame(stream, Frame(n=2, records=(points([8], auc=[0.5]),)), 1))
            await until(lambda: all(len(browser.of("metrics")[-1]["metrics"]) == 2 for browser in browsers))
            assert num_reads == 2
            monkeypatch.setattr(module, "RECENT_S", 0.0)
            late = Browser()
            await server.hub.follow(server.hub.viewer(late), "r1")
            await until(lambda: late.of("metrics"))
            assert num_reads == 3

    asyncio.run(scenario())


def test_very_many_names_are_told_as_text_and_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMES_AT_ONCE", 10)
    monkeypatch.setattr(metrics, "NAMES_AT_ONCE", 10)
    monkeypatch.setattr(module, "NAME_PACE_S", 3600.0)

    async def scenario() -> None:
        async with parts(tmp_path) as server:
            row = await server.store.register(hello(), 1)
            names = {f"layer/{number}": [float("nan")] for number in range(25)}
            await server.store.append(StoredFrame(row, Frame(n=1, records=(points([1], **names),)), 1))
            browser = Browser()
            page = server.hub.viewer(browser)
            await server.hub.follow(page, "r1")
            await until(lambda: browser.of("metrics") and browser.of("run"))
            assert browser.of("run")[0]["run"]["summary"] == dict.fromkeys(sorted(names), "NaN")
            metrics_told = browser.of("metrics")[0]["metrics"]
            assert [one["key"] for one in metrics_told] == list(names)
            assert metrics_told[0]["last_value"] == "NaN"
            browser.texts.clear()
            await server.store.append(StoredFrame(row, Frame(n=2, records=(points([2], other=[1.0]),)), 1))
            server.bus.publish(Hint("controls", "r1"))
            await until(lambda: browser.of("controls"))
            assert not browser.of("metrics")

    asyncio.run(scenario())
