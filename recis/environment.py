"""The one place where the library reads environment variables; everybody else receives values.

Knows the names that launchers and users set; must not know what the values are used for.
"""

import os

__all__ = ["app_id", "launcher_setting", "monitor_setting", "monitor_url", "rank", "world_size"]


def monitor_setting(name: str) -> str | None:
    """`RECIS_MONITOR_{name}`, or None when unset or empty."""
    return os.environ.get(f"RECIS_MONITOR_{name}") or None


def monitor_url() -> str | None:
    """The server's address from `RECIS_MONITOR_URL`."""
    return monitor_setting("URL")


def launcher_setting(name: str) -> str | None:
    """A variable that a launcher or batch system sets, or None when unset or empty."""
    return os.environ.get(name) or None


def rank() -> int:
    """This process's rank as `torchrun` sets it, 0 without; what other launchers say is `recis.launch`'s to know."""
    return _number("RANK", 0)


def world_size() -> int:
    """How many processes `torchrun` has started, 1 without."""
    return max(1, _number("WORLD_SIZE", 1))


def app_id() -> str:
    """The name that profiler files start with: `APP_ID`, or `local`."""
    return os.environ.get("APP_ID") or "local"


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else default
