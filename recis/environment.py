"""The only module that reads environment variables; all others receive values.

Owns the names that launchers and users set; must not know what the values are used for.
"""

import os
from collections.abc import Callable, Iterator

__all__ = [
    "app_id",
    "inherited",
    "launcher_setting",
    "monitor_setting",
    "monitor_url",
    "rank",
    "variables",
    "world_size",
]


def monitor_setting(name: str) -> str | None:
    """Return `RECIS_MONITOR_{name}`, or None if unset or empty."""
    return os.environ.get(f"RECIS_MONITOR_{name}") or None


def monitor_url() -> str | None:
    """Return the server's address from `RECIS_MONITOR_URL`."""
    return monitor_setting("URL")


def launcher_setting(name: str) -> str | None:
    """Return a variable set by a launcher or batch system, or None if unset or empty."""
    return os.environ.get(name) or None


def rank() -> int:
    """Return this process's rank as set by `torchrun`, default 0; `recis.launch` knows other launchers."""
    return _number("RANK", 0)


def world_size() -> int:
    """Return the number of processes started by `torchrun`, default 1."""
    return max(1, _number("WORLD_SIZE", 1))


def app_id() -> str:
    """Return the prefix of profiler files: `APP_ID`, or `local`."""
    return os.environ.get("APP_ID") or "local"


def variables(is_shown: Callable[[str], bool], most: int) -> Iterator[tuple[str, str | None]]:
    """Yield the names of the environment's variables in order, at most `most`, with the values of those to be shown."""
    for name in sorted(os.environ)[:most]:
        yield name, os.environ.get(name) if is_shown(name) else None


def inherited(**changes: str) -> dict[str, str]:
    """Return the environment for a program that is started, with some variables set."""
    return {**os.environ, **changes}


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else default
