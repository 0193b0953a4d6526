import asyncio
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from fastapi import WebSocket
from recis_server.bus import Hint
from recis_server.errors import InvalidValue, NotFound
from recis_server.live import hub as module
from recis_server.live.hub import MAX_FOLLOWS, MAX_WATCHES
from recis_server.live.viewer import Viewer
from recis_server.live.watch import Watch
from recis_server.query import metrics
from recis_server.store.values import ChartRead, EventRow, StoredFrame

from recis.wire.messages import Frame
from tests.server.realserver import Parts, hello, parts, points, until


class Page(Viewer):
    """A viewer that keeps what it is given instead of sending it."""

    def __init__(self, server: Parts) -> None:
        super().__init__(cast("WebSocket", None), server.store, server.hub.reads)
        self.given: list[Any] = []
        self.woken = 0

    def push(self, thing: Any, message: Any) -> None:
        self.given.append(message)

    def wake(self) -> None:
        self.woken += 1


def watch(number: int = 1, run: str = "r1", key: str = "loss") -> Watch:
    return Watch(number, run, (key,), rank=0, start=None, stop=None, points=10)


def test_points_wake_only_those_who_watch_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            row = await server.store.register(hello(), 1)
            await server.store.register(hello("r2", "w2"), 1)
            loss, qps, other = Page(server), Page(server), Page(server)
            await server.hub.watch(loss, watch(key="loss"))
            await server.hub.watch(qps, watch(key="qps"))
            await server.hub.watch(other, watch(run="r2"))
            for page in (loss, qps, other):
                (one,) = page.watches.values()
                one.begin()
                one.snapshot(ChartRead(0, 1, ()))
                page.woken = 0
            await server.store.append(StoredFrame(row, Frame(n=1, records=(points([1], loss=[1.0], x=[2.0]),)), 1))
            assert [page.woken for page in (loss, qps, other)] == [1, 0, 0]
            server.hub.forget(loss)
            await server.store.append(StoredFrame(row, Frame(n=2, records=(points([2], loss=[1.0]),)), 1))
            assert loss.woken == 1

    asyncio.run(scenario())


def test_a_series_that_comes_among_different_names_is_one_in_order_of_steps(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            row = await server.store.register(hello(), 1)
            page = Page(server)
            await server.hub.watch(page, watch())
            (one,) = page.watches.values()
            one.begin()
            one.snapshot(ChartRead(0, 1, ()))
            often = points([1, 2, 4, 5], loss=[1.0, 2.0, 4.0, 5.0])
            seldom = points([3, 6], auc=[0.0, 0.0], loss=[3.0, 6.0])
            await server.store.append(StoredFrame(row, Frame(n=1, records=(often, seldom)), 1))
            assert not one.stale, "a chart that is read anew at every commit"
            message = one.delta()
            assert message is not None
            (x, *_, last, _, _) = np.frombuffer(message[-8 * 8 * 6 :], "<f8").reshape(8, 6).tolist()
            assert x == last == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
            # A step that is there twice is for the store to decide.
            again = points([8, 7], loss=[8.0, 7.0]), points([8], loss=[9.0], auc=[0.0])
            await server.store.append(StoredFrame(row, Frame(n=2, records=again), 1))
            assert one.stale

    asyncio.run(scenario())


def test_unknown_runs_are_not_found(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            page = Page(server)
            with pytest.raises(NotFound):
                await server.hub.follow(page, "r1")
            with pytest.raises(NotFound):
                await server.hub.watch(page, watch())
            server.hub.unfollow(page, "r1")
            server.hub.unwatch(page, 1)
            assert server.hub.num_watches == 0

    asyncio.run(scenario())


def test_one_browser_cannot_ask_for_more_than_the_limits(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            page = Page(server)
            await server.store.register(hello(), 1)
            for number in range(MAX_WATCHES):
                await server.hub.watch(page, watch(number))
            await server.hub.watch(page, watch(0, key="qps"))
            with pytest.raises(InvalidValue, match=str(MAX_WATCHES)):
                await server.hub.watch(page, watch(MAX_WATCHES))
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
            page = Page(server)
            await server.store.register(hello(), 1)
            await server.hub.close()
            await server.hub.open()
            await server.hub.follow(page, "r1")
            await until(lambda: sum(message["type"] == "run" for message in page.given) >= 3)

    asyncio.run(scenario())


def test_an_event_is_told_once_and_older_ones_not_at_all(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            await server.store.register(hello(), 1)
            for text in ("old", "older"):
                await server.store.add_event("r1", EventRow(0, "alert", "info", 1, None, None, text, {}))
            page = Page(server)
            await server.hub.follow(page, "r1")
            for text in ("new", "newer"):
                await server.store.add_event("r1", EventRow(0, "alert", "info", 1, None, None, text, {}))
                server.bus.publish(Hint("events", "r1"))
                server.bus.publish(Hint("events", "r1"))
            await until(lambda: sum(message["type"] == "event" for message in page.given) >= 2)
            texts = [message["event"]["text"] for message in page.given if message["type"] == "event"]
            assert texts == ["new", "newer"]

    asyncio.run(scenario())


def test_the_list_is_told_of_more_runs_than_are_read_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            lister, follower = Page(server), Page(server)
            names = [f"run{number:03d}" for number in range(module._RUNS_AT_ONCE + 20)]
            streams = [await server.store.register(hello(name, name), 1) for name in names]
            server.hub.follow_list(lister)
            await server.hub.follow(follower, names[0])
            await server.store.register(hello("gone", "gone"), 1)
            await server.store.delete_run("gone")
            server.bus.publish(Hint("run", "gone"))
            for stream in streams:
                await server.store.append(StoredFrame(stream, Frame(n=1, records=(points([7], loss=[0.5]),)), 1))

            def told(page: Page) -> set[str]:
                runs = [message["run"] for message in page.given if message["type"] == "run"]
                return {run["id"] for run in runs if run["last_step"] == 7 and run["summary"] == {"loss": 0.5}}

            await until(lambda: told(lister) == set(names))
            await until(lambda: told(follower) == {names[0]})

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
            page = Page(server)
            await server.hub.follow(page, "r1")
            told = [json.loads(text) for text in page.given if isinstance(text, str)]
            assert [message["type"] for message in told] == ["run", "metrics"]
            assert told[0]["run"]["summary"] == dict.fromkeys(sorted(names), "NaN")
            assert [one["key"] for one in told[1]["metrics"]] == list(names)
            assert told[1]["metrics"][0]["last_value"] == "NaN"
            page.given.clear()
            await server.store.append(StoredFrame(row, Frame(n=2, records=(points([2], other=[1.0]),)), 1))
            server.bus.publish(Hint("controls", "r1"))
            await until(lambda: any("controls" in message for message in page.given))
            kinds = [(json.loads(one) if isinstance(one, str) else one)["type"] for one in page.given]
            assert "metrics" not in kinds

    asyncio.run(scenario())
