"""`recis-monitor sync`: send what a stopped process left in its spool.

Owns taking over a folder, and the progress line of the command; `sender` sends. The command can be interrupted and
repeated: frames that the server has are not sent again.
"""

import argparse
import enum
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from tqdm import tqdm

from recis import environment
from recis.bridge.address import DEFAULT_URL, ServerAddress
from recis.bridge.outbox import Outbox
from recis.bridge.progress import progress_bar
from recis.bridge.sender import Sender
from recis.bridge.set_aside import SetAside
from recis.bridge.spool import SpoolFolder, find_left_over
from recis.bridge.traces import TraceUploads
from recis.wire.messages import Hello
from recis.wire.text import as_name

__all__ = ["Outcome", "Progress", "add_arguments", "main", "send_folder", "writer_of"]

LEFT, SET_ASIDE, INTERRUPTED = 1, 3, 130
"""Exit codes, see `main`."""


Progress = Callable[[int, int], None]
"""Called a few times a second with the number of acknowledged points and the total."""


class Outcome(enum.Enum):
    """The result for a folder, as the command prints it."""

    SENT = "sent"
    SENT_IN_PART = "sent, except for data that was set aside"
    LEFT = "NOT sent, kept"
    BUSY = "still being written by a running training, or being sent"


def writer_of(path: Path) -> Hello:
    """Return the identity of a folder's writer; raise `OSError` or `ValueError` if it cannot be read."""
    try:
        # This process follows no commands: they are for the process that has taken its place.
        return msgspec.structs.replace(msgspec.convert(SpoolFolder(path).identity(), Hello), features=("replay",))
    except msgspec.ValidationError as error:
        raise ValueError(f"expected {path / 'writer.json'} to identify the writer: {error}") from error


def send_folder(
    path: Path,
    address: ServerAddress,
    *,
    timeout_s: float,
    progress: Progress = lambda *_: None,
    on_loss: Callable[[SetAside], None] = lambda _: None,
) -> Outcome:
    """Send one writer's folder and delete it when everything is acknowledged.

    Args:
        path: the folder.
        address: the server's address.
        timeout_s: limit after which the rest stays in the folder.
        progress: called with the progress.
        on_loss: called if a part of the folder cannot be sent.

    Returns:
        The result. Files that are of another version, or cannot be read now, stay in place and count as left.

    Raises:
        OSError, ValueError: the folder cannot be read.
    """
    with SpoolFolder(path) as folder:
        if not folder.acquire():
            return Outcome.BUSY
        hello, set_aside = writer_of(path), folder.set_aside
        outbox = Outbox(path, segments=folder.segments(), writer=hello.writer, set_aside=set_aside)
        uploads = TraceUploads(path, outbox.writer.append, set_aside)
        total = outbox.reader.pending()[1]

        def tick() -> None:
            # The server may already have a part of it: everything that is not pending.
            progress(total - outbox.reader.pending()[1], total)

        sender = Sender(outbox.reader, uploads, hello, address, tick=tick)
        sender.run_until_drained(timeout_s)
        tick()
        is_empty = outbox.close() and not len(uploads) and not folder.num_kept
        if len(set_aside):
            on_loss(set_aside)
        if not is_empty:
            return Outcome.LEFT
        folder.remove()
        return Outcome.SENT_IN_PART if len(set_aside) else Outcome.SENT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("spool", type=Path, metavar="SPOOL_DIR", help="a spool folder, or one writer's folder in it")
    parser.add_argument(
        "--url",
        default=environment.monitor_url() or DEFAULT_URL,
        metavar="URL",
        help=f"the server's address (default: RECIS_MONITOR_URL, or {DEFAULT_URL})",
    )
    parser.add_argument(
        "--token",
        default=environment.monitor_setting("TOKEN"),
        metavar="TOKEN",
        help="token with the scope `write` (default: RECIS_MONITOR_TOKEN)",
    )
    parser.add_argument(
        "--timeout", type=float, default=3600.0, metavar="SECONDS", help="limit for each writer (default: 3600)"
    )


def main(options: argparse.Namespace) -> int:
    """Send every folder and return the exit code.

    Returns:
        0 if all was sent, 1 if something is left to send, 3 if nothing is left but some data could not be sent and was
        set aside, 130 on Ctrl-C.

    Raises:
        ValueError: the folder does not exist, or the address is malformed.
    """
    if not options.spool.is_dir():
        raise ValueError(f"expected a spool folder, got {options.spool}, which is not a folder")
    address = ServerAddress.parse(options.url, options.token)
    try:
        folders = find_left_over(options.spool)
    except OSError as error:
        sys.stderr.write(f"cannot read {as_name(str(options.spool))}: {error}\n")
        return LEFT
    outcomes: list[Outcome] = []
    stuck: set[tuple[str, str, int]] = set()
    for position, path in enumerate(folders, 1):
        title = f"{position}/{len(folders)} {as_name(path.name)}"
        losses: list[SetAside] = []
        try:
            hello = writer_of(path)
            rank = hello.run, hello.attempt, hello.rank
            # Reports of a rank after a restart must not overtake those before it.
            outcome = Outcome.LEFT if rank in stuck else _send(path, address, options.timeout, title, losses)
            if outcome is Outcome.LEFT:
                stuck.add(rank)
        except FileNotFoundError:
            outcome = Outcome.SENT  # by another process, meanwhile
        except KeyboardInterrupt:
            sys.stderr.write("interrupted; the same command continues where it stopped\n")
            return INTERRUPTED
        except Exception as error:  # noqa: BLE001 - boundary: the others are sent whatever a folder contains
            outcome = Outcome.LEFT
            sys.stderr.write(f"cannot read {as_name(str(path))}: {error}\n")
        outcomes.append(outcome)
        sys.stdout.write("".join([f"{title}: {outcome.value}\n", *(f"  {loss}\n" for loss in losses)]))
        sys.stdout.flush()
    if not folders:
        sys.stdout.write(f"nothing to send in {as_name(str(options.spool))}\n")
    if Outcome.LEFT in outcomes:
        return LEFT
    return SET_ASIDE if Outcome.SENT_IN_PART in outcomes else 0


def _send(path: Path, address: ServerAddress, timeout_s: float, title: str, losses: list[SetAside]) -> Outcome:
    with progress_bar(title, "points") as bar:

        def show(done: int, total: int, bar: "tqdm[None]" = bar) -> None:
            bar.total, bar.n = total, done
            bar.refresh()

        return send_folder(path, address, timeout_s=timeout_s, progress=show, on_loss=losses.append)
