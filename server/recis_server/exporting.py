"""`recis-monitor export`: a run of the store in a file, which is written whole or not at all, or on standard output.

Owns the file and the progress bar; must not know formats (`query.exports` does) or how a store is opened.
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
    """Adds the command's own options; those of the store are the caller's."""
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--format", choices=tuple(FORMS), required=True)
    parser.add_argument("--key", action="append", metavar="KEY", help="only this series; may be repeated")
    parser.add_argument(
        "--no-superseded", action="store_true", help="without what newer attempts have gone back behind"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="instead of standard output")


async def export_run(store: Store, options: argparse.Namespace) -> None:
    """Writes the run.

    Raises:
        NotFound: there is no such run.
        InvalidValue: the format needs a library that is not installed.
        ValueError: the file cannot be written, or a terminal would get what is no text.
    """
    await get_run(store, options.run)
    if options.output is None and options.format in _BINARY and sys.stdout.isatty():
        raise ValueError(f"--format {options.format}: expected -o FILE, got a terminal")
    export = await open_export(store, options.run, options.key, options.format, superseded=not options.no_superseded)
    tqdm.monitor_interval = 0  # its thread would only redraw a bar that stands still
    # `disable=None` asks whether standard error is a terminal.
    show = tqdm(desc=options.run, total=export.size.points, unit=" points", unit_scale=True, leave=False, disable=None)
    with _output(options.output) as out, show as bar:
        async for piece in export.pieces():
            out.write(piece)
            bar.update(export.num_points - bar.n)
        bar.refresh()
    if export.size.expired:
        # Beside the data: it may go on into another program.
        sys.stderr.write(
            f"recis-monitor: {export.size.expired:,} older points are not in it: retention has dropped them,"
            " charts show their buckets\n"
        )


@contextmanager
def _output(path: Path | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that is there with all of its content when the block ends well, and else as it was."""
    if path is None:
        with _reported(path):
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    target = path.resolve()
    if target.exists() and not (target.is_file() or target.is_dir()):
        # A pipe or a device: there is nothing to keep, and it must not be replaced.
        with _reported(path), target.open("wb") as out:
            yield out
        return
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with _reported(path):
            if target.is_dir():
                raise IsADirectoryError("it is a folder")
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
