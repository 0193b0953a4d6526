"""Deleted runs: hidden immediately, restorable within the grace period, then removed, also across a restart."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from recis_server.errors import NotFound, StoreUnavailable
from recis_server.store.tables.deletion import _RUN_COLUMNS
from recis_server.store.values import StreamRow

from recis.wire.messages import Hello
from tests.server.httpserver import Site, ask, site
from tests.server.realserver import until_async
from tests.server.routes.test_traces import fetch, with_trace

GREETING = Hello(run="r", writer="w-new", attempt="b")


async def filled(opened: Site, folder: Path) -> dict[str, Any]:
    """Create and return a run with records of every kind, and a trace with its file."""
    await opened.filled()
    await with_trace(opened, folder)
    await opened.app.state.store.update_run("r", name="mine", tags=["a"], notes="n" * 8000, archived=True)
    return await answer(opened)


async def answer(opened: Site) -> dict[str, Any]:
    found: dict[str, Any] = (await opened.client.get("/api/v1/runs/r")).json()
    return found


def test_a_run_is_gone_at_once_and_comes_back_whole(tmp_path: Path) -> None:
    async def scenario(opened: Site) -> None:
        before = await filled(opened, tmp_path)
        store = opened.app.state.store
        columns = await store._read(lambda db: [row[1] for row in db.execute("PRAGMA table_info(run)").fetchall()])
        assert set(columns) == set(_RUN_COLUMNS), "a column that a restored run would lose"
        for grace in (-1, 86_401):
            assert (await opened.client.delete(f"/api/v1/runs/r?grace={grace}")).status_code == 422
        said = (await opened.client.delete("/api/v1/runs/r?grace=600")).json()
        assert said.keys() == {"deleted", "restorable_until"}
        for path in ("", "/series?key=loss", "/events", "/traces", "/info"):
            assert (await opened.client.get(f"/api/v1/runs/r{path}")).status_code == 404
        assert (await fetch(opened)).status_code == 404
        assert (await opened.client.delete("/api/v1/runs/r?grace=600")).status_code == 404
        assert (await opened.client.get("/api/v1/runs?archived=any")).json()["runs"] == []
        with pytest.raises(StoreUnavailable, match="was deleted, which can be undone for a while; try again"):
            await store.register(GREETING, 1)
        back = (await opened.client.post("/api/v1/runs/r/restore")).json()
        assert back.pop("updated_at") >= before.pop("updated_at")
        assert back == before
        assert (await fetch(opened)).status_code == 200
        assert len((await opened.client.get("/api/v1/runs/r/events")).json()["events"]) == 1
        assert (await opened.client.post("/api/v1/runs/r/restore")).status_code == 404
        assert (await store.register(GREETING, 1)).attempt == 2

    ask(tmp_path / "data", scenario)


def test_what_is_due_is_removed_with_its_files_also_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with site(tmp_path / "data") as opened:
            await filled(opened, tmp_path)
            await opened.run("late")
            await opened.client.delete("/api/v1/runs/late?grace=86400")
            # As left by a server that ends before the grace period does.
            await opened.app.state.store.hide_run("r", time.time_ns() - 1)
        async with site(tmp_path / "data") as opened:
            store = opened.app.state.store

            async def registered() -> StreamRow | None:
                with contextlib.suppress(StoreUnavailable):
                    return await store.register(GREETING, 1)
                return None

            assert (await until_async(registered, 60)).attempt == 1
            assert [one.id for one in await store.hidden_runs()] == ["late"]
            assert await store.traces("r") == ()
            assert (await opened.client.post("/api/v1/runs/r/restore")).status_code == 404
            with pytest.raises(NotFound):
                await opened.app.state.blobs.size("traces/t1")
            assert (await opened.client.post("/api/v1/runs/late/restore")).status_code == 200

    asyncio.run(asyncio.wait_for(scenario(), 60))
