"""`recis-monitor export`: write one run to a file, whole or not at all, or to standard output.

Owns the file and the progress bar; must not know formats (see `query.exports`) or how a store is opened.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tqdm import tqdm

from recis_server.query.exports import FORMS, open_export
from recis_server.query.runs import get_run
from recis_server.store.interface import Store

__all__ = ["add_arguments", "export_run"]

_BINARY = ("parquet", "columns")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command; the caller adds those of the store."""
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--format", choices=tuple(FORMS), required=True)
    parser.add_argument("--key", action="append", metavar="KEY", help="export only this series; may be repeated")
    parser.add_argument("--no-superseded", action="store_true", help="omit points superseded by a later attempt")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to FILE instead of standard output")


async def export_run(store: Store, options: argparse.Namespace) -> None:
    """Write the run.

    Raises:
        NotFound: there is no such run.
        InvalidValue: the format requires a library that is not installed.
        ValueError: the file cannot be written, or binary data would go to a terminal.
    """
    await get_run(store, options.run)
    if options.output is None and options.format in _BINARY and sys.stdout.isatty():
        raise ValueError(f"--format {options.format}: expected -o FILE, got a terminal")
    export = await open_export(store, options.run, options.key, options.format, superseded=not options.no_superseded)
    tqdm.monitor_interval = 0  # its thread would only redraw a bar that stands still
    # With `disable=None`, tqdm checks whether standard error is a terminal.
    show = tqdm(desc=options.run, total=export.size.points, unit=" points", unit_scale=True, leave=False, disable=None)
    with _output(options.output) as out, show as bar:
        async for piece in export.pieces():
            out.write(piece)
            bar.update(export.num_points - bar.n)
        bar.refresh()
    if export.size.expired:
        # On standard error: the data may be piped into another program.
        sys.stderr.write(
            f"recis-monitor: {export.size.expired:,} older points are not included: retention has dropped them;"
            " charts still show their buckets\n"
        )


@contextmanager
def _output(path: Path | None) -> Iterator[IO[bytes]]:
    """Yield standard output, or a file that is replaced as a whole if the block succeeds and is otherwise unchanged."""
    if path is None:
        with _reported(path):
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    target = path.resolve()
    if target.exists() and not (target.is_file() or target.is_dir()):
        # A pipe or a device has no content to preserve and must not be replaced.
        with _reported(path), target.open("wb") as out:
            yield out
        return
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with _reported(path):
            if target.is_dir():
                raise IsADirectoryError("is a folder")
            out = part.open("xb")
        with _reported(path):
            with out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            part.replace(target)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def _reported(path: Path | None) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has enough
    except OSError as error:
        place = path or "standard output"
        raise ValueError(f"--output: expected a file that can be written, got {place}: {error}") from error
