"""Room that is held back, on the disk of the tests, of which only the numbers are made up."""

from pathlib import Path

import pytest
from recis_server.store.engines import reserve
from recis_server.store.engines.reserve import RESERVE_BYTES, START_BYTES, WORTH_BYTES, Reserve


def test_it_is_held_where_it_is_worth_it_and_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database, held = tmp_path / "recis.db", tmp_path / "recis.db.reserve"
    one = Reserve(database)
    one.hold()
    database.write_bytes(b"\0" * (WORTH_BYTES - 1))
    one.hold()
    assert not held.exists()
    assert not one.release()
    database.write_bytes(b"\0" * WORTH_BYTES)
    free = RESERVE_BYTES
    monkeypatch.setattr(Reserve, "_free", lambda self: free)
    one.hold()
    assert not held.exists()
    free = 2 * RESERVE_BYTES
    one.hold()
    # Really taken, not a hole.
    assert held.stat().st_blocks * 512 >= held.stat().st_size == RESERVE_BYTES
    one.let_start()
    assert held.stat().st_size == RESERVE_BYTES
    free = 0
    one.let_start()
    assert held.stat().st_size == RESERVE_BYTES - START_BYTES
    free = 2 * RESERVE_BYTES
    one.hold()
    assert held.stat().st_size == RESERVE_BYTES
    assert one.release()
    assert not held.exists()


def test_a_start_never_fails_for_it(tmp_path: Path) -> None:
    one = Reserve(tmp_path / "no" / "recis.db")
    one.hold()
    one.let_start()
    assert not one.release()
    assert reserve.START_BYTES < RESERVE_BYTES
