"""`recis.bridge.run`: what `log` takes, mends and refuses; how a run ends; what a forked child does."""

import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recis.monitor
from recis.bridge.outbox import Outbox
from recis.bridge.spool import SpoolFolder, find_left_over
from recis.metrics.scalars import PendingScalars
from recis.monitor import Run
from recis.wire.messages import Command, Declare, Event, Line, Pass, Result, Status
from tests.e2e.processes import until
from tests.recis.bridge.conftest import Spooled

Opener = Callable[..., Run]


@pytest.fixture
def run(open_offline: Opener) -> Iterator[Run]:
    with open_offline(run_id="r1") as run:
        yield run


def test_numbers_of_all_kinds_arrive_at_their_step(run: Run, spooled: Spooled) -> None:
    run.log({"a": 1, "b": 0.5}, step=10)
    run.log({"a": np.float32(0.25), "b": np.int64(7)}, step=torch.tensor(11))
    run.log({"a": torch.tensor(3.0, requires_grad=True), "b": np.array(2.5)}, step=12)
    run.log({"a": True}, step=13)
    run.finish()
    assert spooled.values() == {
        "a": [(10, 1.0), (11, 0.25), (12, 3.0), (13, 1.0)],
        "b": [(10, 0.5), (11, 7.0), (12, 2.5)],
    }


def test_a_missing_step_is_the_next_one(run: Run, spooled: Spooled) -> None:
    run.log({"a": 1.0})
    run.log({"a": 2.0})
    run.log({"a": 3.0}, step=10)
    run.log({"a": 4.0})
    run.finish()
    assert [step for step, _ in spooled.values()["a"]] == [0, 1, 10, 11]


def test_nan_and_infinities_arrive_as_such(run: Run, spooled: Spooled) -> None:
    for step, value in enumerate((math.nan, math.inf, -math.inf)):
        run.log({"loss": value}, step)
    run.finish()
    nan, plus, minus = (value for _, value in spooled.values()["loss"])
    assert math.isnan(nan)
    assert (plus, minus) == (math.inf, -math.inf)


def test_nested_metrics_become_sections(run: Run, spooled: Spooled) -> None:
    run.log({"train": {"loss": 1.0, "aux": {"kl": 2.0}}, "lr": 0.1}, 1)
    run.finish()
    assert set(spooled.values()) == {"train/loss", "train/aux/kl", "lr"}


@pytest.mark.parametrize("bad", ["0.5", None, [1.0], np.zeros(3), torch.zeros(2), object(), 1j])
def test_a_bad_value_is_one_warning_and_a_counter_and_the_rest_arrives(
    run: Run, spooled: Spooled, caplog: pytest.LogCaptureFixture, bad: Any
) -> None:
    for step in range(3):
        run.log({"bad": bad, "good": 1.0}, step)
    run.finish()
    assert run.refused == 3
    assert len([record for record in caplog.records if "said once" in record.message]) == 1
    assert [step for step, _ in spooled.values()["good"]] == [0, 1, 2]
    assert "bad" not in spooled.values()


@pytest.mark.parametrize("step", ["ten", 1.5, True, math.nan, 1 << 63, [1]])
def test_a_bad_step_is_a_warning_not_an_error(run: Run, caplog: pytest.LogCaptureFixture, step: Any) -> None:
    run.log({"a": 1.0}, step)
    assert run.refused == 1
    assert "expected" in caplog.text
    assert "step" in caplog.text


@pytest.mark.parametrize("metrics", [None, 3, "loss", [("a", 1)]])
def test_metrics_that_are_no_dict_are_a_warning(run: Run, caplog: pytest.LogCaptureFixture, metrics: Any) -> None:
    run.log(metrics, 1)
    assert run.refused == 1
    assert f"expected names and their values, as in {{'loss': 0.5}}, got {type(metrics).__name__}" in caplog.text


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "../../etc/passwd"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("🚂 loss", "🚂 loss"),
        ("nul\0", "nul\N{REPLACEMENT CHARACTER}"),
        ("", "(empty)"),
        (7, "7"),
    ],
)
def test_a_hostile_name_loses_no_value(run: Run, spooled: Spooled, name: Any, kept: str) -> None:
    run.log({name: 1.0}, 1)
    run.finish()
    assert spooled.values() == {kept: [(1, 1.0)]}


def test_long_names_are_shortened_and_stay_apart(run: Run, spooled: Spooled) -> None:
    run.log({"x" * 10_000 + "1": 1.0, "x" * 10_000 + "2": 2.0}, 1)
    run.finish()
    names = list(spooled.values())
    assert len(names) == 2
    assert all(len(name) <= 512 for name in names)


def test_very_many_metrics_in_one_call(run: Run, spooled: Spooled) -> None:
    run.log({f"m{number}": float(number) for number in range(5000)}, 1)
    run.finish()
    assert spooled.values() == {f"m{number}": [(1, float(number))] for number in range(5000)}


class DeviceScalar(torch.Tensor):
    """A 0-dim tensor on a device that may not be waited for on the thread that made it."""

    def __new__(cls, value: float) -> "DeviceScalar":
        return torch.Tensor._make_wrapper_subclass(cls, (), dtype=torch.float32, device="meta")  # type: ignore[no-any-return, attr-defined]

    def __init__(self, value: float) -> None:
        self.value = value
        self.owner = threading.get_ident()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        first = args[0][0] if isinstance(args[0], list | tuple) else args[0]
        if name in ("_local_scalar_dense", "_to_copy", "copy_"):
            assert threading.get_ident() != first.owner, f"{name} waits for the device on the training thread"
        if name in ("detach", "clone", "alias"):
            copy = DeviceScalar(first.value)
            copy.owner = first.owner
            return copy
        if name == "stack":
            stacked = DeviceScalar(0.0)
            stacked.value = [item.value for item in args[0]]  # type: ignore[assignment]
            return stacked
        raise AssertionError(f"unexpected {name}")

    def tolist(self) -> Any:
        assert threading.get_ident() != self.owner, "tolist waits for the device on the training thread"
        return self.value

    def __float__(self) -> float:
        raise AssertionError("float() waits for the device")

    def item(self) -> float:
        raise AssertionError(".item() waits for the device")

    def cpu(self, *_: Any, **__: Any) -> "DeviceScalar":
        raise AssertionError(".cpu() waits for the device")


def test_device_scalars_are_never_read_on_the_training_thread(run: Run, spooled: Spooled) -> None:
    for step in range(3):
        run.log({"loss": DeviceScalar(step / 2), "aux": DeviceScalar(9.0), "lr": 0.1}, step)
    finisher = threading.Thread(target=run.finish)  # the end of training may wait, here on another thread
    finisher.start()
    finisher.join()
    assert spooled.values() == {
        "loss": [(0, 0.0), (1, 0.5), (2, 1.0)],
        "aux": [(0, 9.0), (1, 9.0), (2, 9.0)],
        "lr": [(0, 0.1), (1, 0.1), (2, 0.1)],
    }
    assert run.refused == 0


class FailedScalar(DeviceScalar):
    """On a device that has failed: whatever it is asked raises."""

    def tolist(self) -> Any:
        raise RuntimeError("CUDA error: device-side assert triggered")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del func, types, args, kwargs
        return FailedScalar(0.0)


def test_a_device_that_fails_costs_its_values_and_nothing_else(
    run: Run, spooled: Spooled, caplog: pytest.LogCaptureFixture
) -> None:
    assert run._parts is not None
    sender = run._parts.sender
    for step in range(20):
        run.log({"loss": FailedScalar(1.0), "grad": FailedScalar(1.0), "lr": 0.1}, step)
    until(lambda: run.dropped == 40, 20, "lost values to be counted")  # by the sender's own regular work
    run.log({"loss": FailedScalar(1.0)}, 20)
    run.log({"qps": 7.0}, 20)
    run.finish(error="RuntimeError: CUDA error: device-side assert triggered")
    assert not sender.is_alive
    assert run.failures == 0
    assert sum("device-side assert" in record.message for record in caplog.records) == 1
    [*_, status] = spooled.of(Status)
    assert isinstance(status, Status)
    assert (status.state, status.message) == ("failed", "RuntimeError: CUDA error: device-side assert triggered")
    values = spooled.values()
    assert values["lr"] == [(step, 0.1) for step in range(20)]
    assert values["qps"] == [(20, 7.0)]
    assert "loss" not in values


def test_a_device_that_does_not_answer_is_not_waited_for_without_end(
    run: Run, spooled: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PendingScalars, "ready", lambda _: False)
    run.log({"loss": DeviceScalar(1.0)}, 0)
    run.log({"qps": 7.0}, 0)
    run.finish(timeout_s=0.2)
    assert spooled.values() == {"qps": [(0, 7.0)]}
    [folder] = find_left_over(spooled.root)
    assert Outbox(folder, segments=SpoolFolder(folder).segments()).dropped == 1


def test_other_records_arrive(run: Run, spooled: Spooled) -> None:
    run.log({"a": 1.0}, 5)
    run.alert("Loss is NaN", level="ERROR")
    run.line("<gstep=5>", step=5)
    report = Pass(
        table="user",
        step=5,
        time_ns=1,
        interval=10,
        rows_before=9,
        evicted=4,
        rows_after=5,
        admitted=3,
        milliseconds=0.5,
        bytes=640,
    )
    run.filter_pass(report)
    run.finish()
    [event] = spooled.of(Event)
    assert isinstance(event, Event)
    assert (event.kind, event.level, event.text, event.step) == ("alert", "error", "Loss is NaN", 5)
    assert [line.text for line in spooled.of(Line) if isinstance(line, Line)] == ["<gstep=5>"]
    assert spooled.of(Pass) == [report]
    assert spooled.values()["table/user/rows"] == [(5, 5.0)]
    assert spooled.values()["table/user/evicted"] == [(5, 4.0)]


def test_a_control_is_declared_applied_and_answered_at_the_step_boundary(run: Run, spooled: Spooled) -> None:
    seen: list[float] = []
    run.control("lr_scale", type="float", value=1.0, minimum=0.0, maximum=10.0, on_change=seen.append)
    run.controls.offer(Command(id="now", control="lr_scale", value=2))
    run.controls.offer(Command(id="later", control="lr_scale", value=3.0, apply_at_step=7))
    run.controls.offer(Command(id="bad", control="lr_scale", value=11.0))
    for step in range(5, 9):
        run.log({"a": 1.0}, step)
    run.finish()
    results = {item.command: item for item in spooled.of(Result) if isinstance(item, Result)}
    assert seen == [2.0, 3.0]
    assert (results["now"].state, results["now"].step) == ("applied", 5)
    assert (results["now"].old, results["now"].new) == (1.0, 2.0)
    assert (results["later"].state, results["later"].step, results["later"].old) == ("applied", 7, 2.0)
    assert results["bad"].state == "rejected"
    assert "at most 10" in results["bad"].message
    [declared] = spooled.of(Declare)
    assert isinstance(declared, Declare)
    assert (declared.control, declared.value, declared.maximum) == ("lr_scale", 1.0, 10.0)


def test_finishing_marks_the_run(open_offline: Opener, spooled: Spooled) -> None:
    open_offline(run_id="ok").finish()
    assert [item.state for item in spooled.of(Status) if isinstance(item, Status)] == ["running", "finished"]


def test_leaving_by_an_exception_marks_the_run_failed(open_offline: Opener, spooled: Spooled) -> None:
    with pytest.raises(ZeroDivisionError), open_offline(run_id="bad"):
        _ = 1 / 0
    last = spooled.of(Status)[-1]
    assert isinstance(last, Status)
    assert (last.state, last.message) == ("failed", "ZeroDivisionError: division by zero")


def test_a_second_finish_and_a_late_log_are_warnings(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run.log([1.0], 1)
    run.log({"a": 1.0}, 1.5)  # each mistake is told of, whatever was told before
    run.finish()
    assert run.finish()
    run.log({"a": 1.0}, 1)
    run.alert("too late")
    assert "log's metrics" in caplog.text
    assert "log's step" in caplog.text
    assert "finish was called twice" in caplog.text
    assert "after finish" in caplog.text


def test_an_error_of_the_monitor_itself_never_reaches_training(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run.upload_trace(3, 1)  # type: ignore[arg-type]
    run.alert("x" * 10_000_000)
    run.line(3)  # type: ignore[arg-type]
    assert run.failures == 2
    assert "training goes on" in caplog.text


def test_disabled_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    threads = threading.active_count()
    run = recis.monitor.init(mode="disabled")
    run.log({"a": 1.0}, 1)
    run.control("c", type="int", value=1, on_change=lambda _: None)
    assert run.finish()
    assert not list(tmp_path.iterdir())
    assert threading.active_count() == threads


def test_opening_and_closing_leaves_nothing_behind(open_offline: Opener) -> None:
    open_offline(run_id="first").finish()
    threads, files = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    for number in range(20):
        open_offline(run_id=f"r{number}").finish()
    assert threading.active_count() == threads
    assert len(list(Path("/proc/self/fd").iterdir())) == files
