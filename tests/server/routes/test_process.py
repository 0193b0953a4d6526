from pathlib import Path

from recis.wire.messages import Event, Line
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


def test_the_log_is_answered_from_either_end_and_searched(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        printed = [Line(time_ns=10**9, text=f"Step {step}", stream="stdout") for step in range(5)]
        await site.run("r", *printed, Line(time_ns=2 * 10**9, text="<gstep=4>", step=4, level="warning"))
        answer = (await site.client.get("/api/v1/runs/r/logs?limit=2")).json()
        assert [line["text"] for line in answer["lines"]] == ["Step 4", "<gstep=4>"]
        assert answer["lines"][1] == {
            "id": answer["last"],
            "time": 2.0,
            "rank": 0,
            "attempt": 1,
            "stream": "reported",
            "level": "warning",
            "step": 4,
            "text": "<gstep=4>",
        }
        assert (answer["more"], answer["dropped"], answer["removed"]) == (True, 0, 0)

        async def texts(query: str) -> list[str]:
            found = (await site.client.get(f"/api/v1/runs/r/logs?{query}")).json()["lines"]
            return [line["text"] for line in found]

        assert await texts(f"before={answer['first']}&limit=1") == ["Step 3"]
        assert await texts(f"after={answer['last']}") == []
        assert await texts("q=STEP+2") == ["Step 2"]
        assert await texts("stream=reported&rank=0&attempt=1&level=warning") == ["<gstep=4>"]
        assert await texts("stream=stderr") == await texts("rank=1") == await texts("attempt=2") == []
        for wrong in ("before=1&after=1", "after=-1", "limit=5001", f"q={'a+' * 17}", "stream=x", "rank=x"):
            answered = await site.client.get(f"/api/v1/runs/r/logs?{wrong}")
            assert answered.status_code == 422, wrong
        assert (await site.client.get("/api/v1/runs/none/logs")).status_code == 404

    ask(tmp_path, scenario)
