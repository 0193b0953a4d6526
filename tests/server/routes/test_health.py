import asyncio
import threading
from pathlib import Path

import pytest
from recis_server.store import probe

from tests.server.httpserver import Site, ask


def test_alive_ready_and_counted(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        assert (await site.client.get("/healthz")).json() == {"status": "ok"}
        assert (await site.client.get("/readyz")).json() == {"status": "ok"}
        text = (await site.client.get("/metrics")).text
        assert "recis_points_total 6.0" in text
        assert "recis_frames_total 1.0" in text
        assert "recis_commit_seconds_count 1.0" in text
        assert "recis_connected_ranks 0.0" in text

    ask(tmp_path, scenario)


def test_a_store_that_is_gone_is_not_ready_and_no_answer_tells_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "SAME_S", 0.0)
    data = tmp_path / "data"

    async def scenario(site: Site) -> None:
        await site.filled()
        assert (await site.client.get("/readyz")).status_code == 200
        data.rename(tmp_path / "away")
        for path in ("/readyz", "/api/v1/runs", "/api/v1/runs/r", "/api/v1/runs/r/series?key=loss"):
            answer = await site.client.get(path)
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "unavailable"
            assert str(tmp_path) not in answer.text
        (tmp_path / "away").rename(data)
        assert (await site.client.get("/readyz")).status_code == 200

    ask(data, scenario)


def test_a_store_that_says_nothing_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "ANSWER_S", 0.1)

    async def scenario(site: Site) -> None:
        ended = threading.Event()
        held = asyncio.create_task(site.app.state.store._writer.call(lambda _: ended.wait(30)))
        await asyncio.sleep(0)
        answer = await site.client.get("/readyz")
        ended.set()
        await held
        assert (answer.status_code, answer.json()["error"]["message"]) == (
            503,
            "the store did not answer within 0.1 s",
        )

    ask(tmp_path, scenario)


def test_a_store_that_cannot_be_read_is_not_ready(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.app.state.store.close()
        answer = await site.client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "unavailable"
        assert (await site.client.get("/healthz")).status_code == 200

    ask(tmp_path, scenario)
