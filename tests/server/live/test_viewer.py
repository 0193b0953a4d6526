import asyncio
from typing import Any

import pytest
from recis_server.errors import InvalidValue, NotFound
from recis_server.live import viewer as module
from recis_server.live.messages import text_message
from recis_server.live.viewer import Viewer

from tests.server.live.page import Browser
from tests.server.realserver import until


class Source:
    """Something that is collected, numbered by its messages."""

    def __init__(self) -> None:
        self.frames: list[bytes] | None = None

    @property
    def number(self) -> int:
        return -1 if self.frames is None else len(self.frames)

    def collect(self, seen: int | None, watch_id: int) -> tuple[list[bytes], int] | None:
        return None if self.frames is None else (self.frames[seen or 0 :], len(self.frames))


def made(**options: Any) -> tuple[Viewer, Browser, list[Viewer]]:
    browser = Browser()
    marked: list[Viewer] = []
    return Viewer(browser, marked.append, **options), browser, marked


def test_what_waits_about_one_thing_is_merged_into_the_newest() -> None:
    viewer, browser, marked = made()
    browser.is_reading = False
    assert viewer.flush() is False
    for n in range(1000):
        viewer.push("run", {"n": n})
        if n == 0:
            viewer.push("other", text_message('{"already":"text"}'))
    viewer.push_each({"each": 1})
    viewer.push_each({"each": 2})
    assert marked
    assert viewer.flush() is False
    browser.is_reading = True
    assert viewer.flush() is True
    assert browser.texts == [{"already": "text"}, {"n": 999}, {"each": 1}, {"each": 2}]
    assert browser.num_writes == 1


def test_every_error_is_told() -> None:
    viewer, browser, _ = made()
    viewer.push_error(NotFound("one"))
    viewer.push_error(NotFound("two"), watch_id=3)
    viewer.flush()
    assert browser.texts[0] == {"type": "error", "error": {"code": "not_found", "message": "one", "field": None}}
    assert browser.texts[1]["id"] == 3


def test_all_sources_are_collected_into_few_writes_and_only_what_is_new() -> None:
    viewer, browser, _ = made()
    sources = [Source() for _ in range(12)]
    for place, source in enumerate(sources):
        viewer.subscribe(place, source)
    viewer.flush()
    assert viewer.is_waiting_for(3)
    for place, source in enumerate(sources):
        source.frames = [text_message({"source": place})]
    viewer.flush()
    viewer.flush()
    assert [message["source"] for message in browser.texts] == list(range(12))
    assert browser.num_writes == 1
    assert not viewer.is_waiting_for(3)
    assert viewer.unsubscribe(3) is sources[3]
    assert viewer.unsubscribe(3) is None
    assert len(viewer.watch_ids()) == 11


def test_no_more_is_written_than_the_client_reads() -> None:
    viewer, browser, _ = made()
    large = text_message({"text": "x" * 100_000})
    for place in range(3):
        source = Source()
        source.frames = [large]
        viewer.subscribe(place, source)
    is_ready = iter([True, False, True, True, True])
    browser.is_ready = lambda: next(is_ready)  # type: ignore[method-assign]
    assert viewer.flush() is False
    assert len(browser.texts) == 1
    assert viewer.flush() is True
    assert len(browser.texts) == 3


def test_a_browser_that_does_not_read_is_ended() -> None:
    viewer, browser, _ = made(stall_s=0.0)
    viewer.push("run", {})
    browser.is_reading = False
    assert viewer.flush() is False
    assert viewer.flush() is True, "nothing waits any more"
    assert "nothing was read" in asyncio.run(viewer.end())
    viewer.push("run", {})
    browser.is_reading = True
    viewer.flush()
    assert browser.texts == []


def test_a_browser_with_more_waiting_than_is_kept_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 50)
    viewer, _, _ = made()
    for n in range(51):
        viewer.push(("event", n), {"n": n})
    assert "more than 50" in asyncio.run(viewer.end())


def test_a_browser_is_read_no_faster_than_it_takes_its_answers() -> None:
    async def scenario() -> None:
        viewer, browser, _ = made()
        browser.is_reading = False
        taken = 0

        async def read() -> None:
            nonlocal taken
            while True:
                await viewer.take_request()
                taken += 1
                viewer.push_error(InvalidValue("$", "no"))

        reading = asyncio.create_task(read())
        await until(lambda: taken == module.MAX_REQUESTS)
        for _ in range(100):
            viewer.flush()
            await asyncio.sleep(0)
        assert taken == module.MAX_REQUESTS
        browser.is_reading = True
        viewer.subscribe(1, source := Source())
        viewer.flush()
        await asyncio.sleep(0)
        assert taken == module.MAX_REQUESTS, "a snapshot is still to come"
        source.frames = []
        viewer.flush()
        await until(lambda: taken > module.MAX_REQUESTS)
        reading.cancel()

    asyncio.run(scenario())
