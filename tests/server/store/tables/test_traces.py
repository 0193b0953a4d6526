"""`recis_server.store.tables.traces`: rows of traces and what is known of their summaries, on every engine."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recis_server.store.sql import SqlStore
from recis_server.store.values import TraceRow

from tests.server.store.streams import greeting, opened, run

pytestmark = pytest.mark.usefixtures("every_engine")


def row(name: str = "t1", of_run: str = "r", **more: Any) -> TraceRow:
    """A trace that is ready."""
    ready = TraceRow(name, of_run, "a.json", 0, 1, 5, 10, name.ljust(64, "0"), "ready", 7, f"traces/{name}")
    return replace(ready, **more)


async def names(store: SqlStore, last_run: str = "", most_bytes: int | None = None, limit: int = 9) -> list[str]:
    return [one.id for one in await store.traces_to_summarise(last_run, most_bytes, limit)]


def test_a_row_comes_back_as_it_was_and_changes_as_a_whole(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await store.register(greeting(), 1)
            await store.put_trace(row())
            assert await store.trace("t1") == row()
            done = row(summary_state="ready", summary={"events": 1, "name": "é\ufffd"})
            assert await store.update_trace(done)
            assert await store.traces("r") == (done,)
            failed = row(summary_state="failed", summary_error="no trace")
            assert await store.update_trace(failed)
            assert await store.trace("t1") == failed
            await store.delete_trace(failed)
            assert await store.trace("t1") is None
            assert not await store.update_trace(done)
            assert await store.traces("r") == ()

    run(scenario)


def test_what_waits_for_a_summary_is_found_in_turns(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            for of_run in ("r1", "r2"):
                await store.register(greeting(of_run, f"w-{of_run}"), 1)
            await store.put_trace(row("a", "r1", created_ns=2))
            await store.put_trace(row("b", "r1", created_ns=1, size=1000))
            await store.put_trace(row("c", "r2"))
            await store.put_trace(row("d", "r2", state="uploading"))
            await store.put_trace(row("e", "r2", summary_state="failed", summary_error="no trace"))
            await store.put_trace(row("f", "r2", summary_state="ready", summary={}))
            assert await names(store) == ["b", "a", "c"]
            assert await names(store, "r1") == ["c", "b", "a"]
            assert await names(store, "r2") == ["b", "a", "c"]
            assert await names(store, most_bytes=999) == ["a", "c"]
            assert await names(store, limit=1) == ["b"]
            assert [one.id for one in await store.unfinished_traces()] == ["d"]

    run(scenario)


def test_a_trace_is_found_by_its_content_when_it_is_ready(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await store.register(greeting(), 1)
            await store.put_trace(row("a"))
            await store.put_trace(row("b", state="uploading"))
            sha = row("a").sha256
            assert await store.find_trace("r", 0, "a.json", sha) == row("a")
            for other in (("x", 0, "a.json", sha), ("r", 1, "a.json", sha), ("r", 0, "b.json", sha)):
                assert await store.find_trace(*other) is None
            assert await store.find_trace("r", 0, "a.json", row("b").sha256) is None

    run(scenario)


def test_the_number_of_an_attempt(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await store.register(greeting(attempt="first"), 1)
            await store.register(greeting(writer="w2", attempt="second"), 2)
            assert [await store.attempt("r", one) for one in ("first", "second", "third")] == [1, 2, None]
            assert await store.attempt("other", "first") is None

    run(scenario)


BAD = ['{"a": "\\ud800"}', '{"a": NaN}', '{"a": Infinity}', "[1]", "{", json.dumps({"a": "x" * 70_000})]


@pytest.mark.parametrize("text", BAD, ids=["surrogate", "NaN", "infinity", "list", "cut", "large"])
def test_a_stored_summary_that_cannot_be_shown_has_failed(tmp_path: Path, text: str) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await store.register(greeting(), 1)
            for name in ("bad", "good"):
                await store.put_trace(row(name, summary_state="ready", summary={"events": 1}))
            await store._writer.call(
                lambda db: db.execute("UPDATE trace SET summary = ? WHERE trace_id = 'bad'", (text,)).rowcount
            )
            bad, good = await store.traces("r")
            assert (bad.id, bad.summary, bad.summary_state) == ("bad", None, "failed")
            assert "expected a stored summary" in bad.summary_error
            assert good.summary == {"events": 1}

    run(scenario)
