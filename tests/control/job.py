"""A server and the ranks of a job as real processes: start, stop, kill and query them, and compare their results."""

import http
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.children import SERVER, Child, start
from tests.e2e.processes import until

__all__ = ["Barrier", "Job", "Server", "until"]


class Server:
    """`recis-monitor serve` on a port that stays the same across restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.token = ""
        self._child: Child | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        command = ["-m", "recis_server", "serve", "--port", str(self.port), "--data", str(self.folder)]
        with (self.folder.parent / f"{self.folder.name}.log").open("a") as log:
            self._child = start(*command, imports=SERVER, stdout=subprocess.PIPE, stderr=log)
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        assert line.startswith("Listening on "), line
        self.port = int(line.split("?")[0].strip().rstrip("/").rpartition(":")[2])

    @property
    def is_running(self) -> bool:
        return self._child is not None

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait(10)
            assert self._child.stdout is not None
            self._child.stdout.close()
            self._child = None

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the body of the answer; raise `HTTPError` for a refusal."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def refused(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return the status and the error of a refused request."""
        try:
            answer = self.ask(method, path, body)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]
        raise AssertionError(f"expected a refusal, got {answer}")


class Barrier:
    """Lets `size` ranks take each step together; if a rank ends, it ends for all."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:{1}".format(*self._listener.getsockname())
        self.pause = threading.Event()
        self.pause.set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()

    def _run(self) -> None:
        members: list[socket.socket] = []
        try:
            while len(members) < self._size:
                members.append(self._listener.accept()[0])
            while True:
                for member in members:
                    if not member.recv(1):
                        return
                self.pause.wait()
                for member in members:
                    member.sendall(b"x")
        except OSError:
            return
        finally:
            for member in members:
                member.close()


class Job:
    """The ranks of one run.

    Args:
        server: the server to which they report.
        folder: for journals and spools.
        size: number of ranks.
    """

    def __init__(self, server: Server, folder: Path, size: int, run: str = "job") -> None:
        self.server = server
        self.folder = folder
        self.size = size
        self.run = run
        self.ranks: dict[int, Child | subprocess.Popen[bytes]] = {}
        self.barrier: Barrier | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for rank in tuple(self.ranks):
            self.kill(rank)
        if self.barrier is not None:
            self.barrier.close()
        if error is not None:
            for path in sorted(self.folder.glob("*.log")):
                sys.stdout.write(f"--- {path.name}\n{path.read_text()[-2000:]}\n")

    def start(
        self, *, attempt: int = 0, lockstep: bool = True, rates: tuple[float, ...] = (20.0,), **options: Any
    ) -> None:
        """Start all ranks, and wait until they train and the server has the controls of each."""
        if self.barrier is not None:
            self.barrier.close()
        self.barrier = Barrier(self.size) if lockstep else None
        for rank in range(self.size):
            self.start_rank(rank, attempt=attempt, rate=rates[rank % len(rates)], **options)
        for rank in range(self.size):
            until(partial(self._begun, rank), 60, f"rank {rank} trains")
        until(self._declared, 60, "the server knows all ranks")

    def start_rank(self, rank: int, *, attempt: int = 0, **options: Any) -> None:
        """Start one rank."""
        if self.barrier is not None:
            options["barrier"] = self.barrier.address
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        environment = {
            **os.environ,
            "RECIS_MONITOR_URL": self.server.url,
            "RECIS_MONITOR_RUN_ID": self.run,
            "RANK": str(rank),
            "WORLD_SIZE": str(self.size),
            "TORCHELASTIC_RUN_ID": "elastic",
            "TORCHELASTIC_RESTART_COUNT": str(attempt),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "1",
        }
        with (self.folder / f"rank{rank}.log").open("ab") as log:
            self.ranks[rank] = start(
                "-m",
                "tests.control.rank",
                str(self.journal(rank)),
                *arguments,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self, rank: int) -> None:
        """Kill one rank with SIGKILL."""
        child = self.ranks.pop(rank, None)
        if child is not None:
            child.send_signal(signal.SIGKILL)
            child.wait(10)

    def wait(self, limit_s: float = 60) -> list[int]:
        """Wait until all ranks have ended by themselves, and return their exit codes."""
        return [child.wait(limit_s) for _, child in sorted(self.ranks.items())]

    # --- the journals

    def journal(self, rank: int) -> Path:
        return self.folder / f"rank{rank}.jsonl"

    def entries(self, rank: int) -> list[dict[str, Any]]:
        path = self.journal(rank)
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def changes(self, rank: int, control: str) -> list[tuple[Any, int]]:
        """Return the values and the steps after which they were set, in order."""
        return [(one["value"], one["step"]) for one in self.entries(rank) if one.get("control") == control]

    def _begun(self, rank: int) -> bool:
        child = self.ranks[rank]
        assert child.poll() is None, (self.folder / f"rank{rank}.log").read_text()
        events = [one.get("event") for one in self.entries(rank)]
        return "begins" in events

    def _declared(self) -> bool:
        try:
            return bool(self.control("stop")) and len(self.control("free").get("ranks", ())) == self.size
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.NOT_FOUND:  # the run exists from its first frame on
                raise
            return False

    # --- the server's view

    def set(self, control: str, value: Any, **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.server.ask(
            "PUT", f"/runs/{self.run}/controls/{control}", {"value": value, **more}
        )
        return answer

    def command(self, command: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.server.ask("GET", f"/runs/{self.run}/commands/{command}")
        return answer

    def commands(self) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = self.server.ask("GET", f"/runs/{self.run}/commands")["commands"]
        return answer

    def control(self, name: str) -> dict[str, Any]:
        controls = self.server.ask("GET", f"/runs/{self.run}/controls")["controls"]
        return next((one for one in controls if one["name"] == name), {})

    def settled(self, command: dict[str, Any], *states: str, limit_s: float = 60) -> dict[str, Any]:
        """Wait until the command is in one of the states, and return it."""
        wanted = states or ("applied", "rejected", "expired", "superseded")

        def look() -> dict[str, Any] | None:
            found = self.command(command["id"])
            return found if found["state"] in wanted else None

        return until(look, limit_s, f"{command['id']} is {wanted}: {self.command(command['id'])}")
