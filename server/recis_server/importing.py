"""`recis-monitor import`: what other tools have written, into a server that runs or into the store itself.

Owns the child process that reads and sends, and the server that stands before the store for as long as that takes:
whatever comes in, comes through `/ws/ingest`, and nobody writes beside a server. Must not know formats; the training
side does, which this package does not import.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from recis_server.errors import StoreError
from recis_server.serving import serving
from recis_server.settings import Settings

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's own options; those of the store are the caller's."""
    parser.add_argument("folder", type=Path, metavar="LOGDIR", help="the folder that TensorBoard is given as --logdir")
    parser.add_argument("--project", default="default", metavar="P", help="the runs' project (default: default)")
    parser.add_argument("--url", metavar="URL", help="a server that runs, instead of the store")


def main(options: argparse.Namespace, store: dict[str, Any]) -> int:
    """Runs the import and returns its exit code.

    Args:
        options: of `add_arguments`.
        store: settings that say where the store is, where no `--url` is given.

    Raises:
        StoreError: the store cannot be opened, or has a server.
    """
    if options.url is not None:
        return asyncio.run(_import(options, options.url))
    return asyncio.run(_import_into_store(options, store))


async def _import_into_store(options: argparse.Namespace, store: dict[str, Any]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        # For this process' child alone, whatever the environment says of servers.
        place: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "root_path": "", "token_file": Path(folder) / "token"}
        try:
            async with serving(Settings(**store, **place)) as server:
                return await _import(options, f"{server.url}/?token={server.token}")
        except StoreError as error:
            raise StoreError(f"{error} (a server that is running takes the files itself: --url URL)") from error


async def _import(options: argparse.Namespace, url: str) -> int:
    command = [sys.executable, "-m", "recis.importing.tensorboard", str(options.folder), "--project", options.project]
    # The address may hold a token, and others see command lines.
    child = await asyncio.create_subprocess_exec(*command, "--url", "-", stdin=asyncio.subprocess.PIPE)
    try:
        await child.communicate(f"{url}\n".encode())
    finally:
        if child.returncode is None:
            child.terminate()
            await child.wait()
    assert child.returncode is not None
    return child.returncode
