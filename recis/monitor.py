"""The bridge without a Trainer: `init`, and `log`, `alert`, `finish` for the run that was opened last; and `read`.

Owns the choice between arguments and environment, and the names by which scripts for other trackers call this module
(`import recis.monitor as wandb`); the rest is `recis.bridge` and `recis.reading`. Imports and works with plain numbers
where torch is not installed.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any, Literal, cast

from recis import environment
from recis.bridge.address import ServerAddress
from recis.bridge.ending import unwind_on_signals
from recis.bridge.identity import check_place, check_run_id, identify
from recis.bridge.opening import make_hello, open_run
from recis.bridge.run import Run
from recis.bridge.run_config import RunConfig, RunSummary
from recis.reading.data import RunData, Series
from recis.reading.source import read_run
from recis.wire.showing import shown

__all__ = [
    "AlertLevel",
    "Mode",
    "Run",
    "RunData",
    "Series",
    "alert",
    "check_options",
    "define_metric",
    "finish",
    "init",
    "log",
    "read",
]

Mode = Literal["online", "offline", "disabled"]
"""Whether values are sent, only spooled for `recis-monitor sync`, or ignored."""
MODES = ("online", "offline", "disabled")
DEFAULT_URL = "http://127.0.0.1:8765"

_logger = logging.getLogger(__name__)
_current: Run | None = None
run: Run | None
"""The run that was opened last, None before `init` and after `finish`."""
config: RunConfig
"""`Run.config` of the run that was opened last."""
summary: RunSummary
"""`Run.summary` of the run that was opened last."""
_openings = count()  # each run that a process of a job opens is another one


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
    **others: Any,
) -> Run:
    """Opens a run; the server need not be there. Arguments win over `RECIS_MONITOR_*` in the environment.

    Args:
        url: the server, `http://HOST:PORT`, with `?token=…` if you like; default `http://127.0.0.1:8765`.
        project: a group of runs; None stands for the default too.
        name: how people call the run; default its identifier.
        run_id: the identifier; the same one again is a new attempt of the same run. Default: the launcher's job, or
            a new one.
        config: settings to show with the run: a mapping, a namespace, a dataclass, an object of pydantic, attrs or
            OmegaConf, or a class, module or object with settings as its attributes. A value that cannot be shown as it
            is becomes text; one warning names those.
        tags: words to find it by; a text is one of them.
        token: with the scope `write`, where the server asks for one.
        mode: `online`; `offline` fills only the spool, for `recis-monitor sync`; `disabled` does nothing at all.
        spool_dir: where unacknowledged values lie, on a local disk; default `./recis-spool`, else the system's
            folder for temporary files.
        rank: this process's number among those of its job, with `world_size`; default what a process group or the
            launcher says.
        world_size: how many processes the job has.
        **others: `id` is another word for `run_id`. Anything else is not used, and named in one warning.

    Raises:
        ValueError: an address, mode, identifier or rank that is none; says what was expected.
    """
    global _current  # noqa: PLW0603 - the module-level `log` and `finish` act on the run opened last
    run_id = others.pop("id", None) if run_id is None else run_id
    mode, address, run_id = check_options(url=url, token=token, mode=mode, run_id=run_id)
    check_place(rank, world_size)
    identity = identify(run_id, rank, world_size, opening=next(_openings))
    if mode == "disabled":
        _current = Run(identity, None)
    else:
        if project is None or (isinstance(project, str) and project in ("", "default")):
            project = environment.monitor_setting("PROJECT")
        name = name or environment.monitor_setting("NAME")
        hello = make_hello(identity, project=project, name=name, config=config, tags=tags)
        spool_dir = _as_folder(spool_dir) or environment.monitor_setting("SPOOL")
        unwind_on_signals()
        _current = open_run(identity, hello, address if mode == "online" else None, spool_dir)
        _current.name, _current.project = hello.name or identity.run, hello.project
    _current.config.start(config)
    _current.ignore("init", others)
    if identity.rank == 0 and _current.url:
        _logger.info("run %s: %s", identity.run, _current.url)
    return _current


def check_options(
    *, url: str | None, token: str | None, mode: Mode | None, run_id: str | None
) -> tuple[Mode, ServerAddress, str | None]:
    """What `init` would use of arguments and environment; raises `ValueError` as `init` does, and opens nothing."""
    mode = mode or cast("Mode", environment.monitor_setting("MODE") or "online")
    if mode not in MODES:
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {shown(mode)}")
    run_id = run_id or environment.monitor_setting("RUN_ID")
    if run_id is not None:
        check_run_id(run_id)
        run_id = str.__str__(run_id)  # of a subclass, as numpy has one
    address = ServerAddress.parse(
        url or environment.monitor_url() or DEFAULT_URL, token or environment.monitor_setting("TOKEN")
    )
    return mode, address, run_id


def _as_folder(spool_dir: str | os.PathLike[str] | None) -> str | None:
    if spool_dir is None or isinstance(spool_dir, str | os.PathLike):
        return os.fspath(spool_dir) if spool_dir is not None else None
    raise ValueError(f"spool_dir: expected the path of a folder, got {shown(spool_dir)}")


def log(metrics: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: object = None) -> None:
    """`Run.log` of the run opened last; a warning where there is none."""
    if (current := _known("log")) is not None:
        current.log(metrics, step, commit)


def alert(title: str, text: str = "", level: str = "warning", step: int | None = None, **others: Any) -> None:
    """`Run.alert` of the run opened last; a warning where there is none."""
    if (current := _known("alert")) is not None:
        current.alert(title, text, level, step, **others)


def finish(exit_code: int | None = None, quiet: object = None) -> None:
    """`Run.finish` of the run opened last; a warning where there is none."""
    if (current := _known("finish")) is not None:
        current.finish(exit_code, quiet)


def define_metric(*args: Any, **kwargs: Any) -> None:
    """`Run.define_metric` of the run opened last; a warning where there is none."""
    if (current := _known("define_metric")) is not None:
        current.define_metric(*args, **kwargs)


class AlertLevel(StrEnum):
    """The levels of `alert`, under the names that they have in W&B."""

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
    """A run's points in full resolution, as numpy columns.

    Args:
        url_or_dir: a server, `http://HOST:PORT`; or its data folder, whether the server runs or not.
        run: the run's identifier.
        keys: series to read, None for all; those that the run does not have are left out.
        superseded: whether to give what newer attempts have gone back behind too, marked.
        token: with the scope `view`, where the server asks for one; default `RECIS_MONITOR_TOKEN`.

    Raises:
        LookupError: there is no such run.
        ConnectionError: the server is not there, or went away in the middle.
        PermissionError: the server wants another token.
        FileNotFoundError: neither an address nor a data folder.
        ImportError: a folder, where the server's packages are not installed.
        TypeError, ValueError: an argument that is none.
    """
    return read_run(url_or_dir, run, keys, superseded=superseded, token=token or environment.monitor_setting("TOKEN"))


def _known(what: str) -> Run | None:
    if _current is None:
        _logger.warning("recis.monitor.%s was called before init; nothing is kept", what)
    return _current
