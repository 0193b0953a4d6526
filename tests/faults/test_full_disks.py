"""A server whose data is on a full disk: a small file system in memory, in a mount namespace."""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from recis_server.store.points.chunks import CHUNK_ROWS

import recis.monitor
from tests.e2e.processes import COMMAND, RunningCommand, get_json, until
from tests.faults.reports import Reported, address_of, count, maintenance_workers
from tests.server.store.points.test_compaction import assert_whole

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SIZE = 96 << 20


class SmallDisk:
    """A file system of `SIZE` bytes under `folder`, visible to processes started with `command`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._rights = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
        script = f'mount -t tmpfs -o size={SIZE} none "$1" && echo ready && cat'
        self.holder = subprocess.Popen(
            ["unshare", *self._rights, "--mount", "sh", "-c", script, "sh", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == b"ready\n", "expected to be allowed to mount (unshare --mount)"
        self.filler = self.path / "filler"

    @property
    def path(self) -> Path:
        """The path at which this process can access the folder."""
        return Path(f"/proc/{self.holder.pid}/root{self.folder}")

    def enter(self) -> list[str]:
        """The prefix of a command that is to see the file system."""
        rights = ["--user", "--preserve-credentials"] if self._rights else []
        return ["nsenter", f"--target={self.holder.pid}", *rights, "--mount", "--"]

    @property
    def free(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, left: int = 0) -> None:
        """Take all space except `left` bytes; space that others free meanwhile is not taken."""
        with self.filler.open("ab") as file, contextlib.suppress(OSError):
            while self.free > left:
                file.write(b"\0" * min(1 << 16, self.free - left))
                file.flush()

    def empty(self) -> None:
        self.filler.unlink()

    def close(self) -> None:
        with self.holder:
            self.holder.kill()


class Served(RunningCommand):
    """`recis-monitor serve` with its data on a small disk."""

    def __init__(self, disk: SmallDisk, folder: Path, port: str = "0") -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.data = disk.folder / "data"
        self._log = folder / "output.txt"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*disk.enter(), COMMAND, "serve", "--port", port, "--data", str(self.data)],
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    made = SmallDisk(tmp_path / "disk")
    yield made
    made.close()


def check(disk: SmallDisk, folder: Path, *runs: str) -> None:
    """Check with the server stopped that the file is intact, and that chunks, axes and pyramid are consistent."""
    copy = folder / "copy.db"
    shutil.copyfile(disk.path / "data" / "recis.db", copy)
    log = disk.path / "data" / "recis.db-wal"
    if log.exists():
        assert disk.free == 0, "expected the log to stay only where the file had no room to take all of it in"
        shutil.copyfile(log, folder / "copy.db-wal")
    with sqlite3.connect(copy) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for run in runs:
            assert_whole(db, run, CHUNK_ROWS)
    db.close()


def frames(disk: SmallDisk) -> int:
    """Return the number of hot frames; queried inside the namespace, because SQLite locks by file name."""
    code = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1], uri=True).execute(sys.argv[2]).fetchone())"
    where = f"file:{disk.folder}/data/recis.db?mode=ro"
    command = [*disk.enter(), sys.executable, "-c", code, where, "SELECT count(*) FROM frame"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.usefixtures("impatient")
def test_a_full_disk_keeps_what_is_there_and_all_comes_when_there_is_room(disk: SmallDisk, tmp_path: Path) -> None:
    with Served(disk, tmp_path / "server") as server:
        address = address_of(server)
        reported = Reported(recis.monitor.init(address, run_id="full", spool_dir=str(tmp_path / "spool")))
        reported.log(20_000)
        until(lambda: count(address, "full", "value") == 20_000, 30, "the first points")
        for number in range(4):
            disk.fill(left=number * 200_000)

            def refused() -> bool:
                reported.log(2000)
                return server.output.count("was not kept") > number  # noqa: B023

            until(refused, 60, "a frame that could not be kept")
            assert get_json(f"{address}/healthz")
            known = count(address, "full", "value")
            assert 20_000 <= known < reported.num_rows
            if number == 2:
                # A start without space repairs and writes nothing.
                server.process.send_signal(signal.SIGKILL)
                break
            disk.empty()
            until(lambda: count(address, "full", "value") == reported.num_rows, 60, "everything")
        server.process.wait()
        disk.empty()
        with Served(disk, tmp_path / "server", address.rpartition(":")[2]) as again:
            until(lambda: count_or_none(address, "full") == reported.num_rows, 60, "everything")
            assert reported.run.finish(timeout_s=60)
            reported.check(address)
            # Hot frames are compacted, now that there is space.
            until(lambda: maintenance_workers(again), 30, "its worker")
    check(disk, tmp_path, "full")


def count_or_none(address: str, run: str) -> int | None:
    try:
        return count(address, run, "value")
    except OSError:
        return None


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("impatient")
def test_a_compaction_without_room_changes_nothing_and_is_made_later(disk: SmallDisk, tmp_path: Path) -> None:
    with Served(disk, tmp_path / "server") as server:
        address = address_of(server)
        until(
            lambda: any(has_open(pid, "recis.db-wal") for pid in maintenance_workers(server)), 30, "the worker at work"
        )
        [worker] = maintenance_workers(server)
        until(lambda: stopped_without_lock(disk, worker), 30, "the worker between two transactions")
        reported = Reported(recis.monitor.init(address, run_id="cold", spool_dir=str(tmp_path / "spool")))
        reported.log(200_000)
        until(lambda: count(address, "cold", "value") == 200_000, 60, "all points, hot")
        # The write-ahead log has its final size: it has room only for its current content.
        disk.fill()
        os.kill(worker, signal.SIGCONT)
        until(
            lambda: "maintenance is waiting: database or disk is full" in server.output, 60, "a compaction without room"
        )
        assert maintenance_workers(server) == [worker], "it waits, and does not die"
        assert frames(disk) > 0
        assert len(raw(address, "cold")) == 200_000
        os.kill(worker, signal.SIGKILL)
        disk.empty()
        until(lambda: frames(disk) == 0, 150, "all points, cold")
        assert reported.run.finish(timeout_s=60)
        reported.check(address)
    check(disk, tmp_path, "cold")


def stopped_without_lock(disk: SmallDisk, worker: int) -> bool:
    """Stop the process at a moment when it does not hold the write lock; let it continue otherwise."""
    os.kill(worker, signal.SIGSTOP)
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=1).execute('BEGIN IMMEDIATE')"
    command = [*disk.enter(), sys.executable, "-c", script, str(disk.folder / "data" / "recis.db")]
    if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0:
        return True
    os.kill(worker, signal.SIGCONT)
    return False


def has_open(pid: int, name: str) -> bool:
    """Return whether a process has opened a file of this name."""
    with contextlib.suppress(FileNotFoundError):
        return any(link.readlink().name == name for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


def raw(address: str, run: str) -> list[int]:
    found: list[int] = get_json(f"{address}/api/v1/runs/{run}/series?key=value&points=0")["series"][0]["x"]
    return found


def log(address: str, spool: Path, run_id: str, num_rows: int) -> Reported:
    """Log a whole run."""
    reported = Reported(recis.monitor.init(address, run_id=run_id, spool_dir=str(spool)))
    reported.log(num_rows)
    assert reported.run.finish(timeout_s=60)
    return reported


def deleted(address: str, run: str) -> bool:
    try:
        urllib.request.urlopen(
            urllib.request.Request(f"{address}/api/v1/runs/{run}", method="DELETE"), timeout=60
        ).close()
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return False
        raise
    return True


FILL_THE_LOG = """
import sqlite3, sys
from pathlib import Path
from recis_server.store.engines.sqlite import SqliteEngine

engine = SqliteEngine(Path(sys.argv[1]) / "recis.db")
engine.open(exclusive=True)
writer = engine.connect_writer()

def write(size=500):
    writer.execute("INSERT INTO meta (name, value) VALUES (hex(randomblob(?)), 1)", (size,))

def fails(act):
    try:
        act()
    except sqlite3.OperationalError as error:
        assert "full" in str(error), error
        return True
    return False

for _ in range(200):
    write(50_000)
writer.execute("DELETE FROM meta WHERE length(name) > 1000")
writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
print("filled", flush=True)
sys.stdin.readline()
while not fails(write):
    pass
assert engine.make_room(writer, reserve=False)
write()
while not fails(write):
    pass
assert engine.give_back(writer)
"""


def test_a_log_that_has_filled_the_disk_begins_anew(disk: SmallDisk) -> None:
    """Otherwise neither frames nor maintenance would ever find space, however much is free inside the file."""
    command = [*disk.enter(), sys.executable, "-c", FILL_THE_LOG, str(disk.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "filled\n"
        disk.fill(2 << 20)
        process.communicate("go on\n", timeout=60)
    assert process.returncode == 0


@pytest.mark.usefixtures("impatient")
def test_to_delete_takes_little_room_and_makes_much(disk: SmallDisk, tmp_path: Path) -> None:
    """Also if the run is only in the log, and whether its points are hot or cold."""
    with Served(disk, tmp_path / "server") as server:
        address = address_of(server)
        log(address, tmp_path / "spool", "old", 300_000)
        until(lambda: reserve(disk) > 0, 60, "what is held back")
        disk.fill(2 << 20)
        # Maintenance may be using the same space at that moment.
        until(lambda: deleted(address, "old"), 30, "the deletion")
        log(address, tmp_path / "spool", "new", 100_000).check(address)
    check(disk, tmp_path, "new")


@pytest.mark.usefixtures("impatient")
def test_a_run_can_be_deleted_on_a_disk_without_any_room_while_others_wait_for_it(
    disk: SmallDisk, tmp_path: Path
) -> None:
    with Served(disk, tmp_path / "server") as server:
        address = address_of(server)
        log_noise(address, tmp_path / "spool", "old")
        log(address, tmp_path / "spool", "kept", 20_000)
        until(lambda: reserve(disk) > 0, 60, "what is held back")
        reported = Reported(recis.monitor.init(address, run_id="new", spool_dir=str(tmp_path / "spool")))
        disk.fill()

        chance = random.Random(2)
        noise = recis.monitor.init(address, run_id="noise", spool_dir=str(tmp_path / "spool"))

        def refused() -> bool:
            reported.log(200)
            for _ in range(10_000):
                noise.log({"value": chance.random()})
            return "was not kept" in server.output

        # Others take all remaining space, and continue to request more.
        until(refused, 60, "a frame that could not be kept")
        reported.log(50_000)
        disk.fill()
        assert disk.free == 0
        assert deleted(address, "old")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get_json(f"{address}/api/v1/runs/old")
        until(lambda: count(address, "new", "value") == reported.num_rows, 60, "all that has waited")
        assert reported.run.finish(timeout_s=60)
        assert noise.finish(timeout_s=60)
        reported.check(address)
        assert count(address, "kept", "value") == 20_000
        assert reserve(disk) == 0
        until(lambda: disk.free > 4 << 20, 60, "the space given back")
    check(disk, tmp_path, "new", "kept")


@pytest.mark.usefixtures("impatient")
def test_a_server_starts_on_a_disk_without_any_room_and_deletes(disk: SmallDisk, tmp_path: Path) -> None:
    with Served(disk, tmp_path / "server") as server:
        address = address_of(server)
        log_noise(address, tmp_path / "spool", "old")
        until(lambda: reserve(disk) > 0, 60, "what is held back")
    disk.fill()
    assert disk.free == 0
    with Served(disk, tmp_path / "again") as server:
        address = address_of(server)
        assert count(address, "old", "value") == NOISE_ROWS
        assert deleted(address, "old")
        log(address, tmp_path / "spool", "new", 20_000).check(address)
    check(disk, tmp_path, "new")


NOISE_ROWS = 500_000


def log_noise(address: str, spool: Path, run_id: str) -> None:
    """Log a run that takes as much space cold as hot."""
    chance = random.Random(1)
    run = recis.monitor.init(address, run_id=run_id, spool_dir=str(spool))
    for step in range(NOISE_ROWS):
        run.log({"value": chance.random(), "other": chance.random()}, step)
    assert run.finish(timeout_s=60)


def reserve(disk: SmallDisk) -> int:
    """Return the number of bytes reserved for deletions."""
    path = disk.path / "data" / "recis.db.reserve"
    return path.stat().st_size if path.exists() else 0
