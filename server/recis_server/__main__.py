"""`python -m recis_server`: the server's commands, or what to install if their packages are missing."""

import sys
from collections.abc import Sequence

from recis_server.commands import BAD_USAGE, INSTALL

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of the server and return its exit code."""
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
