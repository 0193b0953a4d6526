import hashlib
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from recis_server.store.values import TraceRow

from tests.server.httpserver import Site, ask

BODY = bytes(range(256)) * 8000
SHA = hashlib.sha256(BODY).hexdigest()


async def with_trace(site: Site, folder: Path, name: str = "a.json.gz", state: str = "ready") -> None:
    await site.run("r")
    file = folder / "source"
    file.write_bytes(BODY)
    await site.app.state.blobs.put("traces/t1", file)
    row = TraceRow("t1", "r", name, 0, 1, 50, len(BODY), SHA, state, time.time_ns(), "traces/t1")  # type: ignore[arg-type]
    await site.app.state.store.put_trace(row)


def test_a_summary_is_shown_with_its_state(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await with_trace(site, tmp_path)
        store = site.app.state.store
        row = await store.trace("t1")
        for more in (
            {"summary_state": "pending", "summary_error": None, "summary": None},
            {"summary_state": "failed", "summary_error": "no trace", "summary": None},
            {"summary_state": "ready", "summary_error": None, "summary": {"events": 1}},
        ):
            await store.update_trace(replace(row, **{**more, "summary_error": more["summary_error"] or ""}))
            (trace,) = (await site.client.get("/api/v1/runs/r/traces")).json()["traces"]
            assert {name: trace[name] for name in more} == more

    ask(tmp_path, scenario)


def test_a_summary_that_an_earlier_version_has_spoilt_does_not_spoil_the_list(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await with_trace(site, tmp_path)
        store = site.app.state.store
        spoil = "UPDATE trace SET summary_state = 'ready', summary = ? WHERE trace_id = 't1'"
        await store._writer.call(lambda db: db.execute(spoil, ('{"name": "\\ud800"}',)).rowcount)
        answer = await site.client.get("/api/v1/runs/r/traces")
        assert answer.status_code == 200
        (trace,) = answer.json()["traces"]
        assert (trace["summary"], trace["summary_state"]) == (None, "failed")
        assert "expected a stored summary" in trace["summary_error"]
        assert (await fetch(site)).content == BODY

    ask(tmp_path, scenario)


async def fetch(site: Site, **headers: str) -> httpx.Response:
    return await site.client.get("/api/v1/traces/t1/download", headers=headers)


def test_a_trace_is_listed_and_downloaded_byte_for_byte(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await with_trace(site, tmp_path)
        (trace,) = (await site.client.get("/api/v1/runs/r/traces")).json()["traces"]
        assert (trace["id"], trace["sha256"], trace["size"], trace["state"]) == ("t1", SHA, len(BODY), "ready")
        assert "blob" not in trace
        answer = await fetch(site)
        assert answer.status_code == 200
        assert answer.content == BODY
        assert answer.headers["etag"] == f'"{SHA}"'
        assert answer.headers["content-length"] == str(len(BODY))
        assert answer.headers["content-disposition"].startswith('attachment; filename="a.json.gz"')
        assert answer.headers["content-type"] == "application/gzip"
        head = await site.client.head("/api/v1/traces/t1/download")
        assert head.headers["content-length"] == str(len(BODY))

    ask(tmp_path, scenario)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=2047990-", 2_047_990, 2_048_000),
        ("bytes=-5", 2_047_995, None),
    ],
)
def test_a_range_gives_that_part(tmp_path: Path, asked: str, start: int, stop: int | None) -> None:
    async def scenario(site: Site) -> None:
        await with_trace(site, tmp_path)
        answer = await fetch(site, Range=asked)
        assert answer.status_code == 206
        assert answer.content == BODY[start:stop]
        assert answer.headers["content-range"] == f"bytes {start}-{(stop or len(BODY)) - 1}/{len(BODY)}"

    ask(tmp_path, scenario)


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=1-2,4-5", "lines=1-2", "bytes=-", "nonsense"])
def test_a_range_that_is_none_is_ignored(tmp_path: Path, asked: str) -> None:
    async def scenario(site: Site) -> None:
        await with_trace(site, tmp_path)
        answer = await fetch(site, Range=asked)
        assert (answer.status_code, len(answer.content)) == (200, len(BODY))

    ask(tmp_path, scenario)


def test_ranges_and_tags_follow_the_rules(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await with_trace(site, tmp_path)
        answer = await fetch(site, Range="bytes=99999999-")
        assert answer.status_code == 416
        assert answer.json()["error"]["code"] == "range"
        assert (await fetch(site, **{"If-None-Match": f'"{SHA}"'})).status_code == 304
        assert (await fetch(site, **{"Range": "bytes=0-1", "If-Range": '"other"'})).status_code == 200
        assert (await fetch(site, **{"Range": "bytes=0-1", "If-Range": f'"{SHA}"'})).status_code == 206

    ask(tmp_path, scenario)


@pytest.mark.parametrize("name", ["../../etc/passwd", 'a"b.json', "a\r\nSet-Cookie: x", "🦊.json", "\0", "x" * 10_000])
def test_a_name_from_outside_stays_a_name(tmp_path: Path, name: str) -> None:
    async def scenario(site: Site) -> None:
        await with_trace(site, tmp_path, name)
        answer = await fetch(site)
        assert answer.status_code == 200
        said = answer.headers["content-disposition"]
        assert "/" not in said
        assert "set-cookie" not in answer.headers
        assert said.isascii()
        assert said.isprintable()
        assert len(said) < 3000

    ask(tmp_path, scenario)


def test_a_trace_that_is_not_ready_or_not_there(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await with_trace(site, tmp_path, state="uploading")
        assert (await fetch(site)).status_code == 409
        assert (await site.client.get("/api/v1/traces/t2/download")).status_code == 404
        await with_trace(site, tmp_path)
        await site.app.state.blobs.delete("traces/t1")
        assert (await fetch(site)).status_code == 404

    ask(tmp_path, scenario)
