import logging
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recis.hooks import logger_hook as module
from recis.hooks.logger_hook import MAX_PENDING, LoggerHook, LogLine
from recis.metrics.registry import MetricsRegistry, bind_registry
from recis.state import RunState


class Clock:
    """Replaces `time` in the module: monotonic seconds that a test advances."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def registry() -> Iterator[MetricsRegistry]:
    registry = MetricsRegistry()
    with bind_registry(registry):
        yield registry


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO, "recis.hooks.logger_hook")
    return lambda: [record.message for record in caplog.records if record.name == "recis.hooks.logger_hook"]


def drive(hook: LoggerHook, clock: Clock, steps: range, seconds_a_step: float = 0.5) -> None:
    for step in steps:
        clock.now += seconds_a_step
        hook.after_step(None, step)


def test_the_line_has_steps_rate_and_metrics_with_the_loss_first(
    registry: MetricsRegistry, clock: Clock, lines: Any
) -> None:
    hook = LoggerHook(log_step=50)
    drive(hook, clock, range(51, 100), 0.25)
    registry.set("accuracy", 0.95)
    registry.set("loss", torch.tensor(0.123))
    drive(hook, clock, range(100, 101), 0.25)
    assert lines() == ["<gstep=100> <lstep=50> <qps=4.00> <loss=0.123> <accuracy=0.95>"]


def test_a_line_at_the_first_step_reports_no_rate(registry: MetricsRegistry, clock: Clock, lines: Any) -> None:
    hook = LoggerHook(log_step=1)
    drive(hook, clock, range(1, 3))
    assert lines() == ["<gstep=1> <lstep=1>", "<gstep=2> <lstep=2> <qps=2.00>"]
    assert registry.take() == {"qps": 2.0}


def test_under_a_trainer_the_clock_starts_before_training(clock: Clock, lines: Any) -> None:
    trainer = SimpleNamespace(state=RunState(), metrics=MetricsRegistry())
    hook = LoggerHook(log_step=1)
    hook.before_train(trainer)
    trainer.state.samples = 256
    drive(hook, clock, range(1, 2))
    assert lines() == ["<gstep=1> <lstep=1> <qps=2.00>"]
    assert trainer.metrics.take() == {"qps": 2.0, "samples_per_second": 512.0}


def test_the_time_of_an_evaluation_does_not_count(registry: MetricsRegistry, clock: Clock, lines: Any) -> None:
    hook = LoggerHook(log_step=2)
    drive(hook, clock, range(1, 4))
    hook.before_evaluate()
    clock.now += 1000
    hook.after_evaluate()
    drive(hook, clock, range(4, 5))
    assert lines()[-1] == "<gstep=4> <lstep=4> <qps=2.00>"


def test_a_repeated_step_counts_once(registry: MetricsRegistry, clock: Clock, lines: Any) -> None:
    hook = LoggerHook(log_step=2)
    for step in (1, 2, 2, 2, 3, 4):
        drive(hook, clock, range(step, step + 1))
    assert [line.split("> ")[1] for line in lines()] == ["<lstep=2", "<lstep=4"]


def test_the_step_may_be_a_tensor_that_is_counted_up_in_place(
    registry: MetricsRegistry, clock: Clock, lines: Any
) -> None:
    hook = LoggerHook(log_step=2)
    global_step = torch.tensor(0)
    for _ in range(4):
        global_step += 1
        hook.after_step(None, global_step)
    assert [re.findall(r"gstep=(\d+)", line) for line in lines()] == [["2"], ["4"]]


def test_a_line_has_the_latest_value_of_every_metric(registry: MetricsRegistry, clock: Clock, lines: Any) -> None:
    hook = LoggerHook(log_step=1)
    registry.set("auc", 0.7)
    registry.set("loss", 0.5)
    drive(hook, clock, range(1, 2))
    registry.set("loss", 0.25)
    drive(hook, clock, range(2, 3))
    registry.live.clear()
    drive(hook, clock, range(3, 4))
    assert [line.partition("<loss")[2] for line in lines()] == ["=0.5> <auc=0.7>", "=0.25> <auc=0.7>", ""]


def test_values_of_any_type_are_shown_in_one_short_line(registry: MetricsRegistry, clock: Clock, lines: Any) -> None:
    values: dict[str, Any] = {
        "note": "two\nlines",
        "one": torch.tensor([0.5]),
        "few": torch.tensor([1, 2]),
        "many": torch.zeros(3, 4),
        "array": np.arange(2),
        "list": [1] * 1000,
        "none": None,
    }
    for name, value in values.items():
        registry.set(name, value)
    LoggerHook(log_step=1).after_step(None, 1)
    (line,) = lines()
    assert line == (
        "<gstep=1> <lstep=1> <note=two lines> <one=0.5> <few=[1, 2]> <many=Tensor of shape (3, 4)> <array=[0, 1]> "
        "<list=[1, 1, 1, 1, 1, 1, ...]> <none=None>"
    )


def test_the_values_of_a_device_that_are_no_scalars_are_not_waited_for(
    registry: MetricsRegistry, clock: Clock, lines: Any, fake_cuda: Any
) -> None:
    registry.set("rows", fake_cuda.scalar([1.0, 2.0]))
    LoggerHook(log_step=1).after_step(None, 1)
    assert lines() == ["<gstep=1> <lstep=1> <rows=DeviceScalar of shape (2,)>"]


def test_under_a_trainer_its_copy_of_the_metrics_is_not_taken_for_newer(clock: Clock, lines: Any) -> None:
    trainer = SimpleNamespace(state=RunState(), metrics=MetricsRegistry())
    hook = LoggerHook(log_step=1)
    hook.before_train(trainer)
    trainer.metrics.set("loss", 0.5)
    handed = {"epoch": 3, **trainer.metrics.live, "of_a_hook": 7}
    trainer.metrics.set("loss", 0.25)
    hook.after_step(handed, 1)
    assert lines() == ["<gstep=1> <lstep=1> <loss=0.25> <of_a_hook=7>"]


def test_what_scripts_for_recis_use_is_there(registry: MetricsRegistry, clock: Clock, lines: Any) -> None:
    class Mine(LoggerHook):
        def format_metrics(self, metrics: Any) -> str:
            return f" {len(metrics)} metrics"

    hook = LoggerHook(log_step=2)
    assert hook.format_metrics({"loss": torch.tensor(0.123), "accuracy": 0.95}) == " <loss=0.123> <accuracy=0.95>"
    assert (hook.steps, hook.start_time) == (0, 100.0)
    drive(hook, clock, range(1, 4))
    assert (hook.steps, hook.start_time) == (3, 101.0)
    registry.set("loss", 1.0)
    drive(Mine(1), clock, range(1, 2))
    assert lines()[-1] == "<gstep=1> <lstep=1> 1 metrics"
    hook.logger.info("of a subclass")
    assert lines()[-1] == "of a subclass"


def test_metrics_given_by_hand_are_printed(registry: MetricsRegistry, clock: Clock, lines: Any) -> None:
    weight = torch.tensor(0.5, requires_grad=True)
    hook = LoggerHook(log_step=1)
    hook.after_step({"auc": 0.75, "loss": weight * 1, "note": "high"}, 1)
    assert lines() == ["<gstep=1> <lstep=1> <loss=0.5> <auc=0.75> <note=high>"]


def test_values_that_are_not_finite_are_printed(registry: MetricsRegistry, clock: Clock, lines: Any) -> None:
    registry.set("loss", float("nan"))
    registry.set("norm", float("inf"))
    LoggerHook(log_step=1).after_step(None, 1)
    assert lines() == ["<gstep=1> <lstep=1> <loss=nan> <norm=inf>"]


def test_a_value_without_a_number_is_a_question_mark(registry: MetricsRegistry, clock: Clock, lines: Any) -> None:
    registry.set("loss", torch.zeros((), device="meta"))
    registry.set("auc", 0.5)
    LoggerHook(log_step=1).after_step(None, 1)
    assert lines() == ["<gstep=1> <lstep=1> <loss=?> <auc=0.5>"]


def test_listeners_get_every_line(registry: MetricsRegistry, clock: Clock) -> None:
    got: list[LogLine] = []
    hook = LoggerHook(log_step=2)
    hook.add_listener(got.append)
    drive(hook, clock, range(1, 3))
    assert got == [LogLine(2, int(clock.now * 1e9), "<gstep=2> <lstep=2> <qps=2.00>")]


def test_a_device_value_is_printed_when_it_has_arrived_with_its_own_step(
    registry: MetricsRegistry, clock: Clock, lines: Any, fake_cuda: Any
) -> None:
    hook = LoggerHook(log_step=2)
    for step in range(1, 4):
        registry.set("loss", fake_cuda.scalar(step * 0.5))
        drive(hook, clock, range(step, step + 1))
    assert lines() == []
    fake_cuda.done = True
    drive(hook, clock, range(4, 5))
    assert lines() == ["<gstep=2> <lstep=2> <qps=2.00> <loss=1>", "<gstep=4> <lstep=4> <qps=2.00> <loss=1.5>"]
    assert fake_cuda.waits == 0


@pytest.mark.parametrize("event", ["after_train", "end"])
def test_the_last_lines_are_waited_for_when_training_is_over(
    event: str, registry: MetricsRegistry, clock: Clock, lines: Any, fake_cuda: Any
) -> None:
    hook = LoggerHook(log_step=1)
    registry.set("loss", fake_cuda.scalar(0.5))
    drive(hook, clock, range(1, 2))
    getattr(hook, event)()
    getattr(hook, event)()
    assert lines() == ["<gstep=1> <lstep=1> <loss=0.5>"]


def test_lines_that_wait_are_bounded_and_lost_ones_counted(
    registry: MetricsRegistry, clock: Clock, lines: Any, fake_cuda: Any
) -> None:
    hook = LoggerHook(log_step=1)
    for step in range(1, MAX_PENDING + 3):
        registry.set("loss", fake_cuda.scalar(0.5))
        drive(hook, clock, range(step, step + 1))
    assert hook.num_dropped == 2
    hook.end()
    assert len(lines()) == MAX_PENDING


@pytest.mark.parametrize("log_step", [0, -1, 1.5, True, "x", None])
def test_a_bad_log_step_is_refused(log_step: Any) -> None:
    with pytest.raises(ValueError, match="LoggerHook's log_step: expected a positive int, got"):
        LoggerHook(log_step)
    hook = LoggerHook()
    assert hook.log_step == 10
    with pytest.raises(ValueError, match="log_step"):
        hook.log_step = log_step
    assert hook.log_step == 10


def test_a_new_log_step_holds_from_the_next_step_on(registry: MetricsRegistry, clock: Clock, lines: Any) -> None:
    hook = LoggerHook(log_step=100)
    drive(hook, clock, range(1, 7))
    hook.log_step = 4
    drive(hook, clock, range(7, 13))
    assert [re.findall(r"gstep=(\d+)", line) for line in lines()] == [["8"], ["12"]]
