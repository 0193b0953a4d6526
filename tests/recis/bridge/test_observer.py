"""`recis.bridge.observer`: what a run reports besides its values, without delaying training or its end."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import recis.monitor
from recis.bridge import observer, process_info
from recis.bridge.observer import Observer
from recis.bridge.sensors import Sensors
from recis.wire.messages import Event
from tests.recis.bridge.conftest import Spooled

Open = Callable[..., recis.monitor.Run]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "INTERVAL_S", 0.01)


def wait_for(condition: Callable[[], object], limit_s: float = 10.0) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, "the condition did not come true"
        time.sleep(0.005)


def said(spooled: Spooled) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for event in spooled.records():
        if isinstance(event, Event) and event.kind == "process":
            parts |= event.data
    return parts


def test_a_run_says_what_its_process_is_and_what_the_machine_does(
    open_offline: Open, spooled: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_offline(collect="info,system")
    values: list[int] = []
    report = run.report_beside

    def count(found: Any) -> None:
        values.append(len(found))
        report(found)

    monkeypatch.setattr(run, "report_beside", count)
    wait_for(lambda: values)
    run.log({"loss": 1.0}, 7)
    before = len(values)
    wait_for(lambda: len(values) > before + 1)
    run.finish()
    assert (run.refused, run.failures) == (0, 0)
    assert {"command", "host", "python", "packages"} <= said(spooled).keys()
    series = spooled.values()
    assert {step for step, _ in series["system/process/memory_bytes"]} == {7}, "none before the first step"
    assert {step for key, pairs in series.items() if key.startswith("system/") for step, _ in pairs} == {7}
    assert series["loss"] == [(7, 1.0)]
    assert run.step == 7
    assert not [thread for thread in threading.enumerate() if thread.name == "recis-observer"]


def test_nothing_is_said_where_nothing_is_collected(open_offline: Open, spooled: Spooled) -> None:
    with open_offline(collect="none") as run:
        run.log({"loss": 1.0}, 1)
        assert not [thread for thread in threading.enumerate() if thread.name == "recis-observer"]
    assert said(spooled) == {}
    assert list(spooled.values()) == ["loss"]


def test_the_environment_says_what_is_collected(
    open_offline: Open, spooled: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECIS_MONITOR_COLLECT", "info")
    open_offline(rank=1, world_size=2).finish()
    assert {"host", "python"} <= said(spooled).keys()
    assert {"command", "packages", "environment"}.isdisjoint(said(spooled))
    monkeypatch.setenv("RECIS_MONITOR_COLLECT", "everything")
    with pytest.raises(ValueError, match="collect: expected names among info, console, system"):
        open_offline()


def test_devices_that_are_initialised_later_are_said_then(
    open_offline: Open, spooled: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[dict[str, Any]] = []
    monkeypatch.setattr(observer, "read_gpus", lambda: devices)
    with open_offline(collect="info"):
        devices.append({"name": "H200"})
        wait_for(lambda: not run_waits_for_devices())
    assert said(spooled)["devices"] == [{"name": "H200"}]


def run_waits_for_devices() -> bool:
    run = recis.monitor.run
    assert run is not None
    assert run._parts is not None
    return not run._parts.observer._devices


def test_a_sensor_that_hangs_delays_no_end(open_offline: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, release = threading.Event(), threading.Event()

    def hang(self: Sensors, *, host: bool) -> dict[str, float]:
        hanging.set()
        release.wait(60)
        return {"system/host/cpu_percent": 1.0}

    monkeypatch.setattr(Sensors, "read", hang)
    monkeypatch.setattr(observer, "FINISH_S", 0.05)
    run = open_offline(collect="system")
    run.log({"loss": 1.0}, 1)
    assert hanging.wait(10)
    run.finish()
    release.set()
    wait_for(lambda: not any(thread.name == "recis-observer" for thread in threading.enumerate()))
    assert run.failures == 0


def test_an_error_in_the_observer_stops_only_the_observer(
    open_offline: Open, spooled: Spooled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process_info, "_read", lambda parts: 1 / 0)
    with open_offline(collect="info") as run:
        run.log({"loss": 1.0}, 1)
    assert "the observer stopped; training goes on" in caplog.text
    assert spooled.values()["loss"] == [(1, 1.0)]


class Listener:
    """The receiver of an observer's reports."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.rank = 0
        self.keys: set[str] = set()
        self.rounds = 0

    def append(self, record: object) -> None:
        pass

    def report_beside(self, values: dict[str, float]) -> None:
        self.keys |= values.keys()
        self.rounds += 1


def test_one_process_of_a_run_measures_the_host_and_another_takes_its_place() -> None:
    first, second = Listener("shared"), Listener("shared")
    observers = [Observer(each, info=False, system=True) for each in (first, second)]
    observers[0].start()
    wait_for(lambda: first.rounds > 1)
    observers[1].start()
    wait_for(lambda: second.rounds > 1)
    assert "system/host/cpu_percent" in first.keys
    assert "system/host/cpu_percent" not in second.keys
    assert "system/process/cpu_percent" in second.keys
    observers[0].close(5.0)
    wait_for(lambda: "system/host/cpu_percent" in second.keys)
    observers[1].close(5.0)
