"""The hooks; each is imported when its name is first asked for, so that one does not pull in torch for the others."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recis.hooks.filter_hook import HashTableFilterHook
    from recis.hooks.hook import Hook
    from recis.hooks.logger_hook import LoggerHook
    from recis.hooks.monitor_hook import MonitorHook
    from recis.hooks.profiler_hook import ProfilerHook

__all__ = ["HashTableFilterHook", "Hook", "LoggerHook", "MonitorHook", "ProfilerHook"]

_HOMES = {
    "HashTableFilterHook": "recis.hooks.filter_hook",
    "Hook": "recis.hooks.hook",
    "LoggerHook": "recis.hooks.logger_hook",
    "MonitorHook": "recis.hooks.monitor_hook",
    "ProfilerHook": "recis.hooks.profiler_hook",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
