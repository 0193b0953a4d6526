"""Many commands to two jobs at once, while ranks are killed, stopped and started and the server is killed.

One job is a `torchrun` whose four ranks sum a tensor at each step; when a rank is killed, all of them restart, as a new
attempt. The other one has four independent ranks of different speed; a killed rank is restarted alone. The seed
determines everything that happens. `check` compares the ledger with the journals of the processes.
"""

import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.control.job import Job, Server, until

__all__ = ["Outcome", "Storm"]

SIZE = 4
RATES = (18.0, 19.0, 20.0, 22.0)
"""Of the free ranks. The pace of the slowest one is how fast a command for one step takes effect on all."""
OPEN = ("pending", "delivered")
CONNECT_S = 20.0
"""How long a process may take to connect, while the server is killed now and then."""


class TorchJob(Job):
    """A job that `torchrun` starts, and restarts when a rank has died."""

    launcher: subprocess.Popen[bytes] | None = None

    def launch(self, rate: float) -> None:
        """Start the launcher."""
        options = ["--nnodes=1", f"--nproc-per-node={self.size}", "--max-restarts=1000", "--monitor-interval=0.2"]
        options += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", f"--rdzv-id={self.run}"]
        script = [
            "-m",
            "tests.control.rank",
            str(self.folder / "rank%r.jsonl"),
            "--barrier",
            "gloo",
            "--rate",
            f"{rate}",
        ]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC")},
            "RECIS_MONITOR_URL": self.server.url,
            "RECIS_MONITOR_RUN_ID": self.run,
            "OMP_NUM_THREADS": "1",
            # Otherwise the ranks of an attempt find the addresses of the previous ranks.
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        }
        with (self.folder / "torchrun.log").open("ab") as log:
            self.launcher = subprocess.Popen(
                [sys.executable, "-m", "torch.distributed.run", *options, *script],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.launcher is not None and self.launcher.poll() is None:
            for rank in range(self.size):
                _signal(self.pid(rank), signal.SIGCONT)
            self.launcher.terminate()
            try:
                self.launcher.wait(20)
            except subprocess.TimeoutExpired:
                for pid in (*map(self.pid, range(self.size)), self.launcher.pid):
                    _signal(pid, signal.SIGKILL)
                self.launcher.wait(10)
        super().__exit__(kind, error, trace)

    def pid(self, rank: int) -> int:
        """Return the process id of a rank, 0 before it has started."""
        return next((one["pid"] for one in reversed(self.entries(rank)) if one.get("event") == "started"), 0)

    def num_begun(self) -> int:
        """Return how many times all ranks have begun to train."""
        return min(sum(one.get("event") == "begins" for one in self.entries(rank)) for rank in range(self.size))


@dataclass
class Outcome:
    """The outcome of the commands of one job.

    Attributes:
        states: the number of commands in each state.
        exact: of those applied on several ranks, the number applied on all of them at one step, or with `apply="each"`
            at the next one.
        late: the number of results that a rank reported after the step of the command.
        restarted: the number of results of processes that connected after the command was sent.
        lives: number of processes of its ranks.
    """

    states: dict[str, int]
    exact: int = 0
    late: int = 0
    restarted: int = 0
    lives: int = 0


class Storm:
    """Both jobs and the server.

    Args:
        folder: for all files.
        seed: seed of all random choices.
        num_commands: number of commands for each job.
        duration_s: the time over which they are sent.
        rounds: number of failures of each kind.
    """

    def __init__(self, folder: Path, *, seed: int, num_commands: int, duration_s: float, rounds: int) -> None:
        self._chance = random.Random(seed)
        self._num_commands = num_commands
        self._duration_s = duration_s
        self._rounds = rounds
        self.server = Server(folder / "data")
        self.lockstep = TorchJob(self.server, folder / "lockstep", SIZE, run="lockstep")
        self.free = Job(self.server, folder / "free", SIZE, run="free")
        self._given: dict[str, list[str]] = {"lockstep": [], "free": []}
        self._refused: list[tuple[Job, dict[str, Any]]] = []
        self._number = 2000  # above the value that ranks reject
        self._restarts = 0

    def run(self) -> dict[str, Outcome]:
        """Run the storm; return the outcome of the commands of each job, after checking all of them."""
        with self.server, self.lockstep, self.free:
            self.lockstep.launch(rate=25.0)
            self.free.start(lockstep=False, rates=RATES)
            until(self.lockstep.num_begun, 120, "torchrun has started its ranks")
            self._happen(self._schedule())
            self._settle()
            found = {job.run: check(job, self._given[job.run]) for job in (self.lockstep, self.free)}
            for job in (self.lockstep, self.free):
                job.set("stop", None, reason="enough")
            assert self.lockstep.launcher is not None
            assert self.lockstep.launcher.wait(60) == 0
            assert self.free.wait(60) == [0] * SIZE
        return found

    # --- the storm

    def _schedule(self) -> list[tuple[float, Callable[[], None]]]:
        chance = self._chance
        found: list[tuple[float, Callable[[], None]]] = []
        for job in (self.lockstep, self.free):
            found += [(chance.uniform(0, self._duration_s), self._command(job)) for _ in range(self._num_commands)]
        for number in range(self._rounds):
            first = self._duration_s * number / self._rounds
            part = self._duration_s / self._rounds

            def moment(first: float = first, part: float = part) -> float:
                return first + chance.uniform(0.05, 0.75) * part

            at = moment()
            found += [(at, self.server.kill), (at + chance.uniform(0.0, 0.6), self._start_server)]
            for _ in range(2):
                at, rank = moment(), chance.randrange(SIZE)
                found.append((at, partial(self.free.kill, rank)))
                found.append((at + chance.uniform(0.0, 1.0), partial(self._start_free, rank)))
            for job in (self.lockstep, self.free):
                at, rank = moment(), chance.randrange(SIZE)
                found.append((at, partial(self._signal, job, rank, signal.SIGSTOP)))
                found.append((at + chance.uniform(0.2, 1.2), partial(self._signal, job, rank, signal.SIGCONT)))
        # A restart of all ranks takes a while, during which commands wait for them.
        for number in range(max(1, self._rounds // 3)):
            at = self._duration_s * (number + 0.4) / max(1, self._rounds // 3)
            found.append((at, partial(self._kill_lockstep, chance.randrange(SIZE))))
        return sorted(found, key=lambda one: one[0])

    def _happen(self, schedule: list[tuple[float, Callable[[], None]]]) -> None:
        began = time.monotonic()
        for at, action in schedule:
            time.sleep(max(0.0, began + at - time.monotonic()))
            action()
        self._start_server()

    def _start_server(self) -> None:
        if not self.server.is_running:
            self.server.start()

    def _command(self, job: Job) -> Callable[[], None]:
        chance = self._chance
        self._number += 1
        values = {"a": self._number}
        kind = chance.random()
        if kind < 0.2:
            values = {"a": self._number, "b": self._number}
        elif kind < 0.5:
            values = {"b": self._number}
        elif job is self.free and kind < 0.8:
            values = {"free": self._number}
        body = {"values": values, "id": f"c{self._number}", "reason": f"number {self._number}"}
        return partial(self._give, job, body)

    def _give(self, job: Job, body: dict[str, Any]) -> None:
        self._refused.append((job, body))
        self._give_all()

    def _give_all(self) -> bool:
        """Send the commands not accepted yet, in order; return whether all are accepted."""
        while self._refused:
            job, body = self._refused[0]
            try:
                self.server.ask("PUT", f"/runs/{job.run}/controls", body)
            except urllib.error.HTTPError as error:
                said = error.read()
                # It has just started, or the maximum number of open commands wait for a stopped rank.
                if error.code != 503 and b"open commands" not in said:
                    raise AssertionError(f"expected {body} to be accepted, got {said!r}") from error
                return False
            except OSError:
                return False  # the server is away: the same request is repeated with the same id
            self._given[job.run].append(body["id"])
            del self._refused[0]
        return True

    def _start_free(self, rank: int) -> None:
        if rank not in self.free.ranks:
            # It continues near the step of the others, as from a checkpoint.
            steps = [one["step"] for entries in map(self.free.entries, range(SIZE)) for one in entries[-1:]]
            self.free.start_rank(rank, rate=RATES[rank], first=max(steps, default=0))

    def _signal(self, job: Job, rank: int, number: signal.Signals) -> None:
        if isinstance(job, TorchJob):
            _signal(job.pid(rank), number)
        elif rank in job.ranks:
            job.ranks[rank].send_signal(number)

    def _kill_lockstep(self, rank: int) -> None:
        self._restarts = self.lockstep.num_begun()
        _signal(self.lockstep.pid(rank), signal.SIGKILL)

    # --- the end

    def _settle(self) -> None:
        """Wait until every rank is back and every command has been sent and has ended."""
        for rank in range(SIZE):
            self._signal(self.lockstep, rank, signal.SIGCONT)
            self._start_free(rank)
            self._signal(self.free, rank, signal.SIGCONT)
        until(lambda: self.lockstep.num_begun() > self._restarts, 120, "torchrun has started its ranks again")
        for job in (self.lockstep, self.free):
            # Also those refused before; these values remain.
            self._number += 1
            until(self._give_all, 60, "every command is in the ledger")
            last = {"values": {"a": self._number, "b": self._number}, "id": f"c{self._number}", "reason": "the last"}
            self._give(job, last)
        for job in (self.lockstep, self.free):
            until(partial(self._is_settled, job), 120, f"no command of {job.run} is open")
            until(partial(self._is_alike, job), 20, f"the ranks of {job.run} are alike")

    def _is_alike(self, job: Job) -> bool:
        return not any(job.control(name)["differs"] for name in "ab")

    def _is_settled(self, job: Job) -> bool:
        # The newest 200; `check` looks at all of them.
        return not any(one["state"] in OPEN or one["waiting_for"] or one["away"] for one in job.commands())


def ledger(job: Job) -> list[dict[str, Any]]:
    """Return all commands of a job, oldest first, with their number in the order of acceptance."""
    entries: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = job.server.ask("GET", f"/runs/{job.run}/audit?limit=1000{cursor}")
        entries += page["audit"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    ids = list(dict.fromkeys(entry["command"] for entry in reversed(entries)))
    newest = {one["id"]: one for one in job.commands()}
    return [newest.get(one) or job.command(one) for one in ids]


def check(job: Job, given: list[str]) -> Outcome:
    """Compare the ledger of a job with the journals of its ranks."""
    commands = ledger(job)
    outcome = Outcome(dict(Counter(one["state"] for one in commands)))
    known = {one["id"] for one in commands}
    assert set(given) <= known, f"{job.run}: {set(given) - known} are lost"
    assert set(outcome.states) <= {"applied", "superseded"}, outcome.states
    begun = {
        rank: [one["time"] for one in job.entries(rank) if one.get("event") == "started"] for rank in range(job.size)
    }
    outcome.lives = sum(map(len, begun.values()))
    for place, command in enumerate(commands):
        if command["superseded_by"] is not None:
            assert command["superseded_by"] in {one["id"] for one in commands[place + 1 :]}, command
        _check_step(command, begun, outcome)
    for rank in range(job.size):
        _check_rank(job, rank, commands, begun[rank])
    return outcome


def _check_step(command: dict[str, Any], begun: dict[int, list[float]], outcome: Outcome) -> None:
    """Check that a command took effect at its step on every rank, or that the ledger states where it did instead."""
    results = {int(rank): one for rank, one in command["ranks"].items() if one["state"] == "applied"}
    step = command["apply_at_step"]
    is_exact = True
    asked = _seconds(command["requested_at"])
    for rank, one in results.items():
        lives = bisect_right(begun[rank], one["time"])
        # A process that connects for the first time after the command applies it without waiting for its step.
        has_restarted = lives > 1 and begun[rank][lives - 1] + CONNECT_S > asked
        if step is None or one["step"] == step:
            continue
        is_exact = False
        assert one["late"] or has_restarted, f"rank {rank} applied it before its step: {command}"
        outcome.late += one["late"]
        outcome.restarted += has_restarted
    outcome.exact += len(results) > 1 and is_exact


def _check_rank(job: Job, rank: int, commands: list[dict[str, Any]], begun: list[float]) -> None:
    """Check that the journal of a rank agrees with the ledger, in the order in which commands were accepted."""
    said = [
        (one["time"], place, command, one)
        for place, command in enumerate(commands)
        if (one := command["ranks"].get(str(rank), {})).get("state") == "applied"
    ]
    said.sort(key=lambda item: item[:2])
    told = [
        (bisect_right(begun, time_s), name, value, one["step"], place, command)
        for time_s, place, command, one in said
        for name, value in command["values"].items()
        # Of several settings, one that a newer command has already set is left unchanged.
        if command["control"] or one["new"][name] == value
    ]
    written = [
        (bisect_right(begun, one["time"]), one["control"], one["value"], one["step"])
        for one in job.entries(rank)
        if "control" in one
    ]
    for life in range(len(begun) + 1):
        for control in ("a", "b", "free"):
            of_ledger = [one for one in told if one[:2] == (life, control)]
            of_journal = [one[2:] for one in written if one[:2] == (life, control)]
            expected = [one[2:4] for one in of_ledger]
            # A kill may occur between the change and its report; the next process then receives the value.
            was_killed = life < len(begun)
            where = f"{job.run}, rank {rank}, process {life}, {control}"
            assert of_journal == expected or (was_killed and of_journal[:-1] == expected), (
                f"{where}: the ledger says {expected}, the journal {of_journal}"
            )
            places = [place for *_, place, command in of_ledger if not command["reason"].startswith("restored on rank")]
            assert places == sorted(places), f"{where}: changed out of order: {of_ledger}"


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _signal(pid: int, number: signal.Signals) -> None:
    if pid:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
