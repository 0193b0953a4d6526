"""Describe the training process: command, machine, versions, devices, packages, environment.

Owns what is read and its bounds. Does not import torch or initialise devices; it reads those that other modules have
initialised. A part that cannot be read is left out; the others are not affected. Must not know threads, or where the
answers go.
"""

import logging
import os
import platform
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from recis import environment
from recis.bridge.checkout import read_checkout
from recis.bridge.masking import is_secret, mask_arguments, mask_text
from recis.wire.names import distinct_name
from recis.wire.showing import text_of
from recis.wire.text import MAX_NAME_CHARS
from recis.wire.version import __version__

__all__ = ["read_gpus", "read_process", "read_program", "read_repository"]

MAX_PACKAGES = 2000
MAX_VARIABLES = 1000
MAX_VALUE_CHARS = 512
MAX_DEVICES = 64
PACKAGES_S = 10.0
"""Time limit for listing packages."""
YIELD_S = 0.001
"""Pause after each package: reading a package holds the interpreter lock, which training needs."""
_SHOWN = (
    *("CONDA_DEFAULT_ENV", "VIRTUAL_ENV", "HOSTNAME", "LANG", "LC_ALL", "TZ", "PYTHONHASHSEED", "PYTHONUNBUFFERED"),
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_PORT", "APP_ID"),
)
_SHOWN_PREFIXES = (
    *("CUBLAS_", "CUDA_", "CUDNN_", "FI_", "GLOO_", "HIP_", "KMP_", "MKL_", "NCCL_", "NUMEXPR_", "NVIDIA_", "OMP_"),
    *("OPENBLAS_", "PYTORCH_", "RECIS_MONITOR_", "ROCR_", "SLURM_JOB_", "SLURM_NTASKS", "TORCHELASTIC_", "TORCH_"),
    *("UCX_", "XLA_"),
)
"""Variables whose values explain how a training runs; of all others, only the names are shown."""
_logger = logging.getLogger(__name__)


def read_process(*, whole: bool) -> dict[str, Any]:
    """Return what is available immediately: the machine and its devices, and with `whole` the command and the
    environment.
    """
    parts: dict[str, Callable[[], Any]] = {
        "host": lambda: text_of(socket.gethostname(), MAX_NAME_CHARS),
        "os": platform.platform,
        "python": lambda: f"{platform.python_version()} ({platform.python_implementation()})",
        "versions": _versions,
        "cpu": _cpu,
        "memory_bytes": _memory_bytes,
        "devices": read_gpus,
    }
    if whole:
        parts |= {
            "command": lambda: text_of(shlex.join(mask_arguments(sys.orig_argv))),
            "executable": lambda: text_of(sys.executable),
            "folder": lambda: text_of(Path.cwd()),
            "environment": _environment,
        }
    return _read(parts)


def read_repository() -> dict[str, Any]:
    """Return the state of the program's repository. Runs git as a child process, which a `wait` in another thread would
    return.
    """
    return _read({"git": lambda: read_checkout(_program_folder())})


def read_program() -> dict[str, Any]:
    """Return what takes longer to read: the installed packages."""
    return _read({"packages": _packages})


def read_gpus() -> list[dict[str, Any]]:
    """Return the name and memory of each GPU that torch has initialised in this process; none before it has."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return []
    found = []
    for number in range(min(cuda.device_count(), MAX_DEVICES)):
        device = cuda.get_device_properties(number)
        found.append({"name": text_of(device.name, MAX_NAME_CHARS), "memory_bytes": int(device.total_memory)})
    return found


def _read(parts: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    found = {}
    for name, read in parts.items():
        try:
            value = read()
        except Exception as error:  # noqa: BLE001 - boundary: a machine may refuse or lack anything
            _logger.debug("%s cannot be read: %s", name, error)
            continue
        if value not in (None, {}, [], ""):
            found[name] = value
    return found


def _versions() -> dict[str, str]:
    versions = {"recis-monitor": __version__}
    torch = sys.modules.get("torch")
    if torch is not None and (version := getattr(torch, "__version__", None)) is not None:
        versions["torch"] = text_of(version, MAX_NAME_CHARS)
        if cuda := getattr(getattr(torch, "version", None), "cuda", None):
            versions["cuda"] = text_of(cuda, MAX_NAME_CHARS)
    for name in ("torch", "numpy"):
        try:
            versions.setdefault(name, metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
    return versions


def _cpu() -> dict[str, Any]:
    cpu: dict[str, Any] = {"count": os.cpu_count()}
    if hasattr(os, "sched_getaffinity"):
        cpu["usable"] = len(os.sched_getaffinity(0))
    if model := _cpu_model():
        cpu["model"] = text_of(model, MAX_NAME_CHARS)
    return cpu


def _cpu_model() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        return platform.processor()
    return platform.machine()


def _memory_bytes() -> int | None:
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _environment() -> dict[str, str | None]:
    """Return the names of the variables, with the values of those that are known to be useful and not secret."""
    found: dict[str, str | None] = {}
    for name, value in environment.variables(_is_shown, MAX_VARIABLES):
        shown = None if value is None else text_of(mask_text(value), MAX_VALUE_CHARS)
        found[distinct_name(text_of(name, MAX_NAME_CHARS), MAX_NAME_CHARS)] = shown
    return found


def _is_shown(name: str) -> bool:
    return (name in _SHOWN or name.startswith(_SHOWN_PREFIXES)) and not is_secret(name)


def _program_folder() -> Path:
    """Return the folder of the main script, else the working folder."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(script).resolve().parent if script else Path.cwd()


def _packages() -> dict[str, str]:
    """Return the installed distributions, as `pip freeze` lists them."""
    found: dict[str, str] = {}
    until = time.monotonic() + PACKAGES_S
    for name, version in _distributions():
        found.setdefault(name, version)  # the first one on the path is the one that is imported
        if len(found) == MAX_PACKAGES or time.monotonic() > until:
            break
        time.sleep(YIELD_S)
    return dict(sorted(found.items(), key=lambda package: package[0].lower()))


def _distributions() -> Iterator[tuple[str, str]]:
    for distribution in metadata.distributions():
        try:
            name, version = distribution.metadata["Name"], distribution.version
        except Exception as error:  # noqa: BLE001 - boundary: a damaged installation of another package
            _logger.debug("a package cannot be read: %s", error)
            continue
        if name and version:
            yield text_of(name, 128), text_of(version, 128)
