"""Import TensorBoard event files as runs: `python -m recis.importing.tensorboard LOGDIR --url URL`.

Owns the command: which files, in which order, and its messages. Can be interrupted and repeated: only what the server
does not have of a file is sent.
"""

import argparse
import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import msgspec
from tqdm import tqdm

from recis import environment
from recis.bridge.address import DEFAULT_URL, ServerAddress
from recis.bridge.progress import progress_bar
from recis.importing.attempts import Attempts, Extent
from recis.importing.eventfile import EventFile, find_files
from recis.importing.sending import SendingError, send_frames
from recis.wire.showing import text_of

__all__ = ["Outcome", "import_folder", "main"]


@dataclass(slots=True)
class Outcome:
    """The result of an import; `torn` files end in the middle of a record, `failures` are messages about others."""

    files: int = 0
    runs: set[str] = field(default_factory=set)
    points: int = 0
    empty: int = 0
    torn: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return a summary in one line."""
        parts = [f"{_count(len(self.runs), 'run')}, {_count(self.files, 'file')}: {_count(self.points, 'new point')}"]
        if self.ignored:
            kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(self.ignored.items()))
            parts.append(f"not imported: {kinds}")
        if self.empty:
            parts.append(f"{_count(self.empty, 'file')} without scalars")
        if self.torn:
            parts.append(f"{_count(self.torn, 'file')} whose last record is incomplete (so far)")
        return "; ".join(parts)


def import_folder(folder: Path, address: ServerAddress, project: str) -> Outcome:
    """Send all event files below a folder, one after the other.

    Raises:
        SendingError: the server cannot be reached or refuses; what was sent before is imported.
    """
    outcome = Outcome()
    paths = find_files(folder)
    sizes = {path: path.stat().st_size for path in paths}
    with progress_bar(text_of(folder.name), "B", sum(sizes.values())) as bar:
        for _, together in groupby(paths, key=lambda path: path.parent):
            files = [EventFile(path, folder, project) for path in together]
            attempts = Attempts()
            for file, extent in _in_order(files, outcome):
                _import_file(file, extent, attempts, address, outcome, _shown_by(bar))
            bar.n = sum(sizes[path] for path in paths[: outcome.files])
            bar.refresh()
    return outcome


def _in_order(files: list[EventFile], outcome: Outcome) -> list[tuple[EventFile, Extent]]:
    """Return the files of one folder that have scalars, in the order in which they were created."""
    found: list[tuple[EventFile, Extent]] = []
    for file in files:
        outcome.files += 1
        try:
            extent = file.extent(alone=len(files) == 1)
        except OSError as error:
            outcome.failures.append(str(error))
            continue
        if extent is not None:
            found.append((file, extent))
        else:
            outcome.empty += 1
            _close(file, outcome)
    return sorted(found, key=lambda pair: pair[1].began_ns)


def _import_file(
    file: EventFile,
    extent: Extent,
    attempts: Attempts,
    address: ServerAddress,
    outcome: Outcome,
    show: Callable[[int], None],
) -> None:
    attempt = attempts.choose(file.hello.writer, extent)
    hello = msgspec.structs.replace(file.hello, attempt=attempt, started_ns=extent.began_ns)
    try:
        ordinal = asyncio.run(send_frames(address, hello, lambda acked: file.frames(acked, show)))
        attempts.settle(hello.writer, ordinal)
        outcome.runs.add(hello.run)
        outcome.points += file.num_points
    except SendingError:
        raise
    except (OSError, ValueError) as error:
        outcome.failures.append(str(error) if str(file.path) in str(error) else f"{file.path}: {error}")
    _close(file, outcome)


def _close(file: EventFile, outcome: Outcome) -> None:
    """Add the result for a file that has been read to the outcome."""
    outcome.ignored.update(file.ignored)
    if file.damage is not None:
        outcome.failures.append(f"{file.path}: damaged {file.damage}; what comes before is imported")
    elif file.position < file.size:
        outcome.torn += 1


def _shown_by(bar: "tqdm[None]") -> Callable[[int], None]:
    """Return a function that shows the progress: the position in a file, added to the sizes of the files before it."""
    before = bar.n

    def show(position: int) -> None:
        bar.update(before + position - bar.n)

    return show


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 0 if everything was imported, 1 if something was not, 2 for bad usage."""
    parser = argparse.ArgumentParser(prog="recis-monitor import tensorboard", description="Import event files.")
    parser.add_argument("folder", type=Path, help="the folder passed to TensorBoard as --logdir")
    parser.add_argument("--url", default=environment.monitor_url() or DEFAULT_URL, help="the server; - reads a line")
    parser.add_argument("--token", default=environment.monitor_setting("TOKEN"))
    parser.add_argument("--project", default="default")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        url = sys.stdin.readline().strip() if options.url == "-" else options.url
        address = ServerAddress.parse(url, options.token if options.url != "-" else None)
        if not options.folder.is_dir() or not find_files(options.folder):
            raise ValueError(f"expected a folder with event files (*tfevents*), got {options.folder}, which has none")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"recis-monitor: {error}\n")
        return 2
    try:
        outcome = import_folder(options.folder, address, options.project)
    except SendingError as error:
        sys.stderr.write(f"recis-monitor: {error}; the same command continues where it stopped\n")
        return 1
    except KeyboardInterrupt:
        return 130
    for line in outcome.failures:
        sys.stderr.write(f"recis-monitor: {text_of(line)}\n")
    sys.stdout.write(f"{outcome.line()}\n")
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())
