"""Run the thread that observes process and machine: it describes the process once and reads sensors regularly.

Owns the thread, its interval, and which process of a host reports for the host. Neither training nor the sender ever
waits for it: a driver or file system that hangs blocks only this thread. Must not know how anything is read or sent.
"""

import contextlib
import logging
import platform
import threading
import time
from typing import Any, BinaryIO, Protocol

from recis.bridge.claims import claims_folder
from recis.bridge.process_info import read_gpus, read_process, read_program, read_repository
from recis.bridge.sensors import Sensors
from recis.system import try_lock
from recis.wire.messages import Event, FrameRecord
from recis.wire.showing import text_of

__all__ = ["Observer", "Reporting"]

INTERVAL_S = 10.0
"""Time between two readings of the sensors."""
FINISH_S = 1.0
"""How long the end of a run waits for a reading in progress."""
MAX_TITLE_CHARS = 200
_logger = logging.getLogger(__name__)


class Reporting(Protocol):
    """What takes records and values; see `recis.bridge.run.Run`."""

    id: str

    @property
    def rank(self) -> int:
        """This process's rank in the run."""

    def append(self, record: FrameRecord) -> None:
        """Add a record; never raises."""

    def report_beside(self, values: dict[str, float]) -> None:
        """Add values at the current step; never raises."""


class Observer:
    """The observing thread. Start and close it once each.

    Args:
        run: receives what is read.
        info: whether to describe the process.
        system: whether to read sensors.
    """

    def __init__(self, run: Reporting, *, info: bool, system: bool) -> None:
        self._run = run
        self._info = info
        self._sensors = Sensors() if system else None
        self._host = _HostClaim(run.id)
        self._ending = threading.Event()
        self._described = threading.Event()
        self._devices: list[dict[str, Any]] = []
        self._repository: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._observe, name="recis-observer", daemon=True)

    def start(self) -> None:
        """Start the thread, if there is anything to observe.

        Steps that could disturb the program at another time are done here, while it waits for `init`: child processes
        of git, which `os.wait` would return, and imports that evaluate code, after which an interrupted program does
        not end by its signal (CPython forgets the unhandled KeyboardInterrupt).
        """
        try:
            if self._info:
                platform.processor()  # runs uname once; later calls have its answer
            if self._info and self._run.rank == 0:
                self._repository = read_repository()
            if self._sensors is not None:
                self._sensors.load()
        except Exception:  # boundary: as for the thread
            _logger.exception("the repository or the sensors cannot be read; training goes on")
        if self._info or self._sensors is not None:
            self._thread.start()
        else:
            self._described.set()

    def close(self, timeout_s: float) -> None:
        """End the thread after the reading in progress; abandon it if that takes long."""
        if self._thread.ident is None:
            return
        until = time.monotonic() + min(timeout_s, FINISH_S)
        self._described.wait(max(0.0, until - time.monotonic()))
        self._ending.set()
        self._thread.join(max(0.0, until - time.monotonic()))

    # --- the thread

    def _observe(self) -> None:
        try:
            if self._info:
                self._describe()
            self._described.set()
            sensors = self._sensors if self._sensors is not None and self._sensors.open() else None
            while not self._ending.wait(INTERVAL_S):
                if sensors is not None:
                    self._run.report_beside(sensors.read(host=self._host.is_held()))
                if self._info and not self._devices:
                    self._describe_devices()
            if sensors is not None:
                sensors.close()
        except Exception:  # boundary: the monitor's thread must not end with a bare traceback in the training's output
            _logger.exception("the observer stopped; training goes on without system metrics")
        finally:
            self._described.set()
            self._host.release()

    def _describe(self) -> None:
        whole = self._run.rank == 0
        known = read_process(whole=whole)
        self._devices = known.get("devices", [])
        self._say(known)
        if whole and not self._ending.is_set() and (more := {**self._repository, **read_program()}):
            self._say(more)

    def _describe_devices(self) -> None:
        """Describe devices that torch has initialised since the start; the monitor must not initialise any itself."""
        try:
            self._devices = read_gpus()
        except Exception as error:  # noqa: BLE001 - boundary: torch, perhaps in the middle of its own start
            _logger.debug("devices cannot be read yet: %s", error)
        if self._devices:
            self._say({"devices": self._devices})

    def _say(self, known: dict[str, Any]) -> None:
        title = known.get("command") or ", ".join(known)
        text = text_of(f"process: {title}", MAX_TITLE_CHARS)
        self._run.append(Event(kind="process", time_ns=time.time_ns(), text=text, data=known))


class _HostClaim:
    """Decides which process of a run on this host measures the host: the one that holds a lock on a file, whoever
    started it. When that process ends, another one takes over.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._file: BinaryIO | None = None

    def is_held(self) -> bool:
        """Return whether this process measures the host; take the lock if it is free."""
        if self._file is not None:
            return True
        try:
            file = (claims_folder() / f"host-{self._run}").open("ab")
        except OSError:
            return True  # no place for a lock: duplicate measurements are better than none
        if try_lock(file):
            self._file = file
            return True
        file.close()
        return False

    def release(self) -> None:
        """Release the lock."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                (claims_folder() / f"host-{self._run}").unlink()
            file.close()
