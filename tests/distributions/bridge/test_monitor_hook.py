"""`recis_monitor.MonitorHook` under the calls that RecIS makes: points, evaluations, the filter interval, no error."""

from pathlib import Path
from typing import Any

import pytest
import torch
from recis_monitor import MonitorHook

from recis.wire.messages import Command, Declare, Result, Status
from tests.recis.bridge.conftest import Spooled


class Filter:
    def __init__(self, filter_interval: int | None = 100) -> None:
        self.filter_interval = filter_interval
        self.seen: list[tuple[int, int | None]] = []

    def reset_filter_interval(self, interval: int | None = 100) -> None:
        self.filter_interval = interval

    def after_step(self, _: Any, global_step: Any) -> None:
        self.seen.append((int(global_step), self.filter_interval))

    def end(self) -> None:
        pass


class Trainer:
    """Calls hooks as RecIS does."""

    def __init__(self, *hooks: Any) -> None:
        self.hooks = list(hooks)
        self.metrics: dict[str, Any] = {}
        self.global_step = torch.scalar_tensor(0, dtype=torch.int64)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.global_step += 1
            self.metrics["loss"] = 1 / self.global_step.float()
            for hook in self.hooks:
                hook.after_step({"epoch": 0, **self.metrics}, self.global_step)
        for hook in self.hooks:
            hook.end()

    def evaluate(self, batches: int = 3) -> None:
        for batch in range(batches):
            self.metrics["auc"] = self.global_step.item() + batch / 10
            for hook in self.hooks:
                hook.after_step(dict(self.metrics), self.global_step)
        for hook in self.hooks:
            hook.end()


@pytest.fixture
def spooled(tmp_path: Path) -> Spooled:
    return Spooled(tmp_path / "spool")


@pytest.fixture
def options(spooled: Spooled) -> dict[str, Any]:
    return {"mode": "offline", "spool_dir": str(spooled.root)}


def closed(monitor: MonitorHook) -> None:
    assert monitor.run is not None
    assert (monitor.run.failures, monitor.run.refused, monitor.run.dropped) == (0, 0, 0)
    monitor.run.finish()


def test_every_step_has_its_points_and_evaluations_do_not_end_the_run(
    spooled: Spooled, options: dict[str, Any]
) -> None:
    monitor = MonitorHook(**options)
    trainer = Trainer(monitor)
    for _ in range(2):
        trainer.train(4)
        trainer.evaluate()
    trainer.train(2)
    closed(monitor)
    values = spooled.values()
    assert [step for step, _ in values["loss"]] == list(range(1, 11))
    assert [loss for _, loss in values["loss"]] == pytest.approx([1 / step for step in range(1, 11)])
    assert values["auc"] == [(4, 4.2), (8, 8.2)]
    assert [record.state for record in spooled.of(Status) if isinstance(record, Status)] == ["running", "finished"]


def test_later_versions_pass_more_arguments_and_events(spooled: Spooled, options: dict[str, Any]) -> None:
    monitor = MonitorHook(**options)
    for event in ("start", "before_epoch", "before_step", "after_data", "after_backward", "before_window"):
        getattr(monitor, event)(is_train=True)
    monitor.after_step(metrics={"loss": 1.0}, global_step=torch.tensor(1), is_train=True)
    for event in ("window_mode", "out_off_data", "after_train", "after_window"):
        getattr(monitor, event)()
    for value in (0.25, 0.75):
        monitor.after_step(metrics={"auc": value}, global_step=torch.tensor(1), is_train=False, eval_result=None)
    monitor.after_eval()
    monitor.after_epoch(is_train=False)
    monitor.end(is_train=False)
    for value in (0.125, 0.5):  # an evaluation before the first step of a training that continues
        monitor.after_step(metrics={"auc": value}, global_step=torch.tensor(7), is_train=False)
    monitor.after_step(metrics={"loss": 0.5}, global_step=torch.tensor(8), is_train=True)
    closed(monitor)
    assert spooled.values() == {"loss": [(1, 1.0), (8, 0.5)], "auc": [(1, 0.75), (7, 0.5)]}


def test_every_streams_the_newest_value_of_each(spooled: Spooled, options: dict[str, Any]) -> None:
    monitor = MonitorHook(every=4, **options)
    for step in range(1, 11):
        monitor.after_step({"loss": float(step), **({"rare": 7.5} if step == 2 else {})}, step)
    monitor.end()
    closed(monitor)
    assert spooled.values() == {"loss": [(4, 4.0), (8, 8.0), (10, 10.0)], "rare": [(4, 7.5)]}


def test_the_filter_hook_of_the_trainer_is_found_and_its_interval_changes(
    spooled: Spooled, options: dict[str, Any]
) -> None:
    monitor, filters = MonitorHook(**options), Filter(10)
    trainer = Trainer(monitor)
    trainer.train(2)
    trainer.hooks.append(filters)
    trainer.train(1)
    assert monitor.run is not None
    for number, value in (("a", 3), ("b", 0), ("c", None)):
        monitor.run.controls.offer(Command(id=number, control="filter_interval", value=value))
        trainer.train(1)
    filters.filter_interval = 20
    trainer.train(1)
    monitor.run.finish()
    assert filters.seen == [(3, 10), (4, 3), (5, 3), (6, None), (7, 20)]
    results = [(item.state, item.step, item.old, item.new) for item in spooled.of(Result) if isinstance(item, Result)]
    assert results == [("applied", 4, 10, 3), ("rejected", 5, 3, 3), ("applied", 6, 3, None)]
    declared = [item for item in spooled.of(Declare) if isinstance(item, Declare)]
    assert [(item.control, item.value) for item in declared] == [("filter_interval", 10), ("filter_interval", 20)]


def test_a_filter_hook_can_be_given(spooled: Spooled, options: dict[str, Any]) -> None:
    filters = Filter(None)
    monitor = MonitorHook(filter_hook=filters, **options)
    monitor.after_step({}, 1)
    closed(monitor)
    assert [item.value for item in spooled.of(Declare) if isinstance(item, Declare)] == [None]


def test_wrong_arguments_are_errors_at_construction(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="filter_hook: expected a HashTableFilterHook, got str"):
        MonitorHook(filter_hook="x", **options)
    with pytest.raises(ValueError, match="every: expected a positive int"):
        MonitorHook(every=0, **options)
    with pytest.raises(ValueError, match="run_id"):
        MonitorHook(run_id="a b", **options)
    with pytest.raises(ValueError, match="rank, world_size"):
        MonitorHook(rank=1, **options)


def test_nothing_that_is_handed_in_ends_the_training(spooled: Spooled, options: dict[str, Any]) -> None:
    monitor = MonitorHook(**options)
    monitor.after_step({"loss": object()}, 1)
    monitor.after_step({"loss": 1.0}, "soon")
    monitor.after_step(17, 2)  # type: ignore[arg-type]
    monitor.after_step(None, 3)
    monitor.after_step()
    monitor.after_step({"loss": 2.0}, 4)
    monitor.end()
    assert monitor.run is not None
    assert monitor.run.refused == 3
    monitor.run.finish()
    monitor.after_step({"loss": 3.0}, 5)
    monitor.end()
    assert spooled.values() == {"loss": [(4, 2.0)]}


def test_a_run_that_cannot_be_opened_is_logged_and_training_goes_on(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> None:
        raise OSError("no")

    monitor = MonitorHook(**options)
    monkeypatch.setattr("recis_monitor.monitor_hook.init", fail)
    trainer = Trainer(monitor)
    trainer.train(3)
    trainer.evaluate()
    assert caplog.text.count("the monitor could not start") == 1
    assert monitor.run is None
