"""Puts a run together: where its spool lies, and what its greeting says.

Owns the choice of the spool's place and the life of its folder; must not know what is reported.
"""

import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

import recis
from recis.bridge.address import ServerAddress
from recis.bridge.client import Sender
from recis.bridge.identity import Identity
from recis.bridge.left_over import LeftOver
from recis.bridge.outbox import Outbox
from recis.bridge.run import Parts, Run
from recis.bridge.scalars import DeferredRows
from recis.bridge.set_aside import SetAside
from recis.bridge.spool import SpoolFolder, is_local
from recis.bridge.traces import TraceUploads
from recis.wire.messages import Hello

__all__ = ["make_hello", "open_run"]

SPOOL_BYTES = 1 << 30
MEMORY_BYTES = 32 << 20
MAX_LABEL_CHARS = 256
MAX_CONFIG_BYTES = 256 << 10
_logger = logging.getLogger(__name__)


def make_hello(
    identity: Identity, *, project: str, name: str | None, config: Mapping[str, Any] | None, tags: Sequence[str]
) -> Hello:
    """The greeting of this process; texts are cut to what a page can show, a config that is too large is left out."""
    return Hello(
        run=identity.run,
        writer=identity.writer,
        attempt=identity.attempt,
        project=_label("project", project) or "default",
        name=_label("name", name or ""),
        rank=identity.rank,
        world_size=identity.world_size,
        config=_plain_config(config or {}),
        tags=tuple(_label("tag", tag) for tag in tags)[:64],
        host=identity.host,
        pid=identity.pid,
        client=f"recis/{recis.__version__}",
        started_ns=time.time_ns(),
    )


def open_run(identity: Identity, hello: Hello, address: ServerAddress | None, spool_dir: str | None) -> Run:
    """A run that reports; without an address it only fills its spool."""
    run = Run(identity, address.run_page(identity.run) if address else None)
    root, folder = _make_folder(spool_dir, hello)
    place = folder.path if folder else None
    deferred = DeferredRows()
    left_over = LeftOver(root, place, hello) if root is not None and place is not None and address is not None else None
    try:
        set_aside = folder.set_aside if folder is not None else SetAside(None)
        outbox = Outbox(place, SPOOL_BYTES if place else MEMORY_BYTES, writer=hello.writer, set_aside=set_aside)
        uploads = TraceUploads(place, outbox.append, set_aside)
        sender = Sender(
            outbox,
            uploads,
            hello,
            address,
            on_command=run.controls.offer,
            tick=run.tick,
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
                _logger.warning("what is not yet on a server is kept; send it with: recis-monitor sync %s", root)
            folder.close()
        elif not done:
            _logger.warning("what was not acknowledged is lost: there was no place for a spool")

    run.attach(Parts(outbox, deferred, uploads, sender), close)
    if left_over is not None and address is not None:
        left_over.start(address, sender)
    return run


def _make_folder(spool_dir: str | None, hello: Hello) -> tuple[Path | None, SpoolFolder | None]:
    """A new folder for this writer in the first place that takes it; none at all means memory, and is said."""
    identity = msgspec.to_builtins(hello)
    places = [Path(spool_dir)] if spool_dir else [Path("recis-spool"), Path(tempfile.gettempdir()) / "recis-spool"]
    for root in places:
        if not is_local(root.absolute()):
            _logger.warning("not spooling to %s: it is on a network file system, which can stall training", root)
            continue
        folder = SpoolFolder(root.absolute() / f"{hello.run}-{hello.rank}-{hello.writer[:8]}")
        try:
            folder.create(identity)
        except OSError as error:
            _logger.warning("not spooling to %s: %s", root, error)
            folder.close()
            continue
        return root.absolute(), folder
    _logger.warning("no place for a spool: what is reported waits in memory (%d MiB at most)", MEMORY_BYTES >> 20)
    return None, None


def _label(what: str, text: str) -> str:
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))
    if len(text) > MAX_LABEL_CHARS:
        _logger.warning("%s: expected at most %d characters, got %d; the rest is cut", what, MAX_LABEL_CHARS, len(text))
        text = text[:MAX_LABEL_CHARS]
    return text


def _plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain = msgspec.to_builtins(dict(config), str_keys=True, enc_hook=str)
        size = len(msgspec.msgpack.encode(plain))
    except Exception as error:  # noqa: BLE001 - border: a user's object may fail in any way when it is shown as text
        _logger.warning("config: expected values that can be shown as text: %s", error)
        return {}
    if size > MAX_CONFIG_BYTES:
        _logger.warning("config: expected at most %d bytes, got %d; it is left out", MAX_CONFIG_BYTES, size)
        return {}
    return plain if isinstance(plain, dict) else {}
