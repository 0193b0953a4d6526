from pathlib import Path

from recis.wire.messages import Event
from tests.server.httpserver import Site, ask


def test_what_processes_say_is_answered_per_attempt(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        said = Event(kind="process", time_ns=1, text="process", data={"command": "python train.py", "share": 1e400})
        await site.run("r", said, host="trainer-7", pid=4711, config={"lr": 0.1})
        await site.run("quiet")
        answer = (await site.client.get("/api/v1/runs/r/info")).json()
        (rank,) = answer.pop("ranks")
        (attempt,) = answer["attempts"]
        assert (answer["attempt"], attempt["attempt"], answer["config"]) == (1, 1, {"lr": 0.1})
        assert attempt["started_at"] == rank.pop("started_at")
        said_of_it = {"command": "python train.py", "share": "Infinity"}
        assert rank == {"rank": 0, "host": "trainer-7", "pid": 4711, "client": "", "info": said_of_it}
        (rank,) = (await site.client.get("/api/v1/runs/quiet/info?attempt=1")).json()["ranks"]
        assert rank["info"] == {}
        for wrong, status in (("r/info?attempt=2", 404), ("r/info?attempt=0", 422), ("none/info", 404)):
            assert (await site.client.get(f"/api/v1/runs/{wrong}")).status_code == status
        assert (await site.client.get("/api/v1/runs/r/events")).json()["events"] == []

    ask(tmp_path, scenario)
