"""`recis-monitor import`: send the data of other tools to a running server or into the store itself.

Owns the child process that reads and sends, and a temporary server in front of the store: all data passes through
`/ws/ingest`, and nothing writes beside a running server. Must not know formats; the training side does, which this
package does not import.
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
    """Add the options of the command; the caller adds those of the store."""
    parser.add_argument("folder", type=Path, metavar="LOGDIR", help="the folder passed to TensorBoard as --logdir")
    parser.add_argument("--project", default="default", metavar="P", help="project of the runs (default: default)")
    parser.add_argument("--url", metavar="URL", help="import into a running server instead of the store")


def main(options: argparse.Namespace, store: dict[str, Any]) -> int:
    """Run the import and return its exit code.

    Args:
        options: the options of `add_arguments`.
        store: settings of the store, used if there is no `--url`.

    Raises:
        StoreError: the store cannot be opened, or has a server.
    """
    if options.url is not None:
        return asyncio.run(_import(options, options.url))
    return asyncio.run(_import_into_store(options, store))


async def _import_into_store(options: argparse.Namespace, store: dict[str, Any]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        # For the child of this process only, whatever server the environment names.
        place: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "root_path": "", "token_file": Path(folder) / "token"}
        try:
            async with serving(Settings(**store, **place)) as server:
                return await _import(options, f"{server.url}/?token={server.token}")
        except StoreError as error:
            raise StoreError(f"{error} (to import into a running server, use --url URL)") from error


async def _import(options: argparse.Namespace, url: str) -> int:
    command = [sys.executable, "-m", "recis.importing.tensorboard", str(options.folder), "--project", options.project]
    # Not an argument: the address may contain a token, and other users see command lines.
    child = await asyncio.create_subprocess_exec(*command, "--url", "-", stdin=asyncio.subprocess.PIPE)
    try:
        await child.communicate(f"{url}\n".encode())
    finally:
        if child.returncode is None:
            child.terminate()
            await child.wait()
    assert child.returncode is not None
    return child.returncode
