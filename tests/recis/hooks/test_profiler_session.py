"""`recis.hooks.profiler_session`: with another profiler in use, training survives, and both record if possible."""

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.autograd import profiler

from recis.errors import CaptureBusyError
from recis.hooks import profiler_session
from recis.hooks.profiler_session import ProfilerSession, is_taken

ALL = [6, 12, 18]
# For each training of `two_profilers`: the steps with traces, and the steps after which a window was abandoned.
EXPECTED: dict[str, tuple[list[int], list[int]]] = {
    "inside_one_step": ([12, 18], [5]),
    "over_the_last_step_of_a_window": ([12, 18], [6]),
    "inside_the_warm_up": ([12, 18], [2]),
    "over_the_end_of_the_warm_up": ([12, 18], [2]),
    "stopped_while_a_window_would_be_open": ([12, 18], [1]),
    "started_between_two_windows": ([6, 18], [7]),
    "over_the_whole_training": ([], [1, 7, 13]),
    "with_a_schedule_of_its_own": ([18], [1, 7]),
    "warming_up_before_the_hook_was_made": ([12, 18], [1]),
    "one_of_autograd": ([12, 18], [5]),
    "one_of_the_old_kind_over_the_end_of_the_warm_up": ([12, 18], [2]),
    "ranges_for_another_tool": ([12, 18], [5]),
    "two_hooks": (ALL, [1, 7, 13]),
    "during_a_capture_on_demand": ([6, 12, 18, 29], [22]),
    "on_another_thread": ([12, 18], [5]),
    "on_another_thread_from_before": ([12, 18], [1]),
    "stopped_by_somebody_else": ([12, 18], [5]),
    "past_the_methods_that_are_wrapped": ([12, 18], [5]),
    "in_a_forked_child": (ALL, []),
    "never_given_way_to": ([12, 18], [5]),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The result of each training."""
    script = Path(__file__).with_name("two_profilers.py")
    command = [sys.executable, str(script), str(tmp_path_factory.mktemp("trainings"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    assert found.keys() == EXPECTED.keys()
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("training", EXPECTED)
def test_another_profiler_costs_at_most_the_windows_that_it_meets(
    training: str, results: dict[str, dict[str, Any]]
) -> None:
    result = results[training]
    traces, given_up = EXPECTED[training]
    assert result["status"] == 0
    assert result["broken"] is None
    assert sorted(result["traces"]) == traces
    assert [int(text.split()[2]) for text in result["warned"]] == given_up
    assert all("is abandoned: another torch profiler" in text for text in result["warned"])
    assert result.get("other", True), "the other profiler has not got what it recorded"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_else_the_trainings_have_seen(results: dict[str, dict[str, Any]]) -> None:
    assert results["with_a_schedule_of_its_own"]["cycles"] == 4
    assert results["two_hooks"]["second"] == 0
    assert results["during_a_capture_on_demand"]["refused"] == "another torch profiler is in use"
    assert results["in_a_forked_child"]["child"] == 0
    # A training that never reaches a step boundary: an error instead of a crash of the process.
    assert results["never_given_way_to"]["refused"].startswith("expected ProfilerHook to yield")


@pytest.mark.parametrize(("kind", "name"), profiler_session._BEGINNINGS + profiler_session._ENDS)
def test_torch_still_has_the_methods_by_which_its_profilers_begin_and_end(kind: type, name: str) -> None:
    assert callable(getattr(kind, name))


def make_profile() -> torch.profiler.profile:
    return torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])


def test_there_is_one_session_at_a_time() -> None:
    first, second = ProfilerSession(make_profile()), ProfilerSession(make_profile())
    first.prepare()
    assert is_taken()
    with pytest.raises(CaptureBusyError, match="in use"):
        second.prepare()
    first.start()
    first.stop()
    assert not is_taken()
    second.prepare()
    second.stop()
    with pytest.raises(CaptureBusyError, match="has begun"):
        second.stop()


def test_a_profiler_that_is_switched_off_or_dropped_takes_nothing() -> None:
    session = ProfilerSession(make_profile())
    session.prepare()
    with profiler.emit_itt(enabled=False), profiler.profile(enabled=False):
        session.start()
    session.stop()
    dropped = make_profile()
    dropped.prepare_trace()
    assert is_taken()
    del dropped
    gc.collect()
    assert not is_taken()
    again = ProfilerSession(make_profile())
    again.prepare()
    again.stop()


@pytest.mark.parametrize("phase", ["prepare_trace", "start_trace", "stop_trace"])
def test_a_session_that_fails_leaves_the_profiler_to_others(phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = make_profile()
    session = ProfilerSession(profile)

    def fail() -> None:
        raise RuntimeError("no profiler here")

    def use() -> None:
        session.prepare()
        session.start()
        session.stop()

    with monkeypatch.context() as broken:
        broken.setattr(profile, phase, fail)
        with pytest.raises(RuntimeError, match="no profiler here"):
            use()
    if phase == "stop_trace":
        profile.stop_trace()
    with make_profile():
        torch.ones(1).add(1)
    assert not is_taken()
