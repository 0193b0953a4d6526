"""Read a run's columns from a server over HTTP, or from a data folder through a child process.

Owns the errors for an incomplete answer and an unreadable folder. A folder is read by the server's own
`recis-monitor export`: this package does not import the server, and the bytes are the same as over HTTP.
"""

import http.client
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlencode

from recis.bridge.address import ServerAddress
from recis.bridge.identity import check_run_id
from recis.reading.data import RunData, collect
from recis.remote.http import open_answer
from recis.wire.exports import ExportHead, ExportPart, unpack

__all__ = ["read_run"]

_FILE = "recis.db"
_STORES = ("postgresql://", "postgres://", "sqlite://")

Bytes = Callable[[int], bytes]


def read_run(
    place: str | Path, run: str, keys: Sequence[str] | None, *, superseded: bool, token: str | None
) -> RunData:
    """See `recis.monitor.read`."""
    check_run_id(run)
    if isinstance(keys, str):
        raise TypeError(f"keys: expected a list of names, got the text {keys!r}")
    if keys is not None and not keys:
        return RunData(run, 0, ())
    if isinstance(place, str) and place.startswith(_STORES):
        # Not shown: it may contain a password.
        raise ValueError("expected a server's address or a data folder, got a store's URL; ask the server that has it")
    if isinstance(place, str) and "://" in place:
        source = _server(ServerAddress.parse(place, token), run, keys, superseded=superseded)
    else:
        source = _folder(_database(Path(place)), run, keys, superseded=superseded)
    with source as read:
        head = ExportHead(run=run)
        parts: list[ExportPart] = []
        try:
            for record in unpack(read):
                if isinstance(record, ExportHead):
                    head = record
                else:
                    parts.append(record)
        except (ValueError, http.client.HTTPException, OSError) as error:
            raise ConnectionError(f"run {run!r} of {place} is incomplete: {error}") from error
    return RunData(run, head.expired, collect(parts))


# --- a server


@contextmanager
def _server(address: ServerAddress, run: str, keys: Sequence[str] | None, *, superseded: bool) -> Iterator[Bytes]:
    query = [("format", "columns"), ("superseded", str(superseded).lower()), *(("key", key) for key in keys or ())]
    path = f"/api/v1/runs/{quote(run)}/export?{urlencode(query)}"
    with open_answer(address, path) as answer:
        yield answer.read


# --- a folder


def _database(place: Path) -> Path:
    """Return the database in a data folder, or the database itself if that was passed."""
    for path in (place / _FILE, place):
        if path.is_file():
            return path.resolve()
    what = f"has no {_FILE}" if place.is_dir() else "is no folder"
    raise FileNotFoundError(
        f"expected a server's address (http://HOST:PORT) or its data folder, got {str(place)!r}, which {what}"
    )


@contextmanager
def _folder(database: Path, run: str, keys: Sequence[str] | None, *, superseded: bool) -> Iterator[Bytes]:
    command = [sys.executable, "-m", "recis_server", "export", run, "--format", "columns"]
    command += ["--store", f"sqlite:///{quote(str(database))}"]
    command += [] if superseded else ["--no-superseded"]
    command += [f"--key={key}" for key in keys or ()]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said) as child,  # noqa: S603
    ):
        assert child.stdout is not None
        try:
            # Either there are bytes, or the child has written the reason to stderr.
            if not (first := child.stdout.read(1)):
                child.wait()
                raise _complaint(database, said)
            yield _continued(first, child.stdout)
        finally:
            child.kill()


def _continued(first: bytes, stream: IO[bytes]) -> Bytes:
    start = first

    def read(size: int) -> bytes:
        nonlocal start
        data, start = start[:size], start[size:]
        return data + stream.read(size - len(data))

    return read


def _complaint(database: Path, said: IO[bytes]) -> Exception:
    """Return the exception for the child's error message."""
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines() or ["it ended without a message"]
    message = lines[-1].removeprefix("recis-monitor: ")
    if (
        "recis-monitor[server]" in message or "No module named recis_server" in message
    ):  # the latter of the bridge alone
        return ImportError(f"expected a server's address, or the server's packages to read {database}; {message}")
    if message.startswith("there is no run"):
        return LookupError(f"{database}: {message}")
    return OSError(f"{database} could not be read: {message}")
