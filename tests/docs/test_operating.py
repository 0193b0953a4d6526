"""The commands for backups in `docs/operating.md`, run as they are shown while a server runs."""

import asyncio
import hashlib
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from recis_server.access import digest_of
from recis_server.store.values import TokenRow, TraceRow

from scripts.postgres import binary, postgres_server
from tests.rules.sources import ROOT
from tests.server.httpserver import Site, site
from tests.server.realserver import points

pytestmark = pytest.mark.slow

TEXT = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
CONTROL = "/api/v1/runs/r/controls/filter_interval"
TRACE = b'{"traceEvents": []}'
PATHS = (
    "/api/v1/runs",
    *(f"/api/v1/runs/r{part}" for part in ("", "/metrics", "/events", "/controls", "/commands", "/audit", "/filters")),
    "/api/v1/runs/r/series?key=loss&points=0",
    "/api/v1/runs/r/export?format=csv",
    "/api/v1/runs/r/traces",
    "/api/v1/traces/t1/download",
)


def shown(section: str) -> tuple[str, str]:
    """The commands of a section: to make a backup, and to restore it."""
    part = TEXT.split(f"\n### {section}\n")[1].split("\n### ")[0]
    backup, restore = re.findall(r"```sh\n(.*?)```", part, re.DOTALL)
    return str(backup), str(restore)


def run(command: str, **variables: str | Path) -> None:
    path = f"{Path(binary('pg_dump')).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **{name: str(value) for name, value in variables.items()}}
    done = subprocess.run(["sh", "-euc", command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def fill(opened: Site, folder: Path) -> None:
    """Something of everything."""
    await opened.filled()
    for step in range(10, 30):
        await opened.run("r", points([step], loss=[step / 7]))
    assert (await opened.client.put(CONTROL, json={"value": 5, "reason": "less often"})).status_code == 202
    store, blobs = opened.app.state.store, opened.app.state.blobs
    (folder / "trace").write_bytes(TRACE)
    await blobs.put("traces/t1", folder / "trace")
    summary: dict[str, Any] = {"summary_state": "ready", "summary": {"events": 0}}
    digest = hashlib.sha256(TRACE).hexdigest()
    await store.put_trace(
        TraceRow("t1", "r", "t.json", 0, 1, 5, len(TRACE), digest, "ready", 1, "traces/t1", **summary)
    )
    await store.add_token(TokenRow("t", "wall", "view", digest_of("wall"), 1, 2**62))


async def answers(opened: Site) -> dict[str, Any]:
    """What a server says about all of it to somebody with the restored token."""
    headers = {"Authorization": "Bearer wall"}
    found = {}
    for path in PATHS:
        answer = await opened.client.get(path, headers=headers)
        assert answer.status_code == 200, (path, answer.text)
        found[path] = answer.content
    assert b"less often" in found["/api/v1/runs/r/audit"]
    assert found["/api/v1/traces/t1/download"] == TRACE
    return found


def test_a_copy_of_sqlite_restored_elsewhere_answers_the_same(tmp_path: Path) -> None:
    data, backup, restored = (tmp_path / name for name in ("data", "a backup", "restored"))
    backup.mkdir()
    save, restore = shown("SQLite")

    async def scenario() -> None:
        async with site(data) as opened:
            await fill(opened, tmp_path)
            wanted = await answers(opened)
            await asyncio.to_thread(run, save, DATA=data, BACKUP=backup)
            await opened.run("later", points([1], loss=[1.0]))
        await asyncio.to_thread(run, restore, BACKUP=backup, RESTORED=restored)
        async with site(restored) as opened:
            assert await answers(opened) == wanted
            # The restored server works: writers go on.
            await opened.run("r", points([99], loss=[1.0]))
            assert await answers(opened) != wanted

    asyncio.run(scenario())


def test_a_dump_of_postgresql_restored_elsewhere_answers_the_same(tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    backup.mkdir()
    save, restore = shown("PostgreSQL")

    async def scenario(first: str, second: str) -> None:
        async with site(tmp_path / "data", store=first) as opened:
            await fill(opened, tmp_path)
            wanted = await answers(opened)
            await asyncio.to_thread(run, save, STORE=first, BACKUP=backup)
            await opened.run("later", points([1], loss=[1.0]))
        await asyncio.to_thread(run, restore, EMPTY=second, BACKUP=backup)
        async with site(tmp_path / "data", store=second) as opened:
            assert await answers(opened) == wanted
            await opened.run("r", points([99], loss=[1.0]))
            assert await answers(opened) != wanted

    with postgres_server() as server:
        asyncio.run(scenario(server.make_database(), server.make_database()))
