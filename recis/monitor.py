"""Monitor any Python program: `init`, then `log`, `alert`, `finish` for the run opened last; and `read`, `connect`.

Owns the choice between arguments and environment, and the names by which scripts for other trackers call this module
(`import recis.monitor as wandb`); the rest is in `recis.bridge`, `recis.reading` and `recis.remote`. Imports and works
with plain numbers where torch is not installed.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any, Literal

from recis import environment
from recis.bridge.address import DEFAULT_URL, ServerAddress
from recis.bridge.collecting import Collected
from recis.bridge.ending import unwind_on_signals
from recis.bridge.identity import check_place, check_run_id, identify
from recis.bridge.opening import make_hello, open_run
from recis.bridge.run import Run
from recis.bridge.run_config import RunConfig, RunSummary
from recis.installation import check_installation
from recis.metrics.step_timer import StepTimer
from recis.reading.data import RunData, Series
from recis.reading.source import read_run
from recis.remote.client import CommandError, CommandTimeoutError, RemoteRun, RemoteServer
from recis.wire.showing import shown

__all__ = [
    "AlertLevel",
    "CommandError",
    "CommandTimeoutError",
    "Mode",
    "RemoteRun",
    "RemoteServer",
    "Run",
    "RunData",
    "Series",
    "StepTimer",
    "alert",
    "check_options",
    "connect",
    "control",
    "define_metric",
    "finish",
    "init",
    "log",
    "read",
]

Mode = Literal["online", "offline", "disabled"]
"""Whether values are sent, only spooled for `recis-monitor sync`, or ignored."""
MODES = ("online", "offline", "disabled")

check_installation()
_logger = logging.getLogger(__name__)
_current: Run | None = None
run: Run | None
"""The run that was opened last, None before `init` and after `finish`."""
config: RunConfig
"""`Run.config` of the run that was opened last."""
summary: RunSummary
"""`Run.summary` of the run that was opened last."""
_openings = count()  # each run that a process opens is a different one


def init(
    url: str | None = None,
    project: str | None = "default",
    name: str | None = None,
    run_id: str | None = None,
    config: Any = None,
    tags: Iterable[str] | str | None = (),
    token: str | None = None,
    mode: Mode | None = None,
    spool_dir: str | os.PathLike[str] | None = None,
    rank: int | None = None,
    world_size: int | None = None,
    collect: Iterable[str] | str | bool | None = None,
    **others: Any,
) -> Run:
    """Open a run; the server need not be running. Arguments override `RECIS_MONITOR_*` in the environment.

    Args:
        url: the server, `http://HOST:PORT`, optionally with `?token=…`; default `http://127.0.0.1:8765`.
        project: a group of runs; None stands for the default.
        name: the name shown for the run; default its identifier.
        run_id: the identifier; the same one again is a new attempt of it. Default: the launcher's job, or a new one.
        config: settings to show with the run: a mapping, a namespace, a dataclass, an object of pydantic, attrs or
            OmegaConf, or a class, module or object with settings as its attributes. A value that cannot be shown as it
            is becomes text; one warning lists those.
        tags: labels to find the run by; a string is one label.
        token: a token with the scope `write`, if the server requires one.
        mode: `online`; `offline` only fills the spool, for `recis-monitor sync`; `disabled` does nothing.
        spool_dir: where unacknowledged values are kept, on a local disk; default `./recis-spool`, else the system's
            folder for temporary files.
        rank: number of this process in its job, with `world_size`; default that of process group or launcher.
        world_size: number of processes of the job.
        collect: what to collect in addition to logged values: names among `info`, `console`, `system`; `all` or `none`.
        **others: `id` is another word for `run_id`. Other names are ignored and listed in one warning.

    Raises:
        ValueError: an invalid address, mode, identifier or rank; the message states what was expected.
    """
    global _current  # noqa: PLW0603 - the module-level `log` and `finish` act on the run opened last
    run_id = others.pop("id", None) if run_id is None else run_id
    mode, address, run_id = check_options(url=url, token=token, mode=mode, run_id=run_id)
    collected = Collected.parse(_given(collect, environment.monitor_setting("COLLECT")))
    check_place(rank, world_size)
    identity = identify(run_id, rank, world_size, opening=next(_openings))
    if mode == "disabled":
        _current = Run(identity, None)
    else:
        project = _given(None if _is(project, "default") else project, environment.monitor_setting("PROJECT"))
        name = _given(name, environment.monitor_setting("NAME"))
        hello = make_hello(identity, project=project, name=name, config=config, tags=tags)
        folder: str | None = _given(_as_folder(spool_dir), environment.monitor_setting("SPOOL"))
        unwind_on_signals()
        _current = open_run(identity, hello, address if mode == "online" else None, folder, collected)
        _current.name, _current.project = hello.name or identity.run, hello.project
    _current.config.start(config)
    _current.ignore("init", others)
    if identity.rank == 0 and _current.url:
        _logger.info("run %s: %s", identity.run, _current.url)
    return _current


def check_options(
    *, url: str | None, token: str | None, mode: Mode | None, run_id: str | None, collect: Any = None
) -> tuple[Mode, ServerAddress, str | None]:
    """Return the settings that `init` would use, raising `ValueError` as it would; open nothing."""
    mode = _given(mode, environment.monitor_setting("MODE") or "online")
    if type(mode) is not str or mode not in MODES:
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {shown(mode)}")
    run_id = _given(run_id, environment.monitor_setting("RUN_ID"))
    if run_id is not None:
        check_run_id(run_id)
    Collected.parse(_given(collect, environment.monitor_setting("COLLECT")))
    address = ServerAddress.parse(
        _given(url, environment.monitor_url() or DEFAULT_URL), _given(token, environment.monitor_setting("TOKEN"))
    )
    return mode, address, run_id


def _given(value: Any, otherwise: str | None) -> Any:
    """Return an argument, or `otherwise` if it is None or an empty text.

    An instance of a subclass of `str`, such as numpy's, becomes a plain `str`. The check is by type: comparing an
    object or reading its class may raise, and such an object is to be refused with an error that states what was
    expected.
    """
    if issubclass(type(value), str):
        value = str.__str__(value)
    return otherwise if value is None or (type(value) is str and not value) else value


def _is(value: Any, text: str) -> bool:
    """Return whether a value is this text, without calling `__eq__` of other types."""
    return type(value) is str and value == text


def _as_folder(spool_dir: str | os.PathLike[str] | None) -> str | None:
    if spool_dir is None:
        return None
    try:
        return os.fsdecode(spool_dir)
    except Exception:  # noqa: BLE001 - boundary: a caller's object may raise anything
        raise ValueError(f"spool_dir: expected the path of a folder, got {shown(spool_dir)}") from None


def log(metrics: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: object = None) -> None:
    """Call `Run.log` of the run opened last; warn if there is none."""
    if (current := _known("log")) is not None:
        current.log(metrics, step, commit)


def alert(title: str, text: str = "", level: str = "warning", step: int | None = None, **others: Any) -> None:
    """Call `Run.alert` of the run opened last; warn if there is none."""
    if (current := _known("alert")) is not None:
        current.alert(title, text, level, step, **others)


def control(name: str, **options: Any) -> None:
    """Call `Run.control` of the run opened last; warn if there is none."""
    if (current := _known("control")) is not None:
        current.control(name, **options)


def finish(exit_code: int | None = None, quiet: object = None) -> None:
    """Call `Run.finish` of the run opened last; warn if there is none."""
    if (current := _known("finish")) is not None:
        current.finish(exit_code, quiet)


def define_metric(*args: Any, **kwargs: Any) -> None:
    """Call `Run.define_metric` of the run opened last; warn if there is none."""
    if (current := _known("define_metric")) is not None:
        current.define_metric(*args, **kwargs)


class AlertLevel(StrEnum):
    """Levels of `alert`, by the names that W&B gives them."""

    INFO = "info"
    WARN = "warning"
    ERROR = "error"


_OF_THE_RUN = ("run", "config", "summary")


def __getattr__(name: str) -> Any:
    if name == "run":
        return _current if _current is not None and not _current.is_finished else None
    if name in _OF_THE_RUN:
        if _current is not None:
            return getattr(_current, name)
        raise AttributeError(f"recis.monitor.{name}: expected a run, got none; call init first")
    raise AttributeError(
        f"module 'recis.monitor' has no attribute {name!r}; it has {', '.join([*__all__, *_OF_THE_RUN])}"
    )


def read(
    url_or_dir: str | Path,
    run: str,
    keys: Sequence[str] | None = None,
    *,
    superseded: bool = False,
    token: str | None = None,
) -> RunData:
    """Return a run's points in full resolution, as numpy columns.

    Args:
        url_or_dir: a server, `http://HOST:PORT`, or its data folder, whether the server is running or not.
        run: the run's identifier.
        keys: series to read, None for all; those that the run does not have are left out.
        superseded: whether to include points superseded by a later attempt, marked as such.
        token: a token with the scope `view`, if the server requires one; default `RECIS_MONITOR_TOKEN`.

    Raises:
        LookupError: there is no such run.
        ConnectionError: the server cannot be reached, or the connection broke.
        PermissionError: the server requires another token.
        FileNotFoundError: neither an address nor a data folder.
        ImportError: reading a folder needs the server's packages, which are not installed.
        TypeError, ValueError: an invalid argument.
    """
    return read_run(url_or_dir, run, keys, superseded=superseded, token=token or environment.monitor_setting("TOKEN"))


def connect(url: str | None = None, token: str | None = None) -> RemoteServer:
    """Return a server, whose runs can be listed and changed. This call sends no request; each method does.

    Args:
        url: the server, `http://HOST:PORT`, optionally with `?token=…`; default `RECIS_MONITOR_URL`, else
            `http://127.0.0.1:8765`.
        token: a token with the scope `control`, or `view` to read only, if the server requires one; default
            `RECIS_MONITOR_TOKEN`.

    Raises:
        ValueError: an invalid address or token.
    """
    url = _given(url, environment.monitor_url() or DEFAULT_URL)
    return RemoteServer(ServerAddress.parse(url, _given(token, environment.monitor_setting("TOKEN"))))


def _known(what: str) -> Run | None:
    if _current is None:
        _logger.warning("%s.%s was called before init; nothing is kept", __name__, what)
    return _current
