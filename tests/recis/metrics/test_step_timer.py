import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recis.metrics import step_timer
from recis.metrics.step_timer import MAX_PHASES, StepTimer, bind_timer, timed

MS = 1_000_000


class Clock:
    """A clock that is set manually, in ns."""

    now = 0

    def perf_counter_ns(self) -> int:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(step_timer, "time", made)
    return made


def test_the_phases_of_a_step_add_up_to_it(clock: Clock) -> None:
    timer = StepTimer()
    clock.now += 2 * MS
    with timer.phase("hooks"):
        clock.now += 3 * MS
        with timer.phase("filter_pass"):
            clock.now += 40 * MS
        clock.now += 1 * MS
    expected = {"time/hooks_ms": 4.0, "time/filter_pass_ms": 40.0, "time/other_ms": 2.0, "time/step_ms": 46.0}
    assert timer.take() == expected

    clock.now += 5 * MS
    with timer.phase("hooks"):
        clock.now += MS
        assert timer.take() == {"time/hooks_ms": 1.0, "time/other_ms": 5.0, "time/step_ms": 6.0}, (
            "taken inside of a phase"
        )
        clock.now += 7 * MS
    assert timer.take() == {"time/hooks_ms": 7.0, "time/other_ms": 0.0, "time/step_ms": 7.0}


def test_a_phase_ends_with_an_exception_and_may_be_entered_inside_itself(clock: Clock) -> None:
    timer = StepTimer()

    def fail() -> None:
        with timer.phase("forward"), timer.phase("forward"):
            clock.now += MS
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    clock.now += MS
    assert timer.take() == {"time/forward_ms": 1.0, "time/other_ms": 1.0, "time/step_ms": 2.0}


def test_waiting_for_data_is_a_phase(clock: Clock) -> None:
    def loader() -> Any:
        for number in range(3):
            clock.now += MS
            yield number

    timer, got = StepTimer(), []
    for batch in timer.batches(loader()):
        clock.now += 2 * MS
        got.append(batch)
        assert timer.take() == {"time/data_wait_ms": 1.0, "time/other_ms": 2.0, "time/step_ms": 3.0}
    assert got == [0, 1, 2]


def test_what_was_measured_can_be_discarded(clock: Clock) -> None:
    timer = StepTimer()
    clock.now += MS
    timer.restart()
    clock.now += 2 * MS
    assert timer.take()["time/step_ms"] == 2.0


@pytest.mark.parametrize("name", ["", "a b", "time/x_ms", "x" * 65, "a\n", 5, None, "é" * 80])
def test_a_name_that_is_no_phase_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="expected a name of 1 to 64 letters"):
        StepTimer().phase(name)


def test_further_phases_count_as_other(clock: Clock) -> None:
    timer = StepTimer()
    for number in range(MAX_PHASES + 3):
        with timer.phase(f"p{number}"):
            clock.now += MS
    times = timer.take()
    assert len(times) == MAX_PHASES + 2
    assert times["time/other_ms"] == 3.0
    assert times["time/step_ms"] == MAX_PHASES + 3


def test_only_the_training_that_runs_here_is_timed(clock: Clock) -> None:
    timer = StepTimer()
    with timed("forward"):
        clock.now += MS
    with bind_timer(timer), timed("forward"):
        clock.now += 2 * MS
    assert timer.take() == {"time/forward_ms": 2.0, "time/other_ms": 1.0, "time/step_ms": 3.0}


@given(st.lists(st.tuples(st.sampled_from("abc)!"), st.integers(0, 10**9)), max_size=30))
def test_no_time_is_lost_or_counted_twice(events: list[tuple[str, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(step_timer, "time", clock)
        timer, opened, total = StepTimer(), list[Any](), 0.0
        for what, pause in [*events, ("!", 0)]:
            clock.now += pause
            if what == ")":
                if opened:
                    opened.pop().__exit__(None, None, None)
            elif what == "!":
                times = timer.take()
                whole = times.pop("time/step_ms")
                assert sum(times.values()) == pytest.approx(whole)
                total += whole
            else:
                opened.append(timer.phase(what))
                opened[-1].__enter__()
        assert total == pytest.approx(clock.now / MS)


class Event:
    """A CUDA event of a device that is slower than the host; times in ms."""

    passed = -1
    numbers = itertools.count()

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, stream: Any) -> None:
        assert stream == "stream"
        self.number = next(Event.numbers)

    def query(self) -> bool:
        return self.number <= Event.passed

    def elapsed_time(self, end: "Event") -> float:
        assert end.query(), "reading an event that is not over waits for the device"
        return 10.0 * (end.number - self.number)


def test_phases_on_a_device_are_read_when_it_has_passed_them(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "stream")
    timer = StepTimer(torch.device("cuda", 0))

    def step() -> dict[str, float]:
        for phase in ("data_wait", "forward", "backward", "optimizer"):
            with timer.phase(phase):
                clock.now += MS  # the host only queues the work
        clock.now += 46 * MS
        return timer.take()

    queued = {"time/data_wait_ms": 1.0, "time/other_ms": 49.0, "time/step_ms": 50.0}
    assert step() == queued, "not known yet"
    assert step() == queued
    recorded = next(Event.numbers)
    assert recorded == 6, "one step at a time: two events for each phase on the device"
    Event.passed = recorded
    device = {"time/forward_ms": 10.0, "time/backward_ms": 10.0, "time/optimizer_ms": 10.0}
    for _ in range(3):
        assert step() == {**queued, **device, "time/other_ms": 19.0}
