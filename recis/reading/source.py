"""Get a run's columns from a server over HTTP, or from a data folder that a child process reads.

Owns the transport and what each failure means to the caller. A folder is read by the server's own
`recis-monitor export`: this package does not import the server, and the bytes are the same as over HTTP.
"""

import http.client
import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlencode

from recis.bridge.address import ServerAddress
from recis.bridge.identity import check_run_id
from recis.reading.data import RunData, collect
from recis.wire.exports import ExportHead, ExportPart, unpack

__all__ = ["read_run"]

SILENCE_S = 60.0
"""Longest silence of a server, which sends while it reads."""
_FILE = "recis.db"
_STORES = ("postgresql://", "postgres://", "sqlite://")
_HOW_TO_SERVE = "is `recis-monitor serve` running there?"

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
    url = f"{address.base}/api/v1/runs/{quote(run)}/export?{urlencode(query)}"
    # No proxy is between a machine and itself.
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if address.is_loopback else []))
    try:
        answer = opener.open(urllib.request.Request(url, headers=address.headers), timeout=SILENCE_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(address.base, error) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(f"expected a server at {address.base} ({_HOW_TO_SERVE}), got: {reason}") from error
    with answer:
        yield answer.read


def _refusal(base: str, error: urllib.error.HTTPError) -> Exception:
    """Return the exception for the server's answer."""
    try:
        message = json.loads(error.read(1 << 16))["error"]["message"]
    except (ValueError, TypeError, KeyError, OSError, http.client.HTTPException):
        return ConnectionError(f"expected a recis-monitor server at {base}, got HTTP {error.code} of something else")
    if error.code in (401, 403):
        return PermissionError(f"{base}: {message}; expected token=… or RECIS_MONITOR_TOKEN, with the scope `view`")
    if error.code == 404:
        return LookupError(f"{base}: {message}")
    if error.code == 422:
        return ValueError(f"{base}: {message}")
    return ConnectionError(f"{base}: HTTP {error.code}: {message}")


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
    lines = said.read().decode(errors="replace").strip().splitlines() or ["it ended without a word"]
    message = lines[-1].removeprefix("recis-monitor: ")
    if (
        "recis-monitor[server]" in message or "No module named recis_server" in message
    ):  # the latter of the bridge alone
        return ImportError(f"expected a server's address, or the server's packages to read {database}; {message}")
    if message.startswith("there is no run"):
        return LookupError(f"{database}: {message}")
    return OSError(f"{database} could not be read: {message}")
