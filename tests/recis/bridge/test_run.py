"""`recis.bridge.run`: what `log` accepts, corrects and refuses; how a run ends; what a forked child does."""

import enum
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
from recis.bridge.outbox_writer import OutboxWriter
from recis.bridge.spool import SpoolFolder, find_left_over
from recis.metrics.scalars import PendingScalars
from recis.monitor import Run
from recis.wire.messages import Command, Declare, Event, Line, Pass, Points, Result, Status
from tests.e2e.processes import until
from tests.recis.bridge.conftest import Spooled
from tests.recis.raising import Hidden, Raises

Opener = Callable[..., Run]


@pytest.fixture
def run(open_offline: Opener) -> Iterator[Run]:
    with open_offline(run_id="r1") as run:
        yield run


def test_numbers_of_all_kinds_arrive_at_their_step(run: Run, spooled: Spooled) -> None:
    run.log({"a": 1, "b": 0.5}, step=10)
    run.log({"a": np.float32(0.25), "b": np.int64(7)}, step=torch.tensor(11))  # type: ignore[arg-type]
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


def test_a_report_without_a_commit_shares_its_step_with_the_next(run: Run, spooled: Spooled) -> None:
    run.log({"a": 1.0}, commit=False)
    run.log({"b": 1.0}, commit=False)
    run.log({"c": 1.0}, commit=True)
    run.log({"a": 2.0})
    run.log({"a": 3.0}, step=torch.tensor(10), commit=False)  # type: ignore[arg-type]
    run.log({"b": 3.0}, sync=True)
    run.log({"a": 4.0}, step="x", commit=False)  # type: ignore[arg-type]
    run.log({"a": 5.0})
    run.finish()
    assert spooled.values() == {
        "a": [(0, 1.0), (1, 2.0), (10, 3.0), (11, 5.0)],
        "b": [(0, 1.0), (10, 3.0)],
        "c": [(0, 1.0)],
    }


@pytest.mark.parametrize(("exit_code", "state"), [(0, "finished"), (None, "finished"), (2, "failed")])
def test_an_exit_code_says_how_a_run_ended(exit_code: Any, state: str, open_offline: Opener, spooled: Spooled) -> None:
    open_offline().finish(exit_code, quiet=True)
    assert [status.state for status in spooled.of(Status) if isinstance(status, Status)] == ["running", state]


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


@pytest.mark.parametrize("bad", ["0.5", None, [1.0], np.zeros(3), torch.zeros(2), object(), 1j, Raises(ValueError)])
def test_a_bad_value_is_one_warning_and_a_counter_and_the_rest_arrives(
    run: Run, spooled: Spooled, caplog: pytest.LogCaptureFixture, bad: Any
) -> None:
    for step in range(3):
        run.log({"bad": bad, "good": 1.0}, step)
    run.finish()
    assert run.refused == 3
    assert len([record for record in caplog.records if "logged once" in record.message]) == 1
    assert [step for step, _ in spooled.values()["good"]] == [0, 1, 2]
    assert "bad" not in spooled.values()


def test_an_interruption_by_the_user_goes_through(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        run.log({"a": 1.0, "bad": Raises(KeyboardInterrupt)}, 1)
    run.log({"a": 2.0}, 2)
    assert run.refused == 0


@pytest.mark.parametrize("step", ["ten", 1.5, True, math.nan, 1 << 63, [1], Raises(), np.zeros(2)])
def test_a_bad_step_is_a_warning_not_an_error(run: Run, caplog: pytest.LogCaptureFixture, step: Any) -> None:
    run.log({"a": 1.0, "b": {"c": 2.0, "d": 3.0}}, step)
    assert run.refused == 3
    assert "expected" in caplog.text
    assert "step" in caplog.text


@pytest.mark.parametrize("metrics", [None, 3, "loss", [("a", 1)]])
def test_metrics_that_are_no_dict_are_a_warning(run: Run, caplog: pytest.LogCaptureFixture, metrics: Any) -> None:
    run.log(metrics, 1)
    assert run.refused == 1
    assert f"expected names and their values, as in {{'loss': 0.5}}, got {type(metrics).__name__}" in caplog.text


def test_an_object_that_does_not_say_what_it_is_costs_its_call(run: Run, spooled: Spooled) -> None:
    hidden: Any = Hidden()
    run.log(hidden, 1)
    run.log({"a": 1.0, "b": hidden, "c": {"d": hidden, "e": 2.0}}, 2)
    run.log({"a": 1.0}, hidden)
    run.finish(error=hidden)
    assert (run.refused, run.failures) == (4, 0)
    assert spooled.values() == {"a": [(2, 1.0)], "c/e": [(2, 2.0)]}
    [_, status] = spooled.of(Status)
    assert isinstance(status, Status)
    assert (status.state, status.message) == ("failed", "<Hidden that cannot be shown: RuntimeError>")


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "../../etc/passwd"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("🚂 loss", "🚂 loss"),
        ("nul\0", "nul\N{REPLACEMENT CHARACTER}~cd0798f9"),
        ("", "(empty)~e3b0c442"),
        ("\udcff", "\N{REPLACEMENT CHARACTER}~8f1d0f9c"),
        (7, "7"),
        (("a", 1), "('a', 1)"),
    ],
)
def test_a_hostile_name_loses_no_value(run: Run, spooled: Spooled, name: Any, kept: str) -> None:
    run.log({name: 1.0}, 1)
    run.finish()
    assert spooled.values() == {kept: [(1, 1.0)]}


@pytest.mark.parametrize(
    "names",
    [
        ("x" * 10_000 + "1", "x" * 10_000 + "2"),
        ("click\nrate", "click\trate"),
        ("click\N{REPLACEMENT CHARACTER}rate", "click\0rate"),
        ("", "(empty)"),
        ("\udcfe", "\udcff"),
        ("e\N{COMBINING ACUTE ACCENT}", "\N{LATIN SMALL LETTER E WITH ACUTE}"),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_two_names_never_become_one(run: Run, spooled: Spooled, names: tuple[str, str], at_once: bool) -> None:
    first, second = names
    for report in [{first: 1.0, second: 2.0}] if at_once else [{first: 1.0}, {second: 2.0}]:
        run.log(report, 1)
    run.finish()
    assert run.refused == 0
    assert list(spooled.values().values()) == [[(1, 1.0)], [(1, 2.0)]]
    assert all(len(name) <= 512 for name in spooled.values())


@pytest.mark.parametrize(
    ("metrics", "name"), [({"a": {"b": 1.0}, "a/b": 2.0, "c": 3.0}, "a/b"), ({1: 1.0, "1": 2.0, "c": 3.0}, "1")]
)
def test_two_spellings_of_one_name_in_one_call_are_told_of(
    run: Run, spooled: Spooled, caplog: pytest.LogCaptureFixture, metrics: Any, name: str
) -> None:
    for step in range(2):
        run.log(metrics, step)
    run.finish()
    assert run.refused == 2
    assert caplog.text.count("the first value is kept") == 1
    assert spooled.values() == {name: [(0, 1.0), (1, 1.0)], "c": [(0, 3.0), (1, 3.0)]}


def test_names_that_a_row_is_known_by_may_get_a_dict_later(run: Run, spooled: Spooled) -> None:
    for step in range(3):
        run.log({"a": 1.0, "b": 2.0}, step)
    run.log({"a": {"x": 1.0, "y": 2.0}, "b": 2.0}, 3)
    run.log({"a": {}, "b": 3.0}, 4)
    run.log({"a": torch.tensor(4.0), "b": 4.0}, 5)
    run.finish()
    assert run.refused == 0
    assert spooled.values() == {
        "a": [(0, 1.0), (1, 1.0), (2, 1.0), (5, 4.0)],
        "b": [(0, 2.0), (1, 2.0), (2, 2.0), (3, 2.0), (4, 3.0), (5, 4.0)],
        "a/x": [(3, 1.0)],
        "a/y": [(3, 2.0)],
    }


def test_a_report_without_values_leaves_nothing(run: Run, spooled: Spooled) -> None:
    for step in range(3):
        run.log({}, step)
    run.log({"a": 1.0}, 3)
    run.finish()
    assert run.refused == 0
    assert spooled.values() == {"a": [(3, 1.0)]}
    assert spooled.of(Points) == [point for point in spooled.of(Points) if isinstance(point, Points) and point.keys]


def test_names_of_a_subclass_of_str_are_the_text(run: Run, spooled: Spooled) -> None:
    class Name(enum.StrEnum):
        LOSS = "loss"

    for step in range(4):
        run.log({Name.LOSS: 1.0, np.str_("auc"): 2.0}, step)
    run.finish()
    assert {name: len(values) for name, values in spooled.values().items()} == {"loss": 4, "auc": 4}


def test_very_many_metrics_in_one_call(run: Run, spooled: Spooled) -> None:
    run.log({f"m{number}": float(number) for number in range(5000)}, 1)
    run.finish()
    assert spooled.values() == {f"m{number}": [(1, float(number))] for number in range(5000)}


class DeviceScalar(torch.Tensor):
    """A 0-dim tensor on a device; the thread that created it must not wait for its value."""

    def __new__(cls, value: float) -> "DeviceScalar":
        return torch.Tensor._make_wrapper_subclass(cls, (), dtype=torch.float32, device=torch.device("meta"))  # type: ignore[no-any-return, attr-defined]

    def __init__(self, value: float) -> None:
        self.value = value
        self.owner = threading.get_ident()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
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
    finisher = threading.Thread(target=run.finish)  # the end of a training may wait, here on another thread
    finisher.start()
    finisher.join()
    assert spooled.values() == {
        "loss": [(0, 0.0), (1, 0.5), (2, 1.0)],
        "aux": [(0, 9.0), (1, 9.0), (2, 9.0)],
        "lr": [(0, 0.1), (1, 0.1), (2, 0.1)],
    }
    assert run.refused == 0


class FailedScalar(DeviceScalar):
    """A scalar on a failed device: every operation raises."""

    def tolist(self) -> Any:
        raise RuntimeError("CUDA error: device-side assert triggered")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
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


class BrokenScalar(DeviceScalar):
    """A scalar that cannot be read although its device works."""

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        if func.overloadpacket.__name__ in ("detach", "clone", "alias"):
            return BrokenScalar(0.0)
        raise RuntimeError(f"{func} of a broken scalar")


def test_one_device_value_without_a_number_costs_only_itself(
    run: Run, spooled: Spooled, caplog: pytest.LogCaptureFixture
) -> None:
    for step in range(3):
        run.log({"loss": DeviceScalar(0.5), "bad": BrokenScalar(0.0), "aux": DeviceScalar(9.0)}, step)
    finisher = threading.Thread(target=run.finish)
    finisher.start()
    finisher.join()
    assert spooled.values() == {"loss": [(step, 0.5) for step in range(3)], "aux": [(step, 9.0) for step in range(3)]}
    assert run.dropped == 3
    assert caplog.text.count("of a broken scalar") == 1


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
    run.mark_checkpoint("out/step-5")
    run.mark_checkpoint(step=7)
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
    events = [event for event in spooled.of(Event) if isinstance(event, Event)]
    assert [(event.kind, event.level, event.text, event.step) for event in events] == [
        ("alert", "error", "Loss is NaN", 5),
        ("checkpoint", "info", "Checkpoint out/step-5", 5),
        ("checkpoint", "info", "Checkpoint", 7),
    ]
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


@pytest.mark.parametrize("timeout_s", ["5", None, math.nan, -1, Raises(ValueError)])
def test_an_odd_time_to_finish_in_is_the_default(
    run: Run, spooled: Spooled, caplog: pytest.LogCaptureFixture, timeout_s: Any
) -> None:
    run.log({"a": 1.0}, 1)
    run.finish(error="\udcff", timeout_s=timeout_s)
    assert (run.refused, run.failures) == (1, 0)
    assert "expected a number of seconds" in caplog.text
    last = spooled.of(Status)[-1]
    assert isinstance(last, Status)
    assert (last.state, last.message) == ("failed", "\N{REPLACEMENT CHARACTER}")


def test_a_second_finish_and_a_late_log_are_warnings(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run.log([1.0], 1)  # type: ignore[arg-type]
    run.log({"a": 1.0}, 1.5)  # type: ignore[arg-type]  # each mistake is told of, whatever was told before
    run.finish()
    assert run.finish()
    run.log({"a": 1.0, "b": {"c": 2.0, "d": 3.0}}, 1)
    run.alert("too late")
    assert run.refused == 5
    assert "log's metrics" in caplog.text
    assert "log's step" in caplog.text
    assert "finish was called twice" in caplog.text
    assert "after finish" in caplog.text


WRONG_CONTROLS: dict[str, dict[str, Any]] = {
    "no type": {"type": "number"},
    "no text as type": {"type": 3},
    "several things as type": {"type": np.zeros(1, dtype=[("a", "i4"), ("b", "f8")])},
    "no name": {"name": ""},
    "a name that begins with a slash": {"name": "/a"},
    "a name with a line's end": {"name": "a\n"},
    "a long name": {"name": "x" * 129},
    "no text as name": {"name": 7},
    "text as value": {"value": "1"},
    "no value": {"value": None},
    "another type": {"type": "int", "value": 1.5},
    "a bool as number": {"value": True},
    "a number as bool": {"type": "bool", "value": 1},
    "NaN": {"value": math.nan},
    "infinity": {"value": math.inf},
    "below": {"value": -1.0},
    "above": {"value": 11.0},
    "beyond 64 bits": {"type": "int", "value": 1 << 70, "minimum": None, "maximum": None},
    "no finite number": {"value": 10**400, "maximum": None},
    "several values": {"value": np.zeros(2)},
    "a tensor without a value": {"value": torch.zeros((), device="meta")},
    "raises": {"value": Raises(ValueError)},
    "text as bound": {"minimum": "0"},
    "a bool as bound": {"minimum": True},
    "NaN as bound": {"maximum": math.nan},
    "a bound that raises": {"maximum": Raises()},
    "bounds in the wrong order": {"minimum": 10, "maximum": 0},
    "bounds of a text": {"type": "str", "value": "x"},
    "no flag": {"nullable": "yes"},
    "no function": {"on_change": None},
    "another thing as function": {"on_change": 3},
    "surrogates": {"type": "str", "value": "\ud800", "minimum": None, "maximum": None},
    "an unknown argument": {"choices": [1, 2]},
}


@pytest.mark.parametrize("wrong", WRONG_CONTROLS.values(), ids=WRONG_CONTROLS.keys())
def test_a_wrong_declaration_is_one_warning_and_a_count_and_silences_nothing(
    run: Run, spooled: Spooled, caplog: pytest.LogCaptureFixture, wrong: dict[str, Any]
) -> None:
    good = {"type": "float", "value": 1.0, "minimum": 0.0, "maximum": 10.0, "on_change": lambda _: None}
    for _ in range(2):
        run.control(**{"name": "wrong", **good, **wrong})
    run.control("right", **good)  # type: ignore[arg-type]
    run.log({"a": 1.0}, 1)
    run.finish()
    assert (run.refused, run.failures) == (2, 0)
    assert len([record for record in caplog.records if "logged once" in record.message]) == 1
    assert [record.control for record in spooled.of(Declare) if isinstance(record, Declare)] == ["right"]
    assert spooled.values() == {"a": [(1, 1.0)]}


@pytest.mark.parametrize(
    ("given", "declared"),
    [
        ({"value": np.float32(0.5), "minimum": np.int64(0), "maximum": torch.tensor(2)}, (0.5, 0.0, 2.0)),
        ({"value": torch.tensor(1), "minimum": -math.inf, "maximum": np.float64(math.inf)}, (1.0, None, None)),
        ({"type": "int", "value": np.int32(3)}, (3, None, None)),
        ({"type": "int", "value": 1e3, "maximum": 1 << 62}, (1000, None, float(1 << 62))),
        ({"type": "bool", "value": np.bool_(True)}, (True, None, None)),
        ({"type": "str", "value": np.str_("adam")}, ("adam", None, None)),
        ({"type": "int", "value": None, "nullable": True, "unit": None, "description": "\udcff" * 10_000}, (None,) * 3),
    ],
)
def test_numbers_of_other_libraries_are_numbers_in_a_declaration(
    run: Run, spooled: Spooled, given: dict[str, Any], declared: tuple[Any, ...]
) -> None:
    run.control("c", **{"type": "float", "on_change": lambda _: None, **given})
    run.finish()
    assert run.refused == 0
    [record] = spooled.of(Declare)
    assert isinstance(record, Declare)
    assert (record.value, record.minimum, record.maximum) == declared
    assert type(record.value) is type(declared[0])


def test_a_second_declaration_takes_the_place_of_the_first_and_a_wrong_one_does_not(run: Run, spooled: Spooled) -> None:
    seen: list[Any] = []
    run.control("c", type="int", value=1, on_change=lambda _: seen.append("first"))
    run.control("c", type="float", value=0.5, on_change=lambda _: seen.append("second"))
    run.control("c", type="float", value="x", on_change=lambda _: seen.append("third"))
    run.controls.offer(Command(id="c1", control="c", value=2))
    run.log({"a": 1.0}, 1)
    run.finish()
    assert seen == ["second"]
    [result] = spooled.of(Result)
    assert isinstance(result, Result)
    assert (result.state, result.old, result.new) == ("applied", 0.5, 2.0)


def test_a_refusal_that_cannot_be_shown_is_an_answer_too(run: Run, spooled: Spooled) -> None:
    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def refuse(value: int) -> None:
        raise UnspeakableError if value == 1 else ValueError("\udcff")

    run.control("c", type="int", value=0, on_change=refuse)
    for number in (1, 2):
        run.controls.offer(Command(id=f"c{number}", control="c", value=number))
    run.log({"a": 1.0}, 1)
    run.finish()
    results = [record for record in spooled.of(Result) if isinstance(record, Result)]
    assert [(record.command, record.state) for record in results] == [("c1", "rejected"), ("c2", "rejected")]
    assert results[1].message == "\N{REPLACEMENT CHARACTER}"


def test_a_value_changed_in_code_to_one_that_no_control_has_stays_here(run: Run, spooled: Spooled) -> None:
    run.control("c", type="int", value=1, on_change=lambda _: None)
    run.controls.changed("c", 1 << 70, 3)
    run.controls.changed("c", 2, 4)
    run.finish()
    assert [(record.value, record.step) for record in spooled.of(Declare) if isinstance(record, Declare)] == [
        (1, None),
        (2, 4),
    ]


def test_odd_texts_and_steps_of_alerts_and_lines_are_mended_and_told_of(
    run: Run, spooled: Spooled, caplog: pytest.LogCaptureFixture
) -> None:
    run.log({"a": 1.0}, 5)
    run.alert("\udcff" * 10_000)
    run.alert(3, text=None, level=40, step="ten")  # type: ignore[arg-type]
    run.alert(Raises(ValueError), level="ERROR", step=np.int64(7))  # type: ignore[arg-type]
    run.line("tab\t😀 \ud83d")
    run.line(3, step=1 << 64, time_ns=-(1 << 70))  # type: ignore[arg-type]
    run.finish()
    assert (run.refused, run.failures) == (3, 0)
    assert "alert's level" in caplog.text
    assert "alert's step" in caplog.text
    assert "line's step" in caplog.text
    first, second, third = (record for record in spooled.of(Event) if isinstance(record, Event))
    assert len(first.text) == 8192
    assert (second.text, second.level, second.step) == ("3: None", "warning", 5)
    assert ("cannot be shown" in third.text, third.level, third.step) == (True, "error", 7)
    lines = [record for record in spooled.of(Line) if isinstance(record, Line)]
    assert [(line.text, line.step) for line in lines] == [("tab\t😀 \N{REPLACEMENT CHARACTER}", None), ("3", None)]


def test_an_odd_pass_costs_no_more_than_what_is_odd_in_it(run: Run, spooled: Spooled) -> None:
    numbers: dict[str, Any] = {"step": 5, "time_ns": 1, "interval": None, "evicted": 4, "admitted": 3, "bytes": 640}
    numbers |= {"rows_before": np.int64(9), "rows_after": torch.tensor(5), "milliseconds": np.float32(0.5)}
    for table in ("a\nb", "a\tb"):
        run.filter_pass(Pass(table=table, **numbers))
    run.filter_pass(Pass(table="c", **{**numbers, "rows_before": "x", "rows_after": "y"}))
    run.filter_pass(Pass(table="d", **{**numbers, "bytes": 1 << 70}))
    run.filter_pass({"table": "e"})  # type: ignore[arg-type]
    run.finish()
    assert run.failures == 0
    assert run.refused == 4  # two records, one value, one call
    first, second = (record for record in spooled.of(Pass) if isinstance(record, Pass))
    assert first.table != second.table
    assert (first.rows_before, first.rows_after, first.milliseconds) == (9, 5, 0.5)
    values = spooled.values()
    assert values[f"table/{first.table}/rows"] == values[f"table/{second.table}/rows"] == [(5, 5.0)]
    assert "table/c/rows" not in values
    assert values["table/c/evicted"] == [(5, 4.0)]


@pytest.mark.parametrize("path", [None, 3, b"trace.json", "nul\0.json", ".", "/dev/zero", Raises()])
def test_a_trace_that_is_no_file_is_one_warning_and_a_count(
    run: Run, caplog: pytest.LogCaptureFixture, path: Any
) -> None:
    run.upload_trace(path, 1)
    assert (run.refused, run.failures) == (1, 0)
    assert "expected" in caplog.text


def test_an_error_of_the_monitor_itself_never_reaches_training(
    run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(OutboxWriter, "append", broken)
        run.alert("x")
        run.line("y")
    with monkeypatch.context() as patch:
        patch.setattr(OutboxWriter, "append_report", broken)
        run.log({"a": 1.0, "b": 2.0}, 1)
    assert (run.failures, run.refused) == (2, 2)
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
