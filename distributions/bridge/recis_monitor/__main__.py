"""`python -m recis_monitor sync SPOOL_DIR`: `recis-monitor sync` for where that command is not installed."""

import argparse
import logging
import sys

from recis.bridge import sync
from recis.wire.version import __version__

__all__ = ["main"]


def main() -> int:
    """Run the command and return its exit code, as `recis-monitor sync` does."""
    parser = argparse.ArgumentParser(prog="python -m recis_monitor", description="The command of recis-monitor-bridge.")
    parser.add_argument("--version", action="version", version=f"recis-monitor-bridge {__version__}")
    purpose = "send the data that a killed or offline training left"
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sync.add_arguments(commands.add_parser("sync", help=purpose, description=purpose))
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return sync.main(options)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
