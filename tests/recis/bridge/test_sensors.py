import logging
import sys
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from recis.bridge import sensors
from recis.bridge.sensors import Sensors

HOST = {"cpu_percent", "memory_percent", "memory_bytes", "disk_free_bytes"}
PROCESS = {"cpu_percent", "memory_bytes", "threads"}


def names(values: dict[str, float], group: str) -> set[str]:
    return {key.removeprefix(f"system/{group}/") for key in values if key.startswith(f"system/{group}/")}


def test_host_and_process_are_measured() -> None:
    measuring = Sensors()
    assert measuring.open()
    values = measuring.read(host=True)
    assert names(values, "host") >= HOST
    assert names(values, "process") >= PROCESS
    assert all(isinstance(value, float) and value >= 0 for value in values.values())
    assert values["system/process/memory_bytes"] < values["system/host/memory_bytes"]
    if sys.platform == "linux":
        assert {"disk_read_bytes_per_s", "disk_write_bytes_per_s"} <= names(values, "process")
    assert names(measuring.read(host=False), "host") == set()
    measuring.close()


def test_a_sensor_that_fails_is_said_once_and_costs_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise PermissionError("not here")

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(psutil, "disk_usage", fail)
    monkeypatch.setattr(psutil, "net_io_counters", lambda: None)
    measuring = Sensors()
    measuring.open()
    values = [measuring.read(host=True) for _ in range(3)][-1]
    assert "system/host/disk_free_bytes" not in values
    assert "system/host/cpu_percent" in values
    assert caplog.text.count("system metrics without host_space (logged once): PermissionError: not here") == 1


def test_without_the_library_there_is_nothing_to_measure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setattr(Sensors, "_open_gpus", lambda self: None)
    assert not Sensors().open()
    assert "install it to measure processor, memory, disk and network" in caplog.text


def test_gpus_are_measured_by_their_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def power(device: str) -> int:
        if device == "gpu1":
            raise RuntimeError("not supported")
        return 350_500

    nvml = SimpleNamespace(
        nvmlInit=lambda: calls.append("init"),
        nvmlShutdown=lambda: calls.append("shutdown"),
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda number: f"gpu{number}",
        nvmlDeviceGetUtilizationRates=lambda device: SimpleNamespace(gpu=87),
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(used=1 << 30),
        nvmlDeviceGetPowerUsage=power,
        nvmlDeviceGetTemperature=lambda device, kind: 61,
        NVML_TEMPERATURE_GPU=0,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(sensors, "DRIVER_FILES", ("/dev/null",))
    measuring = Sensors()
    measuring.open()
    values = measuring.read(host=True)
    assert values["system/gpu/0/power_watts"] == 350.5
    assert names(values, "gpu/1") == {"use_percent", "memory_bytes", "temperature_celsius"}
    assert names(measuring.read(host=False), "gpu/0") == set()
    measuring.close()
    assert calls == ["init", "shutdown"]
