"""The blobs: what every place does alike, on a folder and on an S3 server; and what is particular to each."""

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recis_server import blobs as module
from recis_server.blobs import Blobs, open_blobs
from recis_server.cli import main
from recis_server.errors import NotFound, StoreError, StoreUnavailable

from recis.wire.codec import decode_trace, encode
from recis.wire.messages import Refuse, TraceAck, TraceChunk, TraceOpen, TraceReply
from tests.faults.proxy import Proxy
from tests.server.realserver import raw, serving, trainer, until_async
from tests.server.s3server import BUCKET, CREDENTIALS, S3Server, s3_server
from tests.server.traces.files import call, trace

FAST = {"max_retries": 0}
"""For what is away on purpose: one try."""


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Blobs]:
    """Opens the blobs of this test, once or more."""
    if request.param == "folder":
        return lambda: open_blobs(f"file://{tmp_path}/data/blobs", tmp_path / "fetched")
    server: S3Server = request.getfixturevalue("s3")
    return lambda: open_blobs(server.url(f"{BUCKET}/{tmp_path.name}"), tmp_path / "fetched")


def folder_blobs(folder: Path) -> Blobs:
    return open_blobs(f"file://{folder}", folder / "fetched")


async def everything(blobs: Blobs, key: str, start: int, stop: int) -> bytes:
    return b"".join([part async for part in blobs.read(key, start, stop)])


def test_bytes_come_back_whole_and_in_ranges(place: Callable[[], Blobs], tmp_path: Path) -> None:
    async def scenario() -> None:
        await place().check()
        content = os.urandom(19 << 20)  # three parts
        (tmp_path / "file").write_bytes(content)
        await place().put("traces/abc", tmp_path / "file")
        blobs = place()
        assert await blobs.size("traces/abc") == len(content)
        assert await everything(blobs, "traces/abc", 0, len(content)) == content
        assert await everything(blobs, "traces/abc", 5, 6) == content[5:6]
        assert await everything(blobs, "traces/abc", 3 << 20, (9 << 20) + 1) == content[3 << 20 : (9 << 20) + 1]
        assert await everything(blobs, "traces/abc", 9, 9) == b""
        async with blobs.local("traces/abc") as path:
            assert path.read_bytes() == content

    asyncio.run(scenario())


def test_what_is_deleted_is_not_found_and_may_be_deleted_again(place: Callable[[], Blobs], tmp_path: Path) -> None:
    async def scenario() -> None:
        blobs = place()
        (tmp_path / "file").touch()
        await blobs.put("traces/abc", tmp_path / "file")
        assert await blobs.size("traces/abc") == 0, "an empty file is a blob"
        await blobs.delete("traces/abc")
        await blobs.delete("traces/abc")
        with pytest.raises(NotFound):
            await blobs.size("traces/abc")
        with pytest.raises(NotFound):
            await everything(blobs, "traces/abc", 0, 1)
        with pytest.raises(NotFound):
            async with blobs.local("traces/abc"):
                raise AssertionError("there is none")

    asyncio.run(scenario())


def test_a_folder_of_blobs_is_listed_with_sizes_and_times(place: Callable[[], Blobs]) -> None:
    async def scenario() -> None:
        blobs = place()
        assert await blobs.list("parts") == []
        keys = ["parts/a/1", "parts/a/2", "parts/ab/1"]
        for key in keys:
            await blobs.put_bytes(key, b"older")
            await blobs.put_bytes(key, key.encode())
        await blobs.put_bytes("other/a", b"")
        found = await blobs.list("parts")
        assert sorted((one.key, one.size) for one in found) == [(key, len(key)) for key in keys]
        assert all(abs(one.stored_s - time.time()) < 60 for one in found)
        assert sorted(one.key for one in await blobs.list("parts/a")) == keys[:2]
        assert await everything(blobs, keys[0], 0, 100) == keys[0].encode()

    asyncio.run(scenario())


def test_a_place_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    async def scenario() -> None:
        blobs = folder_blobs(tmp_path / "blobs")
        (tmp_path / "file").write_bytes(b"x")
        # A file where the folder of the key belongs: refused for every user, the superuser included.
        (tmp_path / "blobs" / "traces").write_bytes(b"in the way")
        with pytest.raises(StoreUnavailable, match="could not store") as caught:
            await blobs.put("traces/abc", tmp_path / "file")
        assert str(tmp_path) not in str(caught.value), "where the server stores its files"

    asyncio.run(scenario())


def test_what_is_in_the_way_of_a_blob_is_no_failure_of_the_servers(tmp_path: Path) -> None:
    async def scenario() -> None:
        blobs = folder_blobs(tmp_path)
        (tmp_path / "traces" / "abc").mkdir(parents=True)
        (tmp_path / "traces" / "link").symlink_to("link")
        for key in ("traces/abc", "traces/link"):
            for ask in (blobs.size(key), everything(blobs, key, 0, 1)):
                with pytest.raises((NotFound, StoreUnavailable)) as caught:
                    await ask
                assert str(tmp_path) not in str(caught.value)

    asyncio.run(scenario())


def test_a_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="expected a folder"):
        folder_blobs(tmp_path / "file" / "blobs")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "expected file://FOLDER, s3://"),
        ("file://", "expected file://FOLDER, s3://"),
        ("/tmp/blobs", "got '/tmp/blobs'"),
        ("ftp://bucket", "got 'ftp://bucket'"),
        ("s3://", "got 's3://'"),
        ("s3://bucket?regoin=x", "expected options of allow_http, .*, got 'regoin'"),
        ("s3://bucket?secret_access_key=hidden", "such as credentials, are environment variables"),
        ("s3://key:hidden@bucket", "expected credentials in environment variables"),
        ("ftp://key:hidden@bucket", "got 'ftp://bucket'"),
    ],
)
def test_an_address_that_is_none_is_refused_with_what_was_expected(url: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        open_blobs(url, tmp_path)
    assert str(caught.value).startswith("--blobs: ")
    assert "hidden" not in str(caught.value)


def test_a_server_does_not_start_without_a_bucket_that_it_can_write(
    s3: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(url: str) -> str:
        assert main(["serve", "--port", "0", "--data", str(tmp_path), "--blobs", url]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert not any(secret in line for secret in CREDENTIALS.values())
        return line

    assert "got s3://nowhere/p: it answered 404 Not Found (NoSuchBucket)" in told(s3.url("nowhere/p"))
    monkeypatch.setattr(module, "_RETRIES", FAST)
    with Proxy(s3.port) as proxy:
        proxy.refusing = True
        port = int(proxy.address.rpartition(":")[2])
        assert "it does not answer" in told(s3.url(port=port))
    s3.checks_credentials(checks=True)
    try:
        assert "it answered 403 Forbidden (InvalidAccessKeyId)" in told(s3.url())
    finally:
        s3.checks_credentials(checks=False)


def test_an_upload_is_taken_up_again_when_the_bucket_is_back(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRIES", FAST)
    content = trace([call("aten::add", 1, 2)])
    digest = hashlib.sha256(content).hexdigest()
    opening = TraceOpen(run="r1", attempt="a1", rank=0, name="t.json", step=4, size=len(content), sha256=digest)

    async def scenario(proxy: Proxy) -> None:
        url = s3.url(port=int(proxy.address.rpartition(":")[2]))
        async with serving(tmp_path, blobs_url=url) as server, trainer(server):
            proxy.refusing = True
            async with raw(server, "/ws/trace") as socket:
                await socket.send(encode(opening))
                assert decode_trace(await socket.recv(decode=False)) == TraceAck(offset=0)
                await socket.send(encode(TraceChunk(offset=0, data=content)))
                assert decode_trace(await socket.recv(decode=False)) == TraceAck(offset=len(content))
                refuse = decode_trace(await socket.recv(decode=False))
                assert isinstance(refuse, Refuse)
                assert (refuse.code, refuse.retry) == ("unavailable", True)
            assert not any(row.state == "ready" for row in await server.store.traces("r1"))
            proxy.refusing = False
            async with raw(server, "/ws/trace") as socket:
                await socket.send(encode(opening))
                assert decode_trace(await socket.recv(decode=False)) == TraceAck(offset=len(content)), "nothing anew"
                reply = decode_trace(await socket.recv(decode=False))
            assert isinstance(reply, TraceReply)

            async def is_summarised() -> bool:
                row = await server.store.trace(reply.id)
                return row is not None and row.summary_state == "ready"

            await until_async(is_summarised)
            row = await server.store.trace(reply.id)
            assert row is not None
            assert await everything(server.blobs, row.blob, 0, row.size) == content
            assert list((tmp_path / "fetched").iterdir()) == [], "what the summary was made from"

    with Proxy(s3.port) as proxy:
        asyncio.run(scenario(proxy))


def test_what_a_killed_server_has_fetched_is_removed(s3: S3Server, tmp_path: Path) -> None:
    async def scenario() -> None:
        blobs = open_blobs(s3.url(), tmp_path)
        for name in ("old.part", "new.part", "other"):
            (tmp_path / name).touch()
        for name in ("old.part", "other"):
            os.utime(tmp_path / name, (1, 1))
        with pytest.raises(NotFound):
            async with blobs.local("traces/none"):
                raise AssertionError("there is none")

    asyncio.run(scenario())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.part", "other"]


@pytest.mark.slow
def test_memory_is_bounded_however_large_a_file_is(s3: S3Server, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(96 << 20)
    code = f"""
import asyncio, resource
from pathlib import Path
from recis_server.blobs import open_blobs

def most_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

async def scenario():
    blobs = open_blobs({s3.url()!r}, Path("fetched"))
    await blobs.check()
    before = most_bytes()
    await blobs.put("traces/large", Path("file"))
    async with blobs.local("traces/large") as path:
        assert path.stat().st_size == 96 << 20
    await blobs.delete("traces/large")
    print(most_bytes() - before)

asyncio.run(scenario())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 64 << 20


@pytest.mark.parametrize("key", ["../x", "traces/../x", "/etc/passwd", "traces/a\0b", "traces/"])
def test_a_key_that_the_server_cannot_have_made_is_a_mistake_of_ours(tmp_path: Path, key: str) -> None:
    blobs = folder_blobs(tmp_path)
    with pytest.raises(AssertionError):
        asyncio.run(blobs.size(key))
