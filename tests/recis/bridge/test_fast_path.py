"""`recis.bridge.fast_path` and its rows, compiled and not: fast for one thread, correct for all that interrupt it."""

import gc
import math
import signal
import struct
import sys
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import recis.monitor
from recis.bridge import fast_path
from recis.bridge.cost import COST_KEYS
from recis.bridge.outbox import Outbox
from recis.bridge.outbox_writer import OutboxWriter
from recis.bridge.records import ROW_VALUES
from recis.bridge.row_writer import PlainRowWriter, RowWriter
from recis.monitor import Run
from recis.wire.messages import Command, Result
from tests.effort import examples
from tests.recis.bridge.conftest import Spooled
from tests.recis.bridge.test_run import DeviceScalar

Opener = Callable[..., Run]


class Whole(IntEnum):
    ONE = 1


class Precise(float):
    """A float subclass that converts to another number."""

    def __float__(self) -> float:
        return 0.75


@pytest.fixture(autouse=True, scope="module", params=[RowWriter, PlainRowWriter], ids=["compiled", "plain"])
def writer(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run all tests with both writers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_path, "RowWriter", request.param)
        yield


@pytest.fixture
def run(open_offline: Opener) -> Iterator[Run]:
    """A run with the fast path open for `a` and `b`, after steps 0 to 4."""
    with open_offline(run_id="r") as run:
        for step in range(5):
            run.log({"a": 1.0, "b": 2.0}, step)
        assert on_the_fast_path(run, lambda: run.log({"a": 1.0, "b": 2.0}, 5))
        yield run


BEFORE = {"a": [(step, 1.0) for step in range(6)], "b": [(step, 2.0) for step in range(6)]}


def on_the_fast_path(run: Run, log: Callable[[], None]) -> bool:
    """Return whether the report took the fast path: the slow path takes the lock and updates the segment."""
    before = run._fast_path._writer.position, run._fast_path._segment.end  # type: ignore[union-attr]
    log()
    return run._fast_path._writer.position > before[0] and run._fast_path._segment.end == before[1]  # type: ignore[union-attr]


@pytest.fixture
def busy_switching() -> Iterator[None]:
    """Switch between threads as often as the interpreter allows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_the_order_of_the_names_is_free_and_values_stay_with_them(run: Run, spooled: Spooled) -> None:
    assert on_the_fast_path(run, lambda: run.log({"b": 4.0, "a": 3}, 6))
    run.finish()
    assert spooled.values() == {"a": [*BEFORE["a"], (6, 3.0)], "b": [*BEFORE["b"], (6, 4.0)]}


@pytest.mark.parametrize(
    "other",
    [
        {"a": 5.0, "c": 6.0},
        {"a": 5.0},
        {"a": 5.0, "b": 6.0, "c": 7.0},
        {"a": np.float64(5.0), "b": np.float32(6.0)},
        {"a": True, "b": False},
        OrderedDict(a=5.0, b=6.0),
        defaultdict(float, a=5.0, c=6.0),
    ],
)
def test_what_is_not_alike_goes_the_other_way_and_arrives(run: Run, spooled: Spooled, other: dict[str, Any]) -> None:
    names = set(other)
    assert not on_the_fast_path(run, lambda: run.log(other, 6))
    run.log({"a": 1.5, "b": 2.5}, 7)
    run.log({"a": 1.5, "b": 2.5}, 8)
    run.finish()
    assert set(other) == names, "asked for a name that it does not have"
    expected = {key: [*BEFORE.get(key, []), (6, float(value))] for key, value in other.items()}
    for key, value in (("a", 1.5), ("b", 2.5)):
        expected[key] = [*expected.get(key, BEFORE[key]), (7, value), (8, value)]
    assert spooled.values() == expected


WIDTHS = [62, ROW_VALUES, ROW_VALUES + 1, 2 * ROW_VALUES + 1, 10_000]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_report_of_any_width_takes_the_fast_path(open_offline: Opener, spooled: Spooled, width: int) -> None:
    keys = [f"m{number}" for number in range(width)]
    with open_offline(run_id="r") as run:
        run.measures_log = False
        for step in range(3):
            run.log({key: step + number for number, key in enumerate(keys)}, step)
        pending = run._outbox.reader.pending()[1]  # type: ignore[union-attr]
        for step in range(3, 6):
            report = {key: step + number + 0.0 for number, key in enumerate(keys)}
            assert on_the_fast_path(run, lambda step=step, report=report: run.log(report, step))  # type: ignore[misc]
        assert run._outbox.reader.pending()[1] == pending + 3 * width  # type: ignore[union-attr]
    values = spooled.values()
    assert len(values) == width
    for number, key in enumerate(keys):
        assert values[key] == [(step, step + number) for step in range(6)]


def test_wide_reports_go_on_in_the_next_segment(
    open_offline: Opener, spooled: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    width, steps = 5_000, 120  # more than two segments
    keys = [f"train/metric_{number}" for number in range(width)]
    slow: list[int] = []
    append = OutboxWriter.append_report

    def counted(writer: OutboxWriter, *args: Any, **options: Any) -> None:
        slow.append(args[2])
        append(writer, *args, **options)

    monkeypatch.setattr(OutboxWriter, "append_report", counted)
    with open_offline(run_id="r") as run:
        run.measures_log = False
        for step in range(steps):
            run.log({key: step + number / 8 for number, key in enumerate(keys)}, step)
    assert len(slow) < 10, "one as the first, and one or two for each segment"
    values = spooled.values()
    for number, key in enumerate(keys):
        assert values[key] == [(step, step + number / 8) for step in range(steps)]


def test_reports_of_other_names(run: Run, spooled: Spooled) -> None:
    outbox: Outbox = run._outbox  # type: ignore[assignment]
    run.measures_log = False
    each: list[dict[str, float]] = [{"a": 1.0, "b": 2.0}, {"c": 3.0}, {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}]
    for step in range(6, 14):
        for metrics in each:
            run.log(metrics, step)
    _, before = outbox.reader.pending()
    for metrics in each:
        assert on_the_fast_path(run, lambda metrics=metrics: run.log(metrics, 14))  # type: ignore[misc]
    assert outbox.reader.pending()[1] == before + 7
    run.finish()
    steps = range(6, 15)
    assert spooled.values() == {
        "a": [*BEFORE["a"], *((step, 1.0) for step in steps for _ in range(2))],
        "b": [*BEFORE["b"], *((step, 2.0) for step in steps for _ in range(2))],
        "c": [(step, 3.0) for step in steps for _ in range(2)],
        "d": [(step, 4.0) for step in steps],
    }


@pytest.mark.parametrize("bad", ["0.5", None, [1.0], object(), 1j])
def test_a_bad_value_in_the_middle_of_a_row_leaves_nothing_behind(run: Run, spooled: Spooled, bad: Any) -> None:
    run.log({"a": 1e-310, "b": bad}, 6)  # a number whose bits could be a head
    run.line("shorter than the row that was given up")
    assert run.refused == 1
    killed = spooled.values()  # as the next process would find it now
    run.finish()
    assert killed == {"a": [*BEFORE["a"], (6, 1e-310)], "b": BEFORE["b"]}


@pytest.mark.parametrize("step", [1 << 63, -(1 << 63) - 1, 1.5, True, "ten"])
def test_a_bad_step_leaves_nothing_behind(run: Run, spooled: Spooled, step: Any) -> None:
    run.log({"a": 3.0, "b": 4.0}, step)
    assert run.refused == 2
    run.log({"a": 3.0, "b": 4.0}, 7)
    run.finish()
    assert spooled.values() == {"a": [*BEFORE["a"], (7, 3.0)], "b": [*BEFORE["b"], (7, 4.0)]}


def test_a_device_scalar_under_names_that_had_numbers_is_not_read_on_this_thread(run: Run, spooled: Spooled) -> None:
    run.log({"a": 3.0, "b": DeviceScalar(4.0)}, 6)
    run.log({"a": DeviceScalar(5.0), "b": 6.0}, 7)
    finisher = threading.Thread(target=run.finish)  # the end of a training may wait, here on another thread
    finisher.start()
    finisher.join()
    assert run.refused == 0
    values = spooled.values()  # on a busy machine including the monitor's own cost
    assert values["a"] == [*BEFORE["a"], (6, 3.0), (7, 5.0)]
    assert values["b"] == [*BEFORE["b"], (6, 4.0), (7, 6.0)]


VALUES = [
    *(0, 1, -1, (1 << 53) + 1, -(1 << 53) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) + (1 << 11) + 1, 10**308, 10**400),
    *(-(10**400), -0.0, 5e-324, 1e-310, 1.7976931348623157e308, math.nan, math.inf, -math.inf),
    *(True, False, Fraction(1, 3), Whole.ONE, Precise(0.1), np.float64(0.1), np.float32(0.1), np.float16(0.1)),
    *(np.int8(-7), np.uint64((1 << 64) - 1), np.bool_(True), np.array(2.5), torch.tensor(0.25), torch.tensor(7)),
    *(Decimal("0.5"), "0.5", None, [1.0], 1j, np.zeros(2), torch.zeros(2), np.datetime64("2020-01-01")),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:24])
def test_a_value_is_kept_or_refused_alike_with_a_fast_path_and_without(
    open_offline: Opener, spooled: Spooled, value: Any
) -> None:
    """Compared bit by bit, for new names, and for names that have had numbers and a fast path."""
    with open_offline(run_id="new") as fresh, open_offline(run_id="known") as known:
        for step in range(4):
            known.log({"known/a": 1.0, "known/b": 2.0}, step)
        fresh.log({"new/a": value, "new/b": 2.0}, 6)
        known.log({"known/a": value, "known/b": 2.0}, 6)
        known.log({"known/a": 3.0, "known/b": 4.0}, 7)
        assert (fresh.refused, fresh.failures) == (known.refused, known.failures)
    values = spooled.values()

    def bits(name: str) -> list[bytes]:
        return [struct.pack("d", number) for step, number in values.get(name, []) if step == 6]

    assert bits("new/a") == bits("known/a")
    assert len(bits("new/a")) + fresh.refused == 1
    assert values["new/b"] == [(6, 2.0)]
    assert values["known/b"] == [*((step, 2.0) for step in range(4)), (6, 2.0), (7, 4.0)]


@given(st.lists(st.floats() | st.integers() | st.integers(-(1 << 66), 1 << 66), min_size=1, max_size=8))
@settings(max_examples=examples(60), deadline=None)
def test_any_number_is_stored_as_float_does_it(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float | int]
) -> None:
    spooled = Spooled(tmp_path_factory.mktemp("spool"))
    with recis.monitor.init(mode="offline", spool_dir=str(spooled.root)) as run:
        for step in range(-3, 0):
            run.log({"a": 1.0}, step)
        for step, number in enumerate(numbers):
            run.log({"a": number}, step)
        assert run.refused == 0
    stored = [struct.pack("d", number) for step, number in spooled.values()["a"] if step >= 0]
    assert stored == [struct.pack("d", float(number)) for number in numbers]


def test_one_of_so_many_calls_is_measured_whatever_way_it_takes(
    open_offline: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, reports in (
        ("alike", [{"a": 1.0}]),
        ("in-turn", [{"a": 1.0}, {"b": 1.0}]),
        ("device", [{"a": DeviceScalar(1.0)}]),
    ):
        with open_offline(run_id=name) as run:
            measured: list[int] = []
            monkeypatch.setattr(run.cost, "add", measured.append)
            run.cost.apart = 16
            for step in range(10 * 16):
                run.log(reports[step % len(reports)], step)
        assert len(measured) == 10, name


def test_a_run_whose_caller_measures_is_not_measured_here(
    open_offline: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_offline(run_id="r") as run:
        run.measures_log = False
        measured: list[int] = []
        monkeypatch.setattr(run.cost, "add", measured.append)
        for step in range(100):
            run.log({"a": 1.0}, step)
    assert not measured


def test_a_command_is_applied_by_the_next_report_however_fast_they_come(run: Run, spooled: Spooled) -> None:
    seen: list[float] = []
    run.control("scale", type="float", value=1.0, on_change=seen.append)
    run.log({"a": 1.0, "b": 2.0}, 6)
    run.controls.offer(Command(id="now", control="scale", value=2.0))
    run.controls.offer(Command(id="later", control="scale", value=3.0, apply_at_step=10))
    for step in range(7, 13):
        run.log({"a": 1.0, "b": 2.0}, step)
    run.finish()
    assert seen == [2.0, 3.0]
    assert [(item.command, item.step) for item in spooled.of(Result) if isinstance(item, Result)] == [
        ("now", 7),
        ("later", 10),
    ]


@pytest.mark.usefixtures("busy_switching")
def test_many_threads_and_a_sender_lose_nothing_and_mix_nothing(open_offline: Opener, spooled: Spooled) -> None:
    threads, steps = 4, 1500
    with open_offline(run_id="r") as run:
        outbox: Outbox = run._outbox  # type: ignore[assignment]

        def report(own: int) -> None:
            for step in range(steps):
                run.log({"shared": own + step / 2**20, f"own{own}": float(step)}, step)

        work = [threading.Thread(target=report, args=(number,)) for number in range(threads)]
        for thread in work:
            thread.start()
        for turn in count():
            outbox.reader.seal()
            outbox.writer.append_report(("sender",), [float(turn)], turn, 1)
            time.sleep(1e-5)  # on a busy machine another thread would hardly ever hold the lock
            if not any(thread.is_alive() for thread in work):
                break
        for thread in work:
            thread.join()
    assert run.refused == run.failures == 0
    values = spooled.values()
    for number in range(threads):
        assert values[f"own{number}"] == [(step, float(step)) for step in range(steps)]
    assert sorted(values["shared"]) == sorted((step, n + step / 2**20) for n in range(threads) for step in range(steps))
    assert values["sender"] == [(step, float(step)) for step in range(turn + 1)]


@pytest.mark.usefixtures("busy_switching")
def test_one_fast_thread_and_a_sender_that_seals_all_the_time(open_offline: Opener, spooled: Spooled) -> None:
    steps, width = 8000, 40  # more than a segment
    with open_offline(run_id="r") as run:
        outbox: Outbox = run._outbox  # type: ignore[assignment]
        over = threading.Event()

        def seal() -> None:
            while not over.is_set():
                outbox.reader.seal()
                outbox.reader.pending()
                outbox.writer.prepare()

        sealer = threading.Thread(target=seal)
        sealer.start()
        for step in range(steps):
            run.log({f"m{number}": step + number / 8 for number in range(width)}, step)
        over.set()
        sealer.join()
        # Reports of the monitor's own cost are added automatically.
        assert (outbox.reader.pending()[1] - width * steps) % len(COST_KEYS) == 0
    values = spooled.values()
    for number in range(width):
        assert values[f"m{number}"] == [(step, step + number / 8) for step in range(steps)]


def test_a_signal_handler_that_reports_in_the_middle_of_a_report(open_offline: Opener, spooled: Spooled) -> None:
    """Its report is kept or refused, and the interrupted one is kept; there is no deadlock."""
    with open_offline(run_id="r") as run:
        said = 0

        def handler(*_: Any) -> None:
            nonlocal said
            run.log({"handler": float(said)}, said)
            said += 1
            # Trigger the next one from here: on a busy machine they would arrive faster than they are handled.
            signal.setitimer(signal.ITIMER_REAL, 1e-4)

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 1e-4)
        try:
            step = 0
            while said < 300:
                run.log({"a": float(step), "b": -float(step)} if step % 50 else {"c": float(step)}, step)
                step += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        refused = run.refused
    values = spooled.values()
    assert values["a"] == [(n, float(n)) for n in range(step) if n % 50]
    assert values["b"] == [(n, -float(n)) for n in range(step) if n % 50]
    assert values["c"] == [(n, float(n)) for n in range(0, step, 50)]
    assert len(values["handler"]) + refused == said


def test_an_exception_from_outside_in_the_middle_of_a_report_breaks_nothing(run: Run, spooled: Spooled) -> None:
    class Interrupt(BaseException):
        pass

    def handler(*_: Any) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, handler)
    reported: list[int] = []
    interrupted = 0
    step = 6
    while interrupted < 300 or not reported:
        try:
            # On a busy machine the timer may expire before a report has begun.
            signal.setitimer(signal.ITIMER_REAL, 1e-4 * (1 + interrupted // 100))
            while True:
                step += 1  # before the report: an interrupted one may be stored or not, but not twice
                run.log({"a": float(step), "b": -float(step)} if step % 50 else {"c": float(step)}, step)
                reported.append(step)
        except Interrupt:
            interrupted += 1
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    run.finish()
    values = spooled.values()
    steps = [step for step, _ in values["a"]] + [step for step, _ in values.get("c", [])]
    assert set(reported) <= set(steps)
    assert len(steps) == len(set(steps))
    assert values["a"][6:] == [(step, float(step)) for step, _ in values["a"][6:]]
    assert values["b"][6:] == [(step, -float(step)) for step, _ in values["a"][6:]]
    assert run.refused == run.failures == 0


def test_an_object_that_reports_when_it_is_collected(open_offline: Opener, spooled: Spooled) -> None:
    class Reporter:
        def __init__(self, run: Run, number: int) -> None:
            self.itself = self  # only the collector frees it
            self.run, self.number = run, number

        def __del__(self) -> None:
            self.run.log({"gone": float(self.number)}, self.number)

    threshold = gc.get_threshold()
    gc.set_threshold(5, 2, 2)
    try:
        with open_offline(run_id="r") as run:
            for step in range(500):
                Reporter(run, step)
                run.log({"a": float(step)}, step)
            gc.collect()
            refused = run.refused
    finally:
        gc.set_threshold(*threshold)
    values = spooled.values()
    assert values["a"] == [(step, float(step)) for step in range(500)]
    assert len(values["gone"]) + refused == 500


def test_a_finished_and_a_disabled_run_have_no_fast_path(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run.finish()
    run.log({"a": 1.0, "b": 2.0}, 9)
    assert "after finish" in caplog.text
    disabled = recis.monitor.init(mode="disabled")
    disabled.log({"a": 1.0}, 1)
    assert disabled.refused == 0
