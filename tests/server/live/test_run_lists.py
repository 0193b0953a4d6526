import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from recis_server.bus import Hint
from recis_server.errors import InvalidValue
from recis_server.live import run_lists as module
from recis_server.query.runlist import RunList, View, Wanted
from recis_server.store.values import StoredFrame

from recis.wire.messages import Frame
from tests.server.live.page import Browser
from tests.server.realserver import Parts, hello, parts, points, until

SMALL = View(("last_step", "state", "summary"), ("loss",))


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIST_PACE_S", 0.02)


def runs_of(browser: Browser) -> dict[str, Any]:
    """The runs as the browser knows them after all messages."""
    return {run["id"]: run for message in browser.of("runs") for run in message["runs"]}


async def listed(server: Parts, view: View) -> dict[str, Any]:
    body = await RunList(server.store, server.presence).page(Wanted(limit=1000), view)
    return {run["id"]: run for run in json.loads(body)["runs"]}


def test_what_changed_is_one_message_encoded_once_for_all_who_see_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            hub = server.hub
            names = [f"run{number:03d}" for number in range(module._RUNS_AT_ONCE + 20)]
            streams = [await server.store.register(hello(name, name), 1) for name in names]
            browsers = [Browser() for _ in range(12)]
            viewers = [hub.viewer(browser) for browser in browsers]
            for viewer in viewers[:10]:
                hub.follow_list(viewer, SMALL)
            hub.follow_list(viewers[10])
            hub.follow_list(viewers[11], SMALL)
            hub.unfollow_list(viewers[11])
            assert len(hub.lists) == 11
            frame = Frame(n=1, records=(points([7], loss=[0.5], secret=[float("nan")]),))
            await asyncio.gather(*(server.store.append(StoredFrame(stream, frame, 1)) for stream in streams))
            await until(lambda: all(len(runs_of(browser)) == len(names) for browser in browsers[:11]))
            assert runs_of(browsers[0]) == await listed(server, SMALL)
            assert runs_of(browsers[10]) == await listed(server, module.DEFAULT_VIEW)
            assert runs_of(browsers[0])["run000"] == {
                "id": "run000", "last_step": 7, "state": "disconnected", "summary": {"loss": 0.5},
            }  # fmt: skip
            sent = [len(browser.of("runs")) for browser in browsers]
            assert max(sent[:10]) <= hub.lists.num_messages <= 2 * max(sent)
            assert sent[11] == 0
            for viewer in viewers:
                hub.forget(viewer)
            assert len(hub.lists) == 0
            with pytest.raises(InvalidValue, match="expected some of"):
                hub.follow_list(viewers[0], View(("nonsense",), None))

    asyncio.run(scenario())


def test_one_who_was_not_reading_gets_every_run_that_changed_and_none_that_was_deleted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            streams = [await server.store.register(hello(name, name), 1) for name in ("a", "b", "c")]
            reads, stalls = Browser(), Browser()
            for browser in (reads, stalls):
                server.hub.follow_list(server.hub.viewer(browser), SMALL)
            await asyncio.sleep(0)
            stalls.is_reading = False
            for step, stream in enumerate(streams):
                frame = Frame(n=1, records=(points([step], loss=[float(step)]),))
                await server.store.append(StoredFrame(stream, frame, 1))
                await until(lambda stream=stream: stream.run in runs_of(reads))  # type: ignore[misc]
            assert len(reads.of("runs")) == 3
            await server.store.delete_run("b")
            server.bus.publish(Hint("deleted", "b"))
            await until(lambda: reads.of("deleted") == [{"type": "deleted", "run": "b"}])
            stalls.is_reading = True
            await until(lambda: stalls.of("runs"))
            (message,) = stalls.of("runs")
            assert [run["id"] for run in message["runs"]] == ["a", "c"]
            assert stalls.of("deleted")

    asyncio.run(scenario())


def test_entries_that_nobody_can_miss_any_more_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    one = module._List()
    assert one.collect(None, 0) == ([], 0)
    for number in range(10):
        one.put({f"r{number}": b'{"id":"r%d"}' % number, "live": b'{"id":"live"}'})
    assert sorted(one._entries) == ["live", "r7", "r8", "r9"]
    found = one.collect(8, 0)
    assert found is not None
    ((frame,), seen) = found
    assert seen == 10
    assert frame.endswith(b'{"type":"runs","runs":[{"id":"r8"},{"id":"r9"},{"id":"live"}]}')
    assert one.collect(8, 0) == found
    assert one.collect(10, 0) == ([], 10)


def test_lists_of_very_many_values_are_sent_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VALUE_PACE_S", 0.02)
    rests: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        rests.append(seconds)
        await real_sleep(seconds)

    async def scenario() -> None:
        async with parts(tmp_path) as server:
            stream = await server.store.register(hello(), 1)
            browser = Browser()
            server.hub.follow_list(server.hub.viewer(browser))
            monkeypatch.setattr(asyncio, "sleep", sleep)
            values = {f"layer/{number}": [0.5] for number in range(10)}
            await server.store.append(StoredFrame(stream, Frame(n=1, records=(points([1], **values),)), 1))
            await until(lambda: browser.of("runs"))
            assert 10 * 0.02 in rests

    asyncio.run(scenario())
