import asyncio
import os
from pathlib import Path

import pytest
from recis_server.blobs import Blobs, open_blobs
from recis_server.errors import NotFound, StoreError, StoreUnavailable


async def everything(blobs: Blobs, key: str, start: int, stop: int) -> bytes:
    return b"".join([part async for part in blobs.read(key, start, stop)])


def test_bytes_come_back_whole_and_in_ranges(tmp_path: Path) -> None:
    async def scenario() -> None:
        blobs = open_blobs(f"file://{tmp_path}/data/blobs")
        content = os.urandom(7 << 20)
        (tmp_path / "file").write_bytes(content)
        await blobs.put("traces/abc", tmp_path / "file")
        assert await blobs.size("traces/abc") == len(content)
        assert await everything(blobs, "traces/abc", 0, len(content)) == content
        assert await everything(blobs, "traces/abc", 5, 6) == content[5:6]
        assert await everything(blobs, "traces/abc", 3 << 20, (5 << 20) + 1) == content[3 << 20 : (5 << 20) + 1]
        assert await everything(blobs, "traces/abc", 9, 9) == b""

    asyncio.run(scenario())


def test_what_is_deleted_is_not_found_and_may_be_deleted_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        blobs = open_blobs(f"file://{tmp_path}")
        (tmp_path / "file").write_bytes(b"x")
        await blobs.put("traces/abc", tmp_path / "file")
        await blobs.delete("traces/abc")
        await blobs.delete("traces/abc")
        with pytest.raises(NotFound):
            await blobs.size("traces/abc")
        with pytest.raises(NotFound):
            await everything(blobs, "traces/abc", 0, 1)

    asyncio.run(scenario())


def test_an_empty_file_is_a_blob(tmp_path: Path) -> None:
    async def scenario() -> None:
        blobs = open_blobs(f"file://{tmp_path}")
        (tmp_path / "file").touch()
        await blobs.put("traces/abc", tmp_path / "file")
        assert await blobs.size("traces/abc") == 0

    asyncio.run(scenario())


def test_a_place_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    async def scenario() -> None:
        blobs = open_blobs(f"file://{tmp_path}/blobs")
        (tmp_path / "file").write_bytes(b"x")
        # A file where the folder of the key belongs: refused for every user, the superuser included.
        (tmp_path / "blobs" / "traces").write_bytes(b"in the way")
        with pytest.raises(StoreUnavailable, match="could not store") as caught:
            await blobs.put("traces/abc", tmp_path / "file")
        assert str(tmp_path) not in str(caught.value), "where the server stores its files"

    asyncio.run(scenario())


def test_what_is_in_the_way_of_a_blob_is_no_failure_of_the_servers(tmp_path: Path) -> None:
    async def scenario() -> None:
        blobs = open_blobs(f"file://{tmp_path}")
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
        open_blobs(f"file://{tmp_path}/file/blobs")


@pytest.mark.parametrize("url", ["s3://bucket", "", "file://", "/tmp/blobs"])
def test_another_scheme_is_refused_with_what_was_expected(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected file://") as caught:
        open_blobs(url)
    assert repr(url) in str(caught.value)


@pytest.mark.parametrize("key", ["../x", "traces/../x", "/etc/passwd", "traces/a\0b", "traces/"])
def test_a_key_that_the_server_cannot_have_made_is_a_mistake_of_ours(tmp_path: Path, key: str) -> None:
    blobs = open_blobs(f"file://{tmp_path}")
    with pytest.raises(AssertionError):
        asyncio.run(blobs.size(key))
