"""`recis.bridge.cost`: the monitor's own cost, as series of the run."""

import time
from collections.abc import Callable
from itertools import count

import pytest

from recis.bridge import cost as module
from recis.bridge.cost import COST_KEYS, MOST_APART, RING, MonitorCost
from recis.monitor import Run
from tests.recis.bridge.conftest import Spooled


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [0]
    monkeypatch.setattr(time, "perf_counter_ns", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += int(seconds * 1e9)

    return forward


def test_percentiles_share_and_rate_are_of_the_window(clock: Callable[[float], None]) -> None:
    cost = MonitorCost()
    for number in range(100):
        cost.apart = 4
        cost.add(1000 * (number + 1))
    clock(10.0)
    values = cost.report(queue_depth=7, bytes_sent=5000, dropped=3)
    assert dict(zip(COST_KEYS, values, strict=True)) == {
        "monitor/step_cost_us_p50": 51.0,
        "monitor/step_cost_us_p99": 100.0,
        "monitor/time_share": pytest.approx(4 * 5_050_000 / 10e9),
        "monitor/queue_depth": 7.0,
        "monitor/bytes_per_s": 500.0,
        "monitor/dropped": 3.0,
    }
    cost.apart = 5
    cost.add(2000)
    clock(10.0)
    again = cost.report(queue_depth=0, bytes_sent=5000, dropped=3)
    assert again[2] == pytest.approx(5 * 2000 / 10e9)
    assert again[4] == 0.0


@pytest.mark.parametrize(("calls_per_s", "apart"), [(0.2, 1), (1, 1), (20, 20), (200, 200), (1e6, MOST_APART)])
def test_about_one_call_a_second_is_measured(clock: Callable[[float], None], calls_per_s: float, apart: int) -> None:
    cost = MonitorCost()
    before = calls = 0
    for _ in range(20):
        assert cost.apart <= max(1, 2 * before), "one pause does not put the next sample far away"
        calls += (before := cost.apart)
        clock(before / calls_per_s)
        cost.add(1000)
    assert cost.apart == pytest.approx(apart, abs=1)
    values = cost.report(queue_depth=0, bytes_sent=0, dropped=0)
    assert values[2] == pytest.approx(calls_per_s * 1e-6, rel=0.01), "each sample stands for the calls before it"


def test_nothing_is_reported_too_early_or_without_steps(clock: Callable[[float], None]) -> None:
    cost = MonitorCost()
    clock(60.0)
    assert not cost.is_due()
    cost.add(1)
    clock(-59.0)
    assert not cost.is_due()
    clock(10.0)
    assert cost.is_due()
    cost.report(queue_depth=0, bytes_sent=0, dropped=0)
    assert not cost.is_due()


def test_the_ring_forgets_old_samples(clock: Callable[[float], None]) -> None:
    cost = MonitorCost()
    for number in count():
        cost.add(10**9 if number < 10 else 1000)
        if number == 10 + RING:
            break
    clock(5.0)
    values = cost.report(queue_depth=0, bytes_sent=0, dropped=0)
    assert values[:2] == [1.0, 1.0]


def test_a_run_reports_its_own_cost(
    open_offline: Callable[..., Run], spooled: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPORT_S", 0.0)
    with open_offline(run_id="r") as run:
        for step in range(10):
            run.log({"loss": 1.0}, step)
        run.tick()
    values = spooled.values()
    assert set(COST_KEYS) <= set(values)
    assert values["monitor/step_cost_us_p50"][-1][1] > 0
    assert values["loss"] == [(step, 1.0) for step in range(10)]
