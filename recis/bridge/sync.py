"""`recis-monitor sync`: send what a stopped process left in its spool.

Owns taking over a folder, and the progress line of the command; the sending is the sender's. Can be interrupted and
repeated: numbers that the server has are not sent again.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from tqdm import tqdm

from recis import environment
from recis.bridge.address import ServerAddress
from recis.bridge.client import Sender
from recis.bridge.outbox import Outbox
from recis.bridge.progress import progress_bar
from recis.bridge.spool import SpoolFolder, find_left_over
from recis.bridge.traces import TraceUploads
from recis.wire.messages import Hello

__all__ = ["Progress", "add_arguments", "main", "send_folder", "writer_of"]

INTERRUPTED = 130
DEFAULT_URL = "http://127.0.0.1:8765"


Progress = Callable[[int, int], None]
"""Called some times a second with the points acknowledged and the points there are."""


def writer_of(path: Path) -> Hello:
    """Who has written a folder; raises `OSError` or `ValueError` where that cannot be read."""
    return msgspec.convert(SpoolFolder(path).identity(), Hello)


def send_folder(
    path: Path, address: ServerAddress, *, timeout_s: float, progress: Progress = lambda *_: None
) -> bool | None:
    """Sends one writer's folder and removes it when all of it is acknowledged.

    Returns:
        True when it is empty now, False when something is left, None when a living process owns it. Files that are no
        segments of this version stay, and count as left.

    Raises:
        OSError, ValueError: the folder cannot be read.
    """
    with SpoolFolder(path) as folder:
        if not folder.acquire():
            return None
        hello = writer_of(path)
        outbox = Outbox(path, segments=folder.segments())
        uploads = TraceUploads(path, outbox.append)
        total = outbox.pending()[1]

        def tick() -> None:
            # The server may have had a part of it already: what is not pending is there.
            progress(total - outbox.pending()[1], total)

        sender = Sender(outbox, uploads, hello, address, on_command=lambda _: False, tick=tick)
        sender.run_until_drained(timeout_s)
        tick()
        done = outbox.close() and not len(uploads) and not folder.aside
        if done:
            folder.remove()
        return done


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
    """Send every folder and return the exit code: 0 when all was sent, 1 when something is left, 130 on Ctrl-C.

    Raises:
        ValueError: the folder does not exist, or the address is malformed.
    """
    if not options.spool.is_dir():
        raise ValueError(f"expected a spool folder, got {options.spool}, which is none")
    address = ServerAddress.parse(options.url, options.token)
    left = 0
    stuck: set[tuple[str, str, int]] = set()
    folders = find_left_over(options.spool)
    for position, path in enumerate(folders, 1):
        try:
            hello = writer_of(path)
            rank = hello.run, hello.attempt, hello.rank
            with progress_bar(f"{position}/{len(folders)} {path.name}", "points") as bar:

                def show(done: int, total: int, bar: "tqdm[None]" = bar) -> None:
                    bar.total, bar.n = total, done
                    bar.refresh()

                # What a rank has said after a restart does not overtake what it said before.
                done = rank not in stuck and send_folder(path, address, timeout_s=options.timeout, progress=show)
            if done is False:
                stuck.add(rank)
        except FileNotFoundError:
            done = True  # by another process, in between
        except KeyboardInterrupt:
            sys.stderr.write("interrupted; the same command goes on where it was\n")
            return INTERRUPTED
        except (OSError, ValueError, msgspec.ValidationError) as error:
            done = False
            sys.stderr.write(f"cannot read {path}: {error}\n")
        words = {
            True: "sent",
            False: "NOT sent, kept",
            None: "still being written by a running training, or being sent",
        }
        left += done is False
        sys.stdout.write(f"{position}/{len(folders)} {path.name}: {words[done]}\n")
        sys.stdout.flush()
    if not folders:
        sys.stdout.write(f"nothing to send in {options.spool}\n")
    return 1 if left else 0
