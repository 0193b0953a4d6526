"""Read and write the files of a spool: bounded reads, and small JSON files with a checksum.

Owns the form `{"crc32": NUMBER, "content": …}`, where the checksum covers the bytes of the content; must not know what
the files mean.
"""

import json
import os
import re
import stat
from pathlib import Path
from typing import Any
from zlib import crc32

from recis.system import OPEN_FLAGS

__all__ = ["read_checked", "read_regular", "write_checked"]

LARGEST_BYTES = 16 << 20
_form = re.compile(rb'\{"crc32": (\d{1,10}), "content": (.*)\}\n', re.DOTALL).fullmatch


def read_regular(path: Path, start: int = 0, stop: int = LARGEST_BYTES) -> bytes:
    """Return the bytes of a regular file from `start` to `stop`.

    Raises:
        OSError: the file cannot be read.
        ValueError: not a regular file (reading from a pipe could block forever), or a file that is too large.
    """
    descriptor = os.open(path, os.O_RDONLY | OPEN_FLAGS | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_BYTES:
            kind = stat.filemode(status.st_mode)
            raise ValueError(
                f"expected a file of at most {LARGEST_BYTES} bytes in {path}, got {kind} with {status.st_size}"
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            file.seek(start)
            return file.read(stop - start)
    finally:
        os.close(descriptor)


def write_checked(path: Path, content: Any) -> None:
    """Write a JSON file with a checksum, atomically."""
    text = json.dumps(content).encode()
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    partial.write_bytes(b'{"crc32": %d, "content": %s}\n' % (crc32(text), text))
    partial.replace(path)


def read_checked(path: Path) -> Any:
    """Return the content of a JSON file with a checksum.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is damaged, or has no checksum.
    """
    data = read_regular(path)
    match = _form(data)
    if match is None or int(match[1]) != crc32(match[2]):
        raise ValueError(
            f"expected JSON content that matches its checksum in {path}, got {data[:40]!r}: "
            "the file is damaged, or was written by another version of recis-monitor"
        )
    try:
        return json.loads(match[2])
    except RecursionError as error:
        raise ValueError(f"expected less deeply nested JSON in {path}") from error
