"""The destination of an export: a file, written completely or not at all, or standard output.

Owns the destination and its errors; must not know where the data comes from. Both `recis-monitor export` on a data
folder and that through a server write through it.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

__all__ = ["Output", "check_destination", "open_output", "report_export"]

_BINARY = ("parquet", "columns")


class Output:
    """A destination that is open.

    Attributes:
        num_bytes: the number of bytes written so far.
    """

    def __init__(self, file: IO[bytes], path: Path | None) -> None:
        self.num_bytes = 0
        self._file = file
        self._path = path

    def write(self, data: bytes) -> None:
        """Append the bytes.

        Raises:
            ValueError: they cannot be written.
            BrokenPipeError: the reader of a pipe has gone.
        """
        with _reported(self._path):
            self._file.write(data)
        self.num_bytes += len(data)


def check_destination(form: str, path: Path | None, *, as_json: bool) -> None:
    """Reject a destination that does not suit the format, before anything is read.

    Raises:
        ValueError: binary data would go to a terminal, or points and a JSON object to the same place.
    """
    if path is None and form in _BINARY and sys.stdout.isatty():
        raise ValueError(f"--format {form}: expected -o FILE, got a terminal")
    if path is None and as_json:
        raise ValueError("--json: expected -o FILE as well, because without it the points go to standard output")


@contextmanager
def open_output(path: Path | None) -> Iterator[Output]:
    """Yield standard output, or a file that is replaced as a whole if the block succeeds and is otherwise unchanged.

    Within the block SIGTERM raises `KeyboardInterrupt`, as Ctrl-C does, so that a partial file is removed. Call it on
    the main thread.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if path is None:
            yield Output(sys.stdout.buffer, None)
            with _reported(path):
                sys.stdout.buffer.flush()
        else:
            with _open_file(path) as output:
                yield output
    finally:
        signal.signal(signal.SIGTERM, before)


def report_export(run: str, form: str, path: Path | None, num_bytes: int, expired: int, *, as_json: bool) -> None:
    """Print what was written as JSON if requested, and on standard error how many points no longer exist."""
    if as_json:
        written = {"run": run, "format": form, "output": str(path), "bytes": num_bytes, "expired": expired}
        sys.stdout.write(json.dumps(written, indent=2) + "\n")
    if expired:
        # On standard error: the data may be piped into another program.
        sys.stderr.write(
            f"recis-monitor: {expired:,} older points are not included: retention has dropped them;"
            " charts still show their buckets\n"
        )


@contextmanager
def _open_file(path: Path) -> Iterator[Output]:
    target = path.resolve()
    if target.exists() and not (target.is_file() or target.is_dir()):
        # A pipe or a device has no content to preserve and must not be replaced.
        with _reported(path):
            out = target.open("wb")
        try:
            yield Output(out, path)
        finally:
            with _reported(path):
                out.close()
        return
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with _reported(path):
            if target.is_dir():
                raise IsADirectoryError("is a folder")
            out = part.open("xb")
        with out:
            yield Output(out, path)
            with _reported(path):
                out.flush()
                os.fsync(out.fileno())
        with _reported(path):
            part.replace(target)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def _reported(path: Path | None) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has closed the pipe
    except OSError as error:
        place = path or "standard output"
        raise ValueError(f"--output: expected a file that can be written, got {place}: {error}") from error
