"""Commands to several ranks: applied at one step on all of them, in order, or with the actual steps reported."""

import random
from pathlib import Path
from typing import Any

import pytest

from tests.control.job import Job, Server, until

# Tests that expect one step on all ranks run alone: a rank whose thread is not scheduled for a quarter of a second
# applies a command later than the others, and reports that.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.waits]


def assert_one_step(job: Job, commands: list[dict[str, Any]], control: str) -> None:
    """Check that every command was applied at one step on all ranks, in order, and that ledger and journals agree."""
    for command in commands:
        ranks = command["ranks"]
        assert command["state"] == "applied", command
        assert len({result["step"] for result in ranks.values()}) == 1, command
        assert not any(result["late"] for result in ranks.values()), command
    for rank in range(job.size):
        said = [(one["ranks"][str(rank)]["new"], one["ranks"][str(rank)]["step"]) for one in commands]
        assert job.changes(rank, control) == said


@pytest.mark.alone
def test_many_commands_take_effect_at_one_step_and_in_order(tmp_path: Path) -> None:
    chance = random.Random(7)
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 4) as job:
        job.start()
        asked = []
        for value in range(2, 42):
            asked.append(job.set("a", value))
            if chance.random() < 0.7:  # the others are sent while one is open
                job.settled(asked[-1])
        done = [job.settled(one) for one in asked]
        assert {one["state"] for one in done} <= {"applied", "superseded"}
        newer = {one["id"]: place for place, one in enumerate(asked)}
        for place, one in enumerate(done):
            if one["state"] == "superseded":
                assert newer[one["superseded_by"]] > place
        assert done[-1]["state"] == "applied"
        assert_one_step(job, [one for one in done if one["state"] == "applied"], "a")
        assert job.control("a")["differs"] == []


@pytest.mark.alone
def test_a_job_that_slows_down_still_takes_the_older_command_first(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 2) as job:
        job.start(rates=(40.0,))
        assert job.barrier is not None
        job.settled(job.set("a", 2))
        older = job.set("a", 3)
        until(lambda: job.command(older["id"])["apply_at_step"], 10, "it has a step")
        job.barrier.pause.clear()
        newer = job.set("a", 4)
        until(lambda: job.command(newer["id"])["apply_at_step"], 10, "it has a step as well")
        older, newer = job.command(older["id"]), job.command(newer["id"])
        assert newer["apply_at_step"] >= older["apply_at_step"]
        job.barrier.pause.set()
        done = [job.settled(older), job.settled(newer)]
        assert all(one["state"] == "applied" for one in done)
        for rank in (0, 1):
            changes = job.changes(rank, "a")
            assert [value for value, _ in changes] == [2, 3, 4]
            assert [step for _, step in changes[1:]] == [one["apply_at_step"] for one in done]


@pytest.mark.alone
def test_a_batch_is_applied_at_one_step_or_not_at_all(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 2) as job:
        job.start()
        both = server.ask("PUT", "/runs/job/controls", {"values": {"a": 5, "b": 6}, "reason": "together"})
        done = job.settled(both)
        assert done["state"] == "applied"
        steps = {step for rank in (0, 1) for control in ("a", "b") for _, step in job.changes(rank, control)}
        assert len(steps) == 1
        # 1313 is refused by the callback: values set before it are restored.
        bad = job.settled(server.ask("PUT", "/runs/job/controls", {"values": {"a": 7, "b": 1313}}))
        assert bad["state"] == "rejected"
        assert "bad luck" in bad["ranks"]["0"]["message"]
        assert [value for value, _ in job.changes(0, "a")] == [5, 7, 5]
        assert [value for value, _ in job.changes(0, "b")] == [6]
        assert (job.control("a")["value"], job.control("b")["value"]) == (5, 6)
        count = len(job.commands())
        status, error = server.refused("PUT", "/runs/job/controls", {"values": {"a": 8, "b": 0}})
        assert (status, error["field"]) == (422, "values")
        assert len(job.commands()) == count


def test_free_ranks_change_each_at_its_next_step(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 4) as job:
        job.start(lockstep=False, rates=(10.0, 15.0, 20.0, 25.0))
        done = job.settled(job.set("free", 9))
        assert done["state"] == "applied"
        assert done["apply_at_step"] is None
        together = job.set("a", 9)
        assert job.settled(together, limit_s=120)["apply_at_step"] is not None


def test_a_server_that_is_killed_meanwhile_loses_no_command_and_splits_none(tmp_path: Path) -> None:
    chance = random.Random(3)
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 4) as job:
        job.start()
        asked = []
        for value in range(2, 8):
            asked.append(job.set("a", value))
            if value % 2:
                until(lambda: job.command(asked[-1]["id"])["state"] != "pending", 20, "it is on its way")
            if chance.random() < 0.9:
                server.kill()
                server.start()
        done = [job.settled(one, limit_s=90) for one in asked]
        assert {one["state"] for one in done} <= {"applied", "superseded"}
        for one in done:
            steps = {result["step"] for result in one["ranks"].values()}
            late = [result["late"] for result in one["ranks"].values()]
            assert len(steps) == 1 or any(late), one
        for rank in range(4):
            said = [
                (one["ranks"][str(rank)]["new"], one["ranks"][str(rank)]["step"])
                for one in done
                if one["ranks"][str(rank)]["state"] == "applied"
            ]
            assert job.changes(rank, "a") == said
        assert job.control("a")["differs"] == []
