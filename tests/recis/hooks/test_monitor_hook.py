"""`recis.hooks.monitor_hook`: reports arrive in the run, commands reach the hooks, and errors do not reach training."""

import argparse
import gc
import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from recis.framework import Trainer, TrainingArguments
from recis.framework.metrics import add_metric, get_global_metrics
from recis.hooks import HashTableFilterHook, Hook, LoggerHook, MonitorHook, ProfilerHook
from recis.metrics.registry import MetricsRegistry, set_current_registry
from recis.nn import HashTable
from recis.nn.hashtable_hook import FilterHook
from recis.nn.modules.hashtable import filter_out_sparse_param
from recis.optim import SparseAdamW
from recis.wire.messages import Command, Declare, Event, Line, Pass, Result, Status
from tests.recis.bridge.conftest import Spooled


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = HashTable(
            embedding_shape=[4], name="user", filter_hook=FilterHook("GlobalStepFilter", {"filter_step": 3})
        )
        self.top = nn.Linear(4, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        add_metric("batch_mean", ids.float().mean())
        return self.top(self.table(ids)).square().mean()


@pytest.fixture
def spooled(tmp_path: Path) -> Spooled:
    return Spooled(tmp_path / "spool")


@pytest.fixture
def make_hook(spooled: Spooled) -> Callable[..., MonitorHook]:
    return lambda **options: MonitorHook(mode="offline", spool_dir=str(spooled.root), **options)


def make_trainer(tmp_path: Path, *hooks: Hook, steps: int = 12) -> Trainer:
    torch.manual_seed(0)
    model = Model()
    return Trainer(
        model,
        TrainingArguments(output_dir=str(tmp_path / "out"), log_steps=4),
        [torch.arange(step, step + 5) for step in range(steps)],
        [torch.arange(5)],
        hooks,
        (torch.optim.Adam(model.parameters()), None),
        SparseAdamW(filter_out_sparse_param(model), lr=0.01),
    )


class CommandAt(Hook):
    """Plays the server: offers a command just before a step ends."""

    def __init__(self, monitor: MonitorHook, step: int, **command: Any) -> None:
        self.monitor = monitor
        self.step = step
        self.command = command

    def after_step(self, metrics: Any, global_step: int) -> None:
        if global_step == self.step:
            assert self.monitor.run is not None
            self.monitor.run.controls.offer(Command(id=f"c{global_step}", **self.command))


def results(spooled: Spooled) -> list[Result]:
    return [item for item in spooled.of(Result) if isinstance(item, Result)]


def test_a_training_streams_everything(tmp_path: Path, spooled: Spooled, make_hook: Callable[..., MonitorHook]) -> None:
    trainer = make_trainer(tmp_path, make_hook(run_id="r"), HashTableFilterHook(4))
    trainer.train_and_evaluate(epochs=1)
    values = spooled.values()
    assert [step for step, _ in values["loss"]] == list(range(1, 13))
    assert [step for step, _ in values["batch_mean"]] == list(range(1, 13))
    assert [step for step, _ in values["qps"]] == [4, 8, 12]
    assert values["eval/loss"][0][0] == 12
    assert [step for step, _ in values["table/user/rows"]] == [4, 8, 12]
    passes = [item for item in spooled.of(Pass) if isinstance(item, Pass)]
    assert [(item.table, item.step, item.interval) for item in passes] == [
        ("user", 4, 4),
        ("user", 8, 4),
        ("user", 12, 4),
    ]
    assert sum(item.evicted for item in passes) > 0
    assert len(spooled.of(Line)) == 3
    states = [item.state for item in spooled.of(Status) if isinstance(item, Status)]
    assert states == ["running", "finished"]


def test_checkpoints_of_a_training_are_marked(
    tmp_path: Path, spooled: Spooled, make_hook: Callable[..., MonitorHook]
) -> None:
    trainer = make_trainer(tmp_path, make_hook(run_id="r"))
    trainer.args.save_steps = 5
    trainer.train()
    events = [item for item in spooled.of(Event) if isinstance(item, Event) and item.kind == "checkpoint"]
    assert [(event.step, event.level) for event in events] == [(5, "info"), (10, "info"), (12, "info")]
    assert events[0].text == f"Checkpoint {tmp_path / 'out' / 'step-000000000005'}"


def test_a_training_says_where_the_time_of_its_steps_goes(
    tmp_path: Path, spooled: Spooled, make_hook: Callable[..., MonitorHook]
) -> None:
    class Slow(Hook):
        def after_step(self, metrics: Any, global_step: int) -> None:
            time.sleep(0.02)

    def slow() -> Iterator[torch.Tensor]:
        for step in range(8):
            time.sleep(0.01)
            yield torch.arange(step, step + 5)

    trainer = make_trainer(tmp_path, make_hook(run_id="r"), HashTableFilterHook(4), Slow())
    trainer.train_dataset = slow()
    trainer.train()
    trainer.evaluate()
    times = {name: dict(values) for name, values in spooled.values().items() if name.startswith("time/")}
    everywhere = [
        f"time/{phase}_ms" for phase in ("data_wait", "forward", "backward", "optimizer", "hooks", "other", "step")
    ]
    assert {*times} == {*everywhere, "time/filter_pass_ms"}
    assert all([*times[name]] == [*range(1, 9)] for name in everywhere)
    assert [*times["time/filter_pass_ms"]] == [4, 8]
    for step in range(1, 9):
        parts = [values.get(step, 0.0) for name, values in times.items() if name != "time/step_ms"]
        assert sum(parts) == pytest.approx(times["time/step_ms"][step])
        assert times["time/data_wait_ms"][step] >= 10
        assert times["time/hooks_ms"][step] >= 20
        assert min(times[f"time/{phase}_ms"][step] for phase in ("forward", "backward", "optimizer")) > 0


def test_filter_interval_changes_in_the_running_job(
    tmp_path: Path, spooled: Spooled, make_hook: Callable[..., MonitorHook]
) -> None:
    monitor, filters = make_hook(), HashTableFilterHook(10)
    trainer = make_trainer(tmp_path, filters, monitor, steps=20)
    trainer.add_hook(CommandAt(monitor, 11, control="filter_interval", value=2))
    trainer.train()
    assert filters.filter_interval == 2
    [result] = results(spooled)
    assert (result.state, result.step, result.old, result.new) == ("applied", 11, 10, 2)
    passes = [item for item in spooled.of(Pass) if isinstance(item, Pass)]
    assert [item.step for item in passes] == [10, 12, 14, 16, 18, 20]
    assert [item.interval for item in passes] == [10, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "x"])
def test_a_bad_filter_interval_is_refused_and_nothing_changes(
    tmp_path: Path, spooled: Spooled, make_hook: Callable[..., MonitorHook], value: Any
) -> None:
    monitor, filters = make_hook(), HashTableFilterHook(10)
    trainer = make_trainer(tmp_path, filters, monitor)
    trainer.add_hook(CommandAt(monitor, 3, control="filter_interval", value=value))
    trainer.train()
    [result] = results(spooled)
    assert result.state == "rejected"
    assert "filter_interval: expected" in result.message
    assert filters.filter_interval == 10


def test_a_value_changed_in_code_is_declared_again(
    tmp_path: Path, spooled: Spooled, make_hook: Callable[..., MonitorHook]
) -> None:
    filters = HashTableFilterHook(10)

    class Changes(Hook):
        def after_step(self, metrics: Any, global_step: int) -> None:
            if global_step == 5:
                filters.reset_filter_interval(None)

    make_trainer(tmp_path, filters, make_hook(), Changes()).train()
    declared = [item for item in spooled.of(Declare) if isinstance(item, Declare) and item.control == "filter_interval"]
    assert [(item.value, item.step) for item in declared] == [(10, None), (None, 5)]


def test_a_capture_on_demand_works_without_a_profiler_hook(
    tmp_path: Path, spooled: Spooled, make_hook: Callable[..., MonitorHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monitor = make_hook()
    trainer = make_trainer(tmp_path, monitor)
    trainer.add_hook(CommandAt(monitor, 3, control="profile", value={"active": 2}))
    trainer.train()
    [result] = results(spooled)
    assert (result.state, result.new) == ("applied", {"active": 2})
    [file] = (tmp_path / "recis-traces").iterdir()
    trace = json.loads(gzip.decompress(file.read_bytes()))
    assert any("addmm" in event.get("name", "") for event in trace["traceEvents"])
    assert list(spooled.root.glob("*/trace-*.json"))


def test_a_second_capture_is_refused_while_one_runs(
    tmp_path: Path, spooled: Spooled, make_hook: Callable[..., MonitorHook]
) -> None:
    monitor = make_hook()
    profiler = ProfilerHook(repeat=0, output_dir=str(tmp_path / "traces"))
    trainer = make_trainer(tmp_path, profiler, monitor)
    trainer.add_hook(CommandAt(monitor, 3, control="profile", value={"active": 3}))
    trainer.add_hook(CommandAt(monitor, 4, control="profile", value={"active": 1}))
    trainer.train()
    first, second = results(spooled)
    assert (first.state, second.state) == ("applied", "rejected")
    assert "another capture" in second.message


def test_the_log_distance_is_a_control(tmp_path: Path, spooled: Spooled, make_hook: Callable[..., MonitorHook]) -> None:
    monitor, logger = make_hook(), LoggerHook(100)
    trainer = make_trainer(tmp_path, logger, monitor)
    trainer.add_hook(CommandAt(monitor, 2, control="log_step", value=3))
    trainer.train()
    assert logger.log_step == 3
    assert [step for step, _ in spooled.values()["qps"]] == [3, 6, 9, 12]


def test_every_streams_the_newest_value_of_each_metric(
    tmp_path: Path, spooled: Spooled, make_hook: Callable[..., MonitorHook]
) -> None:
    make_trainer(tmp_path, make_hook(every=5)).train()
    assert [step for step, _ in spooled.values()["loss"]] == [5, 10, 12]


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (RuntimeError("out of luck"), "failed", "RuntimeError: out of luck"),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (SystemExit(0), "finished", ""),
    ],
)
def test_a_training_that_is_left_is_marked_with_what_ended_it(
    tmp_path: Path,
    spooled: Spooled,
    make_hook: Callable[..., MonitorHook],
    error: BaseException,
    state: str,
    message: str,
) -> None:
    class Fails(Hook):
        def after_step(self, metrics: Any, global_step: int) -> None:
            if global_step == 3:
                raise error

    trainer = make_trainer(tmp_path, make_hook(), Fails())
    with pytest.raises(type(error)):
        trainer.train()
    last = spooled.of(Status)[-1]
    assert isinstance(last, Status)
    assert (last.state, last.message) == (state, message)


def test_rank_and_size_may_be_given(make_hook: Callable[..., MonitorHook]) -> None:
    hook = make_hook(rank=2, world_size=3)
    hook.after_step({"loss": 1.0}, 1)
    assert hook.run is not None
    assert hook.run.rank == 2
    hook.end()


def test_a_loop_of_ones_own(spooled: Spooled, make_hook: Callable[..., MonitorHook]) -> None:
    hook, filters = make_hook(), HashTableFilterHook(2)
    table = HashTable(embedding_shape=[2], name="mine", filter_hook=FilterHook("GlobalStepFilter", {"filter_step": 1}))
    hook.watch(filters)
    global_step = torch.tensor(0)
    for _ in range(4):
        table(torch.tensor([int(global_step)]))
        global_step += 1
        add_metric("own/loss", 1.0 / float(global_step))
        filters.after_step(None, global_step)
        hook.after_step({"passed_in": 3.0}, global_step)
    hook.end()
    values = spooled.values()
    assert [step for step, _ in values["own/loss"]] == [1, 2, 3, 4]
    assert [step for step, _ in values["passed_in"]] == [1, 2, 3, 4]
    assert [step for step, _ in values["table/mine/rows"]] == [2, 4]


def test_odd_steps_and_metrics_of_a_loop_of_ones_own_never_end_it(
    spooled: Spooled, make_hook: Callable[..., MonitorHook]
) -> None:
    hook, filters = make_hook(config=argparse.Namespace(lr=0.1), tags=None, project=None), HashTableFilterHook(2**70)
    set_current_registry(MetricsRegistry())
    hook.watch(filters)
    hook.after_step({"a": 1.0, "b": 2.0}, "ten")
    hook.after_step([1.0], 1)  # type: ignore[arg-type]
    hook.after_step({"a": 1.0}, np.int64(2))
    filters.reset_filter_interval(2**71)
    hook.after_step({"a": 2.0}, torch.tensor(3))
    assert hook.run is not None
    assert (hook.run.refused, hook.run.failures) == (4, 0)  # two values, one call, the interval of more than 64 bits
    hook.end()
    assert spooled.values()["a"] == [(2, 1.0), (3, 2.0)]
    assert [item.control for item in spooled.of(Declare) if isinstance(item, Declare)] == ["profile"]


def test_metrics_of_a_trainer_stream_only_where_they_were_set(
    tmp_path: Path, spooled: Spooled, make_hook: Callable[..., MonitorHook]
) -> None:
    class Sometimes(Hook):
        def after_step(self, metrics: dict[str, Any], global_step: Any) -> None:
            if global_step == 3:
                add_metric("once", 7)
                get_global_metrics()["twice"] = torch.tensor(8.0)
                add_metric("note", "no number")
            if global_step == 5:
                get_global_metrics().clear()
            metrics["of_a_hook"] = global_step.item()

    hook = make_hook()
    trainer = make_trainer(tmp_path, hook, Sometimes())
    trainer.train()
    values = spooled.values()
    steps = list(range(1, 13))
    assert [step for step, _ in values["loss"]] == steps
    assert values["once"] == [(3, 7.0)]
    assert values["twice"] == [(3, 8.0)]
    assert values["of_a_hook"] == [(step, float(step)) for step in steps]
    assert "epoch" not in values
    assert hook.run is not None
    assert (hook.run.refused, hook.run.failures) == (0, 0)


def test_metrics_handed_over_in_a_loop_of_ones_own_are_not_repeated(
    spooled: Spooled, make_hook: Callable[..., MonitorHook]
) -> None:
    hook = make_hook()
    add_metric("auc", torch.tensor(0.5))
    for step in range(1, 4):
        add_metric("loss", 1.0 / step)
        hook.after_step(get_global_metrics(), step)
        hook.after_step({**get_global_metrics(), "epoch": 0}, torch.tensor(step + 10))
    hook.end()
    values = spooled.values()
    assert values["auc"] == [(1, 0.5)]
    assert [step for step, _ in values["loss"]] == [1, 2, 3]
    assert [step for step, _ in values["epoch"]] == [11, 12, 13]


def test_a_second_training_is_a_new_run_and_reports_once(
    tmp_path: Path, spooled: Spooled, make_hook: Callable[..., MonitorHook]
) -> None:
    trainer = make_trainer(tmp_path, make_hook(), HashTableFilterHook(4))
    trainer.train()
    first = len(spooled.of(Pass))
    trainer.train()
    assert first == 3
    assert len(spooled.of(Pass)) == 6
    assert len(list(spooled.root.glob("*/writer.json"))) == 2


def test_a_monitor_that_cannot_start_never_stops_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("no threads left")

    monkeypatch.setattr("recis.bridge.opening.Outbox", broken)
    trainer = make_trainer(tmp_path, MonitorHook(mode="offline", spool_dir=str(tmp_path / "spool")))
    trainer.train()
    assert trainer.state.global_step == 12
    assert "training continues without it" in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        {"every": 0},
        {"every": True},
        {"mode": "on"},
        {"run_id": "a b"},
        {"url": "ftp://x"},
        {"rank": 2, "world_size": 2},
    ],
)
def test_wrong_arguments_are_refused_at_construction(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        MonitorHook(**options)


@pytest.fixture(autouse=True)
def no_other_tables() -> None:
    """Exclude tables of earlier tests, which would take part in manual passes until they are collected."""
    gc.collect()


@pytest.mark.parametrize(("mode", "acknowledged"), [("disabled", True), ("offline", False)])
def test_the_hook_says_whether_everything_was_acknowledged(
    tmp_path: Path, spooled: Spooled, caplog: pytest.LogCaptureFixture, mode: Any, acknowledged: bool
) -> None:
    hook = MonitorHook(mode=mode, spool_dir=str(spooled.root))
    assert hook.acknowledged is None
    make_trainer(tmp_path, hook).train()
    assert hook.acknowledged is acknowledged
    hook.end()
    assert "called twice" not in caplog.text
