"""Assemble a run: place its spool, and compose its greeting.

Owns the choice of the spool's place and the lifetime of its folder; must not know what is reported.
"""

import logging
import tempfile
import time
from collections.abc import Iterable, Set
from itertools import islice
from pathlib import Path

import msgspec

from recis.bridge.address import ServerAddress
from recis.bridge.collecting import Collected
from recis.bridge.config import plain_config
from recis.bridge.console import Console
from recis.bridge.deferred_reports import DeferredReports
from recis.bridge.identity import Identity
from recis.bridge.left_over import LeftOver
from recis.bridge.observer import Observer
from recis.bridge.outbox import Outbox
from recis.bridge.parts import Parts
from recis.bridge.run import Run
from recis.bridge.sender import Sender
from recis.bridge.set_aside import SetAside
from recis.bridge.spool import SpoolFolder, is_local
from recis.bridge.traces import TraceUploads
from recis.wire.messages import Hello
from recis.wire.names import distinct_name
from recis.wire.showing import shown, text_of
from recis.wire.text import MAX_NAME_CHARS
from recis.wire.version import __version__

__all__ = ["make_hello", "open_run"]

SPOOL_BYTES = 1 << 30
MEMORY_BYTES = 32 << 20
MAX_TAGS, MAX_TAGS_SEEN = 64, 1024
_logger = logging.getLogger(__name__)


def make_hello(identity: Identity, *, project: object, name: object, config: object, tags: object) -> Hello:
    """Return the greeting of this process; parts of a description that cannot be shown are replaced, with a warning."""
    plain, told = plain_config(config)
    if told:
        _logger.warning("config: not shown as given: %s", told)
    return Hello(
        run=identity.run,
        writer=identity.writer,
        attempt=identity.attempt,
        project=_label("project", project) or "default",
        name=_label("name", name),
        rank=identity.rank,
        world_size=identity.world_size,
        config=plain,
        tags=_labels("tags", tags),
        host=identity.host,
        pid=identity.pid,
        client=f"recis/{__version__}",
        started_ns=time.time_ns(),
        features=("schedule",),
    )


def open_run(
    identity: Identity,
    hello: Hello,
    address: ServerAddress | None,
    spool_dir: str | None,
    collected: Collected | None = None,
) -> Run:
    """Return an open run; without an address it only fills its spool. With `collected` None, nothing is collected."""
    collected = collected or Collected.parse("none")
    run = Run(identity, address.run_page(identity.run) if address else None)
    root, folder = _make_folder(spool_dir, hello)
    place = folder.path if folder else None
    deferred = DeferredReports()
    left_over = LeftOver(root, place, hello) if root is not None and place is not None and address is not None else None
    try:
        set_aside = folder.set_aside if folder is not None else SetAside(None)
        outbox = Outbox(place, SPOOL_BYTES if place else MEMORY_BYTES, writer=hello.writer, set_aside=set_aside)
        uploads = TraceUploads(place, outbox.writer.append, set_aside)
        sender = Sender(
            outbox.reader,
            uploads,
            hello,
            address,
            tick=run.tick,
            inbox=run.controls,
            may_send=left_over.is_in_order if left_over is not None else lambda: True,
        )
    except BaseException:
        if folder is not None:
            folder.remove()
            folder.close()
        raise

    def close(done: bool) -> None:
        empty = outbox.close() and not len(uploads)
        if folder is not None:
            if empty:
                folder.remove()
            else:
                _logger.warning("reports not yet on a server are kept; send them with: recis-monitor sync %s", root)
            folder.close()
        elif not done:
            _logger.warning("unacknowledged reports are lost: there was no place for a spool")

    observer = Observer(run, info=collected.info, system=collected.system)
    console = Console() if collected.console else None
    run.attach(Parts(outbox, deferred, uploads, sender, observer, console), close)
    if left_over is not None and address is not None:
        left_over.start(address, sender)
    return run


def _make_folder(spool_dir: str | None, hello: Hello) -> tuple[Path | None, SpoolFolder | None]:
    """Create a folder for this writer in the first place where that works; without one, warn and use memory."""
    identity = msgspec.to_builtins(hello)
    places = [Path(spool_dir)] if spool_dir else [Path("recis-spool"), Path(tempfile.gettempdir()) / "recis-spool"]
    for place in places:
        folder = None
        try:
            root = place.absolute()
            if not is_local(root):
                _logger.warning("not spooling to %s: it is on a network file system, which can stall training", root)
                continue
            folder = SpoolFolder(root / f"{hello.run}-{hello.rank}-{hello.writer[:8]}")
            folder.create(identity)
        except (OSError, ValueError) as error:
            _logger.warning("not spooling to %s: %s", place, text_of(error))
            if folder is not None:
                folder.close()
            continue
        return root, folder
    _logger.warning("no place for a spool: reports wait in memory (%d MiB at most)", MEMORY_BYTES >> 20)
    return None, None


def _label(what: str, value: object) -> str:
    """Return a text for display, "" for None."""
    # By type: reading the class of an object may raise.
    text = "" if value is None else str.__str__(value) if issubclass(type(value), str) else text_of(value)
    if not text:
        return ""
    label = distinct_name(text, MAX_NAME_CHARS)
    if label != text:
        _logger.warning(
            "%s: expected 1 to %d printable characters, got %s; kept as %s", what, MAX_NAME_CHARS, shown(text), label
        )
    return label


def _labels(what: str, values: object) -> tuple[str, ...]:
    """Return texts for display without duplicates; a value that is not a collection is one text."""
    labels: dict[str, None] = {}
    try:
        if issubclass(type(values), str | bytes) or not isinstance(values, Iterable):
            values = (values,)
        # The order of a set differs between ranks.
        ordered = sorted(values, key=text_of) if isinstance(values, Set) else values
        for value in islice(ordered, MAX_TAGS_SEEN):
            if (label := _label(what, value)) and len(labels) == MAX_TAGS and label not in labels:
                _logger.warning("%s: expected at most %d, got more; the first are kept", what, MAX_TAGS)
                break
            labels |= {label: None} if label else {}
    except Exception as error:  # noqa: BLE001 - boundary: a user's collection may raise anything
        _logger.warning("%s: they raised %s after %d", what, type(error).__name__, len(labels))
    return tuple(labels)
