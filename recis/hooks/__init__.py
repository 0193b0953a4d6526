"""The hooks. Each is imported on first access, so that hooks that do not need torch work without it."""

from typing import TYPE_CHECKING

from recis.lazy import lazy_names

if TYPE_CHECKING:
    from recis.hooks.control import Control
    from recis.hooks.filter_hook import HashTableFilterHook
    from recis.hooks.hook import Hook
    from recis.hooks.logger_hook import LoggerHook
    from recis.hooks.monitor_hook import MonitorHook
    from recis.hooks.profiler_hook import ProfilerHook

__all__ = ["Control", "HashTableFilterHook", "Hook", "LoggerHook", "MonitorHook", "ProfilerHook"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Control": "recis.hooks.control",
        "HashTableFilterHook": "recis.hooks.filter_hook",
        "Hook": "recis.hooks.hook",
        "LoggerHook": "recis.hooks.logger_hook",
        "MonitorHook": "recis.hooks.monitor_hook",
        "ProfilerHook": "recis.hooks.profiler_hook",
    },
)
