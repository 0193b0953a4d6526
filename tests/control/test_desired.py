"""The desired values of a rank: after a lost connection, after a kill, and when the whole job restarts."""

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.control.job import Job, Server, until

# Tests that expect one step on all ranks run alone: a rank whose thread is not scheduled for a quarter of a second
# applies a command later than the others, and reports that.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.waits]


def test_a_rank_that_comes_back_alone_has_the_value_before_its_first_step(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 2) as job:
        job.start(lockstep=False)
        job.settled(job.set("a", 5, reason="because"))
        job.kill(1)
        # Nothing waits for it, and its part of the command is open.
        done = job.settled(job.set("a", 6))
        assert done["state"] == "applied"
        assert (done["ranks"]["0"]["state"], done["ranks"]["1"]["state"], done["away"]) == ("applied", "pending", [1])
        assert job.control("a")["differs"] == [1]
        events = server.ask("GET", "/runs/job/events")["events"]
        assert "a: 5 → 6" in [event["text"] for event in events]
        # Further commands are not refused because of it; the newest one waits for it.
        last = job.settled(job.set("a", 7))
        assert job.command(done["id"])["ranks"]["1"]["state"] == "superseded"
        job.start_rank(1, rate=20)
        back = until(lambda: job.command(last["id"])["ranks"]["1"]["state"] == "applied", 60, "it has the value")
        assert back
        entries = job.entries(1)
        start = max(place for place, one in enumerate(entries) if one.get("event") == "started")
        first = [one for one in entries[start:] if one.get("control") == "a"]
        assert [one["value"] for one in first] == [7]
        assert first[0]["step"] == 0
        until(lambda: job.control("a")["differs"] == [], 60, "they are alike")


def test_a_rank_that_hangs_is_waited_for_and_one_that_is_killed_with_a_command_is_not(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 3) as job:
        job.start(lockstep=False, rates=(20.0, 20.0, 0.5))
        asked = job.set("a", 5)
        # The slowest rank is far from the step at which the others change.
        until(lambda: _have_applied(job, asked, "01"), 60, "the others have applied it")
        job.ranks[2].send_signal(signal.SIGSTOP)
        hung = job.command(asked["id"])
        assert (hung["state"], hung["ranks"]["2"]["state"]) == ("delivered", "delivered")
        assert (hung["waiting_for"], hung["away"]) == ([2], [])
        job.kill(2)
        done = job.settled(asked)
        assert (done["state"], done["ranks"]["2"]["state"], done["away"]) == ("applied", "delivered", [2])
        assert {done["ranks"][rank]["step"] for rank in "01"} == {done["apply_at_step"]}
        events = server.ask("GET", "/runs/job/events")["events"]
        assert "a: 1 → 5" in [event["text"] for event in events]
        assert job.settled(job.set("a", 6))["state"] == "applied"
        # The whole job ends at once: no rank is left to complete a command that one rank has applied.
        job.start_rank(2, rate=0.5)
        until(lambda: server.ask("GET", "/runs/job/commands")["commands"][-1]["away"] == [], 30, "it is back")
        last = job.set("a", 7)
        until(lambda: _have_applied(job, last, "01"), 60, "the others have applied it")
        for rank in (0, 1, 2):
            job.kill(rank)
        done = job.settled(last)
        assert (done["state"], done["ranks"]["2"]["state"], done["away"]) == ("applied", "delivered", [2])


def _have_applied(job: Job, command: dict[str, Any], ranks: str) -> bool:
    now = job.command(command["id"])["ranks"]
    return all(now[rank]["state"] == "applied" for rank in ranks)


def test_a_job_that_starts_again_has_the_values_before_its_first_step(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 2) as job:
        job.start()
        job.settled(job.set("a", 5, reason="because"))
        job.settled(server.ask("PUT", "/runs/job/controls", {"values": {"a": 6, "b": 7}}))
        until(lambda: job.server.ask("GET", "/runs/job")["last_step"] > 20, 60, "it has trained a while")
        for first, attempt in ((0, 1), (10, 2)):
            for rank in (0, 1):
                job.kill(rank)
            for rank in (0, 1):
                job.journal(rank).unlink()
            job.start(attempt=attempt, first=first)
            for rank in (0, 1):
                told = [(one.get("control"), one.get("value"), one["step"]) for one in job.entries(rank)]
                before = told[: [one.get("event") for one in job.entries(rank)].index("begins")]
                assert ("a", 6, first) in before
                assert ("b", 7, first) in before
            assert server.ask("GET", "/runs/job")["attempts"] == attempt + 1
            until(lambda: (job.control("a")["value"], job.control("a")["differs"]) == (6, []), 60, "it is said")
        restored = [one for one in job.commands() if one["reason"].startswith("restored on rank")]
        assert {(one["control"], one["value"], one["state"]) for one in restored} == {
            ("a", 6, "applied"),
            ("b", 7, "applied"),
        }
        assert len(restored) == 2 * 2 * 2


def test_a_job_that_starts_again_with_fewer_or_more_ranks_has_the_value_on_all_of_them(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 2) as job:
        job.start(lockstep=False)
        job.settled(job.set("a", 5))
        # An elastic launcher may count a change of its members as the same attempt or as another one.
        for attempt, size, value in ((0, 1, 6), (1, 3, 7)):
            for rank in tuple(job.ranks):
                job.kill(rank)
                job.journal(rank).unlink()
            job.size = size
            job.start(attempt=attempt, lockstep=False)
            for rank in range(size):
                told = [(one.get("control"), one.get("value")) for one in job.entries(rank)]
                before = told[: [one.get("event") for one in job.entries(rank)].index("begins")]
                assert ("a", value - 1) in before, rank
            until(lambda: job.control("a")["differs"] == [], 60, "all have it")
            assert job.control("a")["value"] == value - 1
            assert list(job.control("a")["ranks"]) == [str(rank) for rank in range(size)]
            done = job.settled(job.set("a", value))
            assert (done["state"], list(done["ranks"]), done["away"]) == (
                "applied",
                list(job.control("a")["ranks"]),
                [],
            )


def test_a_value_that_is_refused_at_the_start_says_why(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 1) as job:
        job.start(lockstep=False)
        job.settled(job.set("a", 2000))
        job.kill(0)
        job.start_rank(0, attempt=1, rate=20, most=1000)

        def refused() -> list[dict[str, Any]]:
            return [one for one in job.commands() if one["state"] == "rejected"]

        (one,) = until(refused, 60, "it says why")
        assert "at most 1000" in one["ranks"]["0"]["message"]
        assert job.control("a")["differs"] == [0]


def test_a_finished_run_has_no_open_command_and_takes_none(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 2) as job:
        job.start(lockstep=False, steps=300, rates=(25.0,))
        job.kill(1)
        open_one = job.settled(job.set("a", 5), "applied")
        assert open_one["away"] == [1]
        job.ranks[0].wait(60)
        job.start_rank(1, rate=200, steps=3)
        job.ranks[1].wait(30)
        until(lambda: server.ask("GET", "/runs/job")["state"] == "finished", 60, "it has finished")
        assert not [one for one in job.commands() if one["state"] in ("pending", "delivered")]
        assert not [one for one in job.commands() if one["waiting_for"] or one["away"]]
        status, error = server.refused("PUT", "/runs/job/controls/a", {"value": 9})
        assert (status, error["code"]) == (409, "conflict")
        assert "finished" in error["message"]


def test_a_callback_that_takes_long_is_waited_for_and_said(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 2) as job:
        job.start(lockstep=False, slow=3.0)
        asked = job.set("free", 4)
        until(lambda: job.command(asked["id"])["waiting_for"] == [0, 1], 60, "both are waited for")
        assert job.settled(asked)["state"] == "applied"


@pytest.mark.alone
def test_an_action_stops_all_ranks_at_one_step_and_the_ledger_says_who(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 3) as job:
        job.start()
        until(lambda: job.control("stop"), 20, "a rank has declared it")
        assert job.control("stop")["type"] == "action"
        assert server.refused("PUT", "/runs/job/controls/checkpoint", {"value": None})[0] == 404
        assert server.refused("PUT", "/runs/job/controls/stop", {"value": 5})[0] == 422
        asked = job.set("stop", None, reason="enough")
        assert job.wait() == [0, 0, 0]
        done = job.settled(asked)
        assert (done["state"], done["requested_by"], done["reason"]) == ("applied", "local", "enough")
        ends = {job.entries(rank)[-1]["step"] for rank in range(3)}
        assert ends == {done["apply_at_step"]}
        until(lambda: server.ask("GET", "/runs/job")["state"] == "finished", 60, "it has finished")
