"""Interruptions of the plain writer in the middle of a row: the compiled one cannot be interrupted there."""

import threading
from collections.abc import Callable, Iterator

import pytest

from recis.bridge import fast_path
from recis.bridge.outbox import Outbox
from recis.bridge.row_writer import PlainRowWriter
from recis.monitor import Run
from recis.wire.messages import Status
from tests.e2e.processes import until
from tests.recis.bridge.conftest import Spooled
from tests.recis.bridge.test_fast_path import BEFORE, Opener, on_the_fast_path
from tests.recis.bridge.test_run import DeviceScalar


@pytest.fixture
def run(open_offline: Opener, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run with a plain writer's fast path open for `a` and `b`, after steps 0 to 5."""
    monkeypatch.setattr(fast_path, "RowWriter", PlainRowWriter)
    with open_offline(run_id="r") as run:
        for step in range(5):
            run.log({"a": 1.0, "b": 2.0}, step)
        assert on_the_fast_path(run, lambda: run.log({"a": 1.0, "b": 2.0}, 5))
        yield run


@pytest.fixture
def in_mid_row(run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Call a function in the middle of a report, while another thread holds the lock and waits for the fast path.

    A signal handler or a finalizer may run there.
    """
    outbox: Outbox = run._outbox  # type: ignore[assignment]
    waiting = threading.Thread(target=outbox.reader.pending)

    def call(what: Callable[[], object]) -> None:
        def clock() -> int:
            monkeypatch.undo()
            waiting.start()
            until(
                lambda: not run._fast_path._writer.limit and run._fast_path._segment is not None,
                10,
                "somebody who waits for the row",
            )
            what()
            return 1

        monkeypatch.setattr("recis.bridge.row_writer.time_ns", clock)
        run.log({"a": 3.0, "b": 4.0}, 6)

    yield call
    waiting.join()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("what", ["log", "other names", "alert", "device"])
def test_a_report_in_the_middle_of_a_row_that_somebody_waits_for_is_no_deadlock(
    run: Run, spooled: Spooled, in_mid_row: Callable[[Callable[[], object]], None], what: str
) -> None:
    calls: dict[str, Callable[[], object]] = {
        "log": lambda: run.log({"a": 5.0, "b": 6.0}, 7),
        "other names": lambda: run.log({"c": 5.0}, 7),
        "alert": lambda: run.alert("in between"),
        "device": lambda: run.log({"a": DeviceScalar(5.0), "b": 6.0}, 7),
    }
    in_mid_row(calls[what])
    assert run.refused + run.failures == (2 if what in ("log", "device") else 1)  # values, or the alert
    run.log({"a": 7.0, "b": 8.0}, 8)
    run.finish()
    assert spooled.values() == {"a": [*BEFORE["a"], (6, 3.0), (8, 7.0)], "b": [*BEFORE["b"], (6, 4.0), (8, 8.0)]}


@pytest.mark.timeout(30)
def test_a_run_that_is_finished_in_the_middle_of_a_row_is_left_to_the_exit(
    run: Run, spooled: Spooled, in_mid_row: Callable[[Callable[[], object]], None], caplog: pytest.LogCaptureFixture
) -> None:
    said: list[bool] = []
    in_mid_row(lambda: said.append(run.finish()))
    assert said == [False]
    assert "during a report" in caplog.text
    run.log({"a": 7.0, "b": 8.0}, 8)
    run.finish()
    assert spooled.values()["a"] == [*BEFORE["a"], (6, 3.0), (8, 7.0)]
    assert [item.state for item in spooled.of(Status) if isinstance(item, Status)] == ["running", "finished"]
