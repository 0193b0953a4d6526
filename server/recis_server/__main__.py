"""`python -m recis_server`: the server's commands, or one line that says why they cannot run here."""

import importlib.util
import sys
from collections.abc import Sequence

from recis_server.commands import BAD_USAGE, INSTALL, UNSUPPORTED

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of the server and return its exit code."""
    if importlib.util.find_spec("fcntl") is None:
        sys.stderr.write(f"recis-monitor: {UNSUPPORTED}\n")
        return BAD_USAGE
    try:
        from recis_server import cli
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("recis", "recis_server"):
            raise
        sys.stderr.write(f"recis-monitor: this command needs the server, and {error.name} is missing: {INSTALL}\n")
        return BAD_USAGE
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
