"""The bridge of recis-monitor under a package name of its own, for jobs in which RecIS owns the package `recis`.

In the source tree it imports from `recis`; the build of its distribution takes those modules in under this name.
"""

from recis.monitor import (
    AlertLevel,
    Mode,
    Run,
    RunData,
    Series,
    StepTimer,
    alert,
    connect,
    control,
    define_metric,
    finish,
    init,
    log,
    read,
)
from recis.wire.version import __version__ as __version__
from recis_monitor.monitor_hook import MonitorHook

__all__ = [
    "AlertLevel",
    "Mode",
    "MonitorHook",
    "Run",
    "RunData",
    "Series",
    "StepTimer",
    "alert",
    "connect",
    "control",
    "define_metric",
    "finish",
    "init",
    "log",
    "read",
]
