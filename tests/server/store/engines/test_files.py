"""SQLite's files are removed, moved, replaced or written over while the store is open: nothing more is acknowledged."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recis_server.errors import ServerError, StoreLost, StoreUnavailable
from recis_server.store import probe
from recis_server.store.engines import files
from recis_server.store.engines.engine import Anchor
from recis_server.store.engines.sqlite import SqliteEngine
from recis_server.store.sql import SqlStore
from recis_server.store.upkeep.retention import Retention
from recis_server.store.upkeep.worker import MaintenanceWorker
from recis_server.store.values import RunsWanted

from tests.server.realserver import until_async
from tests.server.store.streams import frame, greeting, opened, points, read, run


async def fill(folder: Path, name: str, frames: int) -> None:
    """A store with one run."""
    async with opened(folder) as store:
        row = await store.register(greeting(name), 1)
        for n in range(1, frames + 1):
            await store.append(frame(row, n, points([n], loss=[float(n)])))


def other(folder: Path) -> Path:
    """The file of another store."""
    asyncio.run(fill(folder, "other", 9))
    return folder / "recis.db"


def restore(database: Path, copy: Path) -> None:
    """What `sqlite3 recis.db '.restore copy'` does."""
    with contextlib.closing(sqlite3.connect(copy)) as source, contextlib.closing(sqlite3.connect(database)) as target:
        source.backup(target)


def remove(database: Path, *ends: str) -> None:
    for end in ends:
        database.with_name(database.name + end).unlink()


Damage = Callable[[Path, Path, Path], object]
"""What is done to the database, beside a file of another store and an older copy of this one."""
DAMAGES: dict[str, Damage] = {
    "folder removed": lambda database, other, older: shutil.rmtree(database.parent),
    "folder moved": lambda database, other, older: database.parent.rename(database.parent.with_name("away")),
    "file removed": lambda database, other, older: database.unlink(),
    "another moved over it": lambda database, other, older: other.replace(database),
    "an older copy moved over it": lambda database, other, older: older.replace(database),
    "another copied over it": lambda database, other, older: shutil.copyfile(other, database),
    "an older copy copied over it": lambda database, other, older: shutil.copyfile(older, database),
    "emptied": lambda database, other, older: os.truncate(database, 0),
    "filled with noise": lambda database, other, older: database.write_bytes(os.urandom(1 << 16)),
    "an older copy restored": lambda database, other, older: restore(database, older),
    "another restored": lambda database, other, older: restore(database, other),
    "log removed": lambda database, other, older: remove(database, "-wal"),
    "index of the log removed": lambda database, other, older: remove(database, "-shm"),
    "all removed": lambda database, other, older: remove(database, "", "-wal", "-shm", ".lock"),
}


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below the folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_there_any_more_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setattr(files, "LOOK_S", 0.0)
    monkeypatch.setattr(files, "ODD_PAUSE_S", 0.001)
    monkeypatch.setattr(probe, "SAME_S", 0.0)
    strange = other(tmp_path / "other")
    data = tmp_path / "data"
    asyncio.run(fill(data, "r", 3))
    older = Path(shutil.copyfile(data / "recis.db", tmp_path / "older.db"))
    asyncio.run(fill(data, "r2", 3))

    async def scenario() -> None:
        async with opened(data) as store:
            row = await store.register(greeting("r3"), 1)
            await store.append(frame(row, 1, points([1], loss=[1.0])))
            await store.probe()
            DAMAGES[damage](data / "recis.db", strange, older)
            after = snapshot(tmp_path)
            for n in (2, 3):
                with pytest.raises(StoreUnavailable) as caught:
                    await store.append(frame(row, n, points([n], loss=[1.0])))
                assert str(tmp_path) not in caught.value.message
            with pytest.raises(StoreUnavailable):
                await store.register(greeting("r4"), 1)
            with pytest.raises(StoreUnavailable):
                await store.probe()
            if "restored" not in damage:
                # What was restored with the engine's own lock is a database that can be read.
                with pytest.raises(StoreLost):
                    await store.runs(RunsWanted())
        # Nothing is made in its place, and what has taken it is as it was, also when the store is closed.
        found = snapshot(tmp_path)
        assert set(found) <= set(after)
        if "over it" in damage or damage in ("emptied", "filled with noise"):
            assert found["data/recis.db"] == after["data/recis.db"]

    run(scenario)


def test_what_has_come_instead_is_served_by_the_next_start_and_what_was_there_is_whole(tmp_path: Path) -> None:
    strange = other(tmp_path / "other")
    data = tmp_path / "data"
    for number in range(3):
        asyncio.run(fill(data, f"r{number}", 20))

    async def scenario() -> None:
        async with opened(data) as store:
            row = await store.register(greeting("last"), 1)
            for n in range(1, 30):
                await store.append(frame(row, n, points([n], loss=[float(n)])))
            (data / "recis.db").rename(tmp_path / "away.db")
            shutil.copyfile(strange, data / "recis.db")
            with pytest.raises(StoreLost, match="was replaced"):
                await store.append(frame(row, 30, points([30], loss=[30.0])))
        async with opened(data) as store:
            assert [one.id for one in (await store.runs(RunsWanted())).runs] == ["other"]
            assert len(await read(store, "loss", "other")) == 9
        (tmp_path / "again").mkdir()
        (tmp_path / "away.db").rename(tmp_path / "again" / "recis.db")
        async with opened(tmp_path / "again") as store:
            assert len((await store.runs(RunsWanted())).runs) == 4
            assert len(await read(store, "loss", "last")) == 29
            await store.probe()

    run(scenario)


def test_a_young_store_is_known_by_its_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOOK_S", 0.0)
    monkeypatch.setattr(files, "ODD_PAUSE_S", 0.001)
    strange = other(tmp_path / "other")

    async def scenario() -> None:
        async with opened(tmp_path / "data") as store:
            shutil.copyfile(strange, tmp_path / "data" / "recis.db")
            with pytest.raises(StoreLost, match="was overwritten"):
                await store.register(greeting(), 1)

    run(scenario)


def test_a_folder_that_is_moved_back_is_the_store_again(tmp_path: Path) -> None:
    data, away = tmp_path / "data", tmp_path / "away"

    async def scenario() -> None:
        async with opened(data) as store:
            row = await store.register(greeting(), 1)
            await store.append(frame(row, 1, points([1], loss=[1.0])))
            for n in (2, 3):
                data.rename(away)
                for _ in range(2):
                    with pytest.raises(StoreLost, match=r"was removed or moved"):
                        await store.append(frame(row, n, points([n], loss=[float(n)])))
                away.rename(data)
                await store.append(frame(row, n, points([n], loss=[float(n)])))
            assert await read(store, "loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]

    run(scenario)


def test_a_checkpoint_is_not_taken_for_a_stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOOK_S", 0.0)

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            row = await store.register(greeting(), 1)
            beside = SqliteEngine(tmp_path / "recis.db")
            beside.open(exclusive=False)
            tool = beside.connect_writer()
            for n in range(1, 40):
                await store.append(frame(row, n, points([n], loss=[float(n)])))
                if n % 5 == 0:
                    tool.execute("PRAGMA wal_checkpoint(TRUNCATE)" if n % 2 else "PRAGMA wal_checkpoint(PASSIVE)")
            tool.close()
            # A copy that is newer than what lies in the file: all that came since is in the log.
            with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
                await store._read(lambda db: db.backup(copy))  # type: ignore[attr-defined]
            shutil.copyfile(tmp_path / "copy.db", tmp_path / "recis.db")
            await store.append(frame(row, 40, points([40], loss=[40.0])))
            assert len(await read(store, "loss")) == 40

    run(scenario)


def test_a_lock_that_is_removed_is_taken_again_or_was_taken_by_another(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            row = await store.register(greeting(), 1)
            lock = tmp_path / "recis.db.lock"
            lock.unlink()
            await store.append(frame(row, 1, points([1], loss=[1.0])))
            assert lock.read_text() == f"{os.getpid()}\n"
            lock.unlink()
            with held(lock), pytest.raises(StoreLost, match="another server has taken"):
                await store.append(frame(row, 2, points([2], loss=[2.0])))
            await store.append(frame(row, 2, points([2], loss=[2.0])))
            assert await read(store, "loss") == [(1, 1.0), (2, 2.0)]

    run(scenario)


@contextlib.contextmanager
def held(lock: Path) -> Iterator[None]:
    """Another process has taken the lock."""
    script = f"import fcntl, os; fcntl.flock(os.open({str(lock)!r}, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)"
    script += "; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield
        child.kill()


def test_who_comes_after_a_store_that_is_gone_makes_no_other(tmp_path: Path) -> None:
    async def scenario() -> Anchor:
        store = SqlStore(SqliteEngine(tmp_path / "recis.db"))
        await store.open()
        anchor = Anchor(*store._anchor)
        await store.close()
        return anchor

    anchor = asyncio.run(scenario())
    engine = SqliteEngine(tmp_path / "recis.db")
    assert engine.open(exclusive=False, anchor=anchor) == anchor
    worker = MaintenanceWorker(engine, Retention())
    worker.round(lambda: False)
    (tmp_path / "recis.db").unlink()
    with pytest.raises(StoreLost):
        worker.round(lambda: False)
    worker.close()
    engine.close()
    left = {path.name for path in tmp_path.iterdir()}
    assert "recis.db" not in left
    with pytest.raises(StoreLost):
        engine.open(exclusive=False, anchor=anchor)
    asyncio.run(fill(tmp_path, "r", 1))
    with pytest.raises(StoreLost):
        engine.open(exclusive=False, anchor=anchor)
    assert {path.name for path in tmp_path.iterdir()} - left == {"recis.db"}


@pytest.mark.parametrize("where", [1, 3, 9])
def test_a_damaged_file_is_not_ready_and_says_no_place(tmp_path: Path, where: int) -> None:
    asyncio.run(fill(tmp_path, "r", 50))
    path = tmp_path / "recis.db"
    with path.open("r+b") as file:
        file.seek(where * 4096)
        file.write(b"\xa5" * 4096)

    async def scenario() -> None:
        store = SqlStore(SqliteEngine(path))
        try:
            await store.open()
        except ServerError:
            return  # so damaged that nothing can be had of it
        try:
            for _ in range(2):
                with pytest.raises(StoreUnavailable) as caught:
                    await store.probe()
                assert str(tmp_path) not in caught.value.message
        finally:
            await store.close()

    run(scenario)


def test_damage_that_comes_while_the_server_runs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SAME_S", 0.0)
    asyncio.run(fill(tmp_path, "r", 50))
    path = tmp_path / "recis.db"

    async def ready(store: SqlStore) -> bool:
        try:
            await store.probe()
        except StoreUnavailable:
            return False
        return True

    async def not_ready(store: SqlStore) -> bool:
        return not await ready(store)

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            assert await ready(store)
            # By another process: to close a file here would let go of the engine's locks on it.
            noise = f"file = open({str(path)!r}, 'r+b'); file.seek(40960); file.write(b'\\xa5' * 40960)"
            await asyncio.to_thread(subprocess.run, [sys.executable, "-c", noise], check=True)
            await until_async(lambda: not_ready(store))
            # For good, whatever the next look may miss.
            assert not await ready(store)

    run(scenario)
