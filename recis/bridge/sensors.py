"""Measure the load of the machine and of this process, as values for the series `system/…`.

Owns what is measured and the names; must not know threads, steps or runs. A sensor that fails is logged once, without
affecting the others. Values of the host are measured by one process per host, which the caller chooses.
"""

import importlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recis.wire.names import SYSTEM_PREFIX
from recis.wire.showing import text_of

__all__ = ["Sensors"]

MAX_GPUS = 64
DRIVER_FILES = ("/dev/nvidiactl", "C:/Windows/System32/nvml.dll")
"""Without any of these files there is no GPU to measure, and no library to ask for."""
_logger = logging.getLogger(__name__)


class Sensors:
    """The sensors. One thread calls `open`, `read` and `close`, which block for as long as a driver does."""

    def __init__(self) -> None:
        self._psutil: Any = None
        self._process: Any = None
        self._gpus: list[tuple[int, Any]] = []
        self._nvml: Any = None
        self._counted: dict[str, tuple[float, float]] = {}  # counters: time and value at the last reading
        self._failed: set[str] = set()  # bounded: one name per sensor

    def load(self) -> None:
        """Import the measuring libraries in advance; otherwise `open` does."""
        self._load("psutil", "to measure processor, memory, disk and network")
        if _has_driver():
            self._load("pynvml", "to measure GPUs (nvidia-ml-py)")

    def open(self) -> bool:
        """Load the measuring libraries, and read the counters once; return whether there is anything to measure."""
        self._psutil = self._load("psutil", "to measure processor, memory, disk and network")
        if self._psutil is not None:
            self._process = self._attempt("process", self._psutil.Process)
        self._open_gpus()
        if self._psutil is not None or self._gpus:
            self.read(host=True)  # rates and shares are those since the last reading
            return True
        return False

    def close(self) -> None:
        """Release the GPU driver."""
        if self._nvml is not None:
            self._attempt("gpu", self._nvml.nvmlShutdown)
            self._nvml, self._gpus = None, []

    def read(self, *, host: bool) -> dict[str, float]:
        """Return the values by the names of their series; with `host`, also those that concern the whole machine."""
        found: dict[str, float] = {}
        groups: dict[str, Callable[[], dict[str, float]]] = {}
        if self._process is not None:
            groups |= {"process": self._read_process, "process_disk": self._read_process_disk}
        if host and self._psutil is not None:
            groups |= {
                "host": self._read_host,
                "host_disk": self._read_disk,
                "host_space": self._read_space,
                "host_network": self._read_network,
            }
        for name, read in groups.items():
            found |= self._attempt(name, read) or {}
        for number, device in self._gpus if host else ():
            found |= self._read_gpu(number, device)
        return {f"{SYSTEM_PREFIX}{name}": float(value) for name, value in found.items()}

    # --- host and process

    def _read_process(self) -> dict[str, float]:
        with self._process.oneshot():
            return {
                "process/cpu_percent": self._process.cpu_percent(),
                "process/memory_bytes": self._process.memory_info().rss,
                "process/threads": self._process.num_threads(),
            }

    def _read_process_disk(self) -> dict[str, float]:
        if not hasattr(self._process, "io_counters"):  # macOS has none
            return {}
        counters = self._process.io_counters()
        return self._rates(
            {
                "process/disk_read_bytes_per_s": counters.read_bytes,
                "process/disk_write_bytes_per_s": counters.write_bytes,
            }
        )

    def _read_host(self) -> dict[str, float]:
        memory = self._psutil.virtual_memory()
        return {
            "host/cpu_percent": self._psutil.cpu_percent(),
            "host/memory_percent": memory.percent,
            "host/memory_bytes": memory.total - memory.available,
        }

    def _read_disk(self) -> dict[str, float]:
        counters = self._psutil.disk_io_counters()
        if counters is None:  # no disks, as in some containers
            return {}
        return self._rates(
            {"host/disk_read_bytes_per_s": counters.read_bytes, "host/disk_write_bytes_per_s": counters.write_bytes}
        )

    def _read_space(self) -> dict[str, float]:
        return {"host/disk_free_bytes": self._psutil.disk_usage(str(Path.cwd())).free}

    def _read_network(self) -> dict[str, float]:
        counters = self._psutil.net_io_counters()
        if counters is None:
            return {}
        return self._rates(
            {
                "host/network_sent_bytes_per_s": counters.bytes_sent,
                "host/network_received_bytes_per_s": counters.bytes_recv,
            }
        )

    def _rates(self, counters: dict[str, float]) -> dict[str, float]:
        """Return the increase of counters per second since the last reading; nothing the first time."""
        now = time.monotonic()
        rates = {}
        for name, value in counters.items():
            then, before = self._counted.get(name, (now, value))
            self._counted[name] = now, value
            if now > then:
                rates[name] = max(0.0, value - before) / (now - then)
        return rates

    # --- GPUs

    def _open_gpus(self) -> None:
        if not _has_driver():
            return
        nvml = self._load("pynvml", "to measure GPUs (nvidia-ml-py)")
        if nvml is None:
            return

        def handles() -> list[tuple[int, Any]]:
            nvml.nvmlInit()
            return [
                (number, nvml.nvmlDeviceGetHandleByIndex(number))
                for number in range(min(nvml.nvmlDeviceGetCount(), MAX_GPUS))
            ]

        found = self._attempt("gpu", handles)
        if found is not None:
            self._nvml, self._gpus = nvml, found

    def _read_gpu(self, number: int, device: Any) -> dict[str, float]:
        nvml = self._nvml
        readings: dict[str, Callable[[], float]] = {
            "use_percent": lambda: nvml.nvmlDeviceGetUtilizationRates(device).gpu,
            "memory_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(device).used,
            "power_watts": lambda: nvml.nvmlDeviceGetPowerUsage(device) / 1000,
            "temperature_celsius": lambda: nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU),
        }
        found = {}
        for name, read in readings.items():
            if (value := self._attempt(f"gpu/{number}/{name}", read)) is not None:
                found[f"gpu/{number}/{name}"] = value
        return found

    # --- failures

    def _load(self, module: str, purpose: str) -> Any:
        try:
            return importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - boundary: a damaged installation may raise anything
            self._note(module, f"install it {purpose}: {text_of(error, 200)}")
            return None

    def _attempt(self, name: str, call: Callable[[], Any]) -> Any:
        """Return the result of a call, None if it fails."""
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - boundary: drivers and containers fail in many ways
            self._note(name, f"{type(error).__name__}: {text_of(error, 200)}")
            return None

    def _note(self, name: str, why: str) -> None:
        if name not in self._failed:
            self._failed.add(name)
            _logger.info("system metrics without %s (logged once): %s", name, why)


def _has_driver() -> bool:
    return any(Path(file).exists() for file in DRIVER_FILES)
