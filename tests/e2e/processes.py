"""Real processes for the end-to-end tests: started, read, awaited with a limit, and ended.

Owns the lifetime of a process and its output; must not know pages or routes.
"""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.children import SERVER, Child, start

__all__ = ["COMMAND", "RunningCommand", "get_json", "put_json", "until"]

COMMAND = str(Path(sys.executable).parent / "recis-monitor")

T = TypeVar("T")


def until(condition: Callable[[], T | None], limit_s: float, why: str) -> T:
    """Call `condition` repeatedly and return its first true result; fail after `limit_s` seconds."""
    end = time.monotonic() + limit_s
    while not (result := condition()):
        assert time.monotonic() < end, f"after {limit_s:.0f} s still not: {why}"
        time.sleep(0.05)  # between two calls; nothing depends on its length
    return result


def get_json(url: str | urllib.request.Request) -> dict[str, Any]:
    """Return the body of a JSON answer."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: dict[str, Any] = json.load(answer)
    return body


def put_json(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send a JSON body with PUT, and return that of the answer."""
    headers = {"Content-Type": "application/json"}
    return get_json(urllib.request.Request(url, json.dumps(body).encode(), headers, method="PUT"))


class RunningCommand:
    """`recis-monitor NAME` in its own folder, on a free port; its output is in `output.txt` there."""

    def __init__(self, folder: Path, name: str, *options: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._log = folder / "output.txt"
        with self._log.open("wb") as log:
            options = ("--port", "0", "--data", str(self.data), *options)
            streams: dict[str, Any] = {"stdout": log, "stderr": subprocess.STDOUT}
            self.process: Child | subprocess.Popen[bytes] = (
                start("-m", "recis.cli", name, *options, imports=SERVER, cwd=folder, start_new_session=True, **streams)
                if name == "serve"
                else subprocess.Popen([COMMAND, name, *options], cwd=folder, start_new_session=True, **streams)
            )

    @property
    def output(self) -> str:
        """Its output so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, pattern: str, limit_s: float = 60.0) -> str:
        """Return the first group of `pattern` as soon as the output contains it."""

        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.output)
            assert match or self.process.poll() is None, f"ended without {pattern!r}:\n{self.output}"
            return match

        return until(found, limit_s, f"{pattern!r} in the output").group(1)

    def wait(self, limit_s: float) -> int:
        """Return the exit code once it has ended by itself."""
        return self.process.wait(timeout=limit_s)

    def interrupt(self, limit_s: float = 60.0) -> int:
        """Interrupt it as Ctrl-C does, and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=limit_s)

    def processes(self) -> list[str]:
        """Return the command lines of all processes that use its data folder."""
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:  # ended meanwhile
                continue
            if str(self.data) in line:
                lines.append(line)
        return lines

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)
        if error is not None:
            sys.stdout.write(f"--- output of the command\n{self.output}\n")
