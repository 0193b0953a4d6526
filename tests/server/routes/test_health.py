from pathlib import Path

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


def test_a_store_that_cannot_be_read_is_not_ready(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.app.state.store.close()
        answer = await site.client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "unavailable"
        assert (await site.client.get("/healthz")).status_code == 200

    ask(tmp_path, scenario)
