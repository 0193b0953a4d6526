"""The server's commands by name, and the parser of every command; imports none of the server's packages.

What an installation without them has to know: which commands there are, and what to install to run one.
"""

import argparse
import sys
from typing import NoReturn

__all__ = ["BAD_USAGE", "COMMANDS", "INSTALL", "UNSUPPORTED", "CommandParser"]

BAD_USAGE = 2
INSTALL = "pip install 'recis-monitor[server]'"
UNSUPPORTED = "the server runs on Linux and macOS; on Windows, run it in WSL or in a container"
COMMANDS = {
    "serve": "run the server",
    "demo": "run the server and train an example beside it",
    "runs": "list the runs of a store",
    "export": "write every point of a run",
    "import": "import what another tool has written",
    "token": "create, list and revoke tokens",
}


class CommandParser(argparse.ArgumentParser):
    """Report bad usage in one line, without the usage text around it."""

    def error(self, message: str) -> NoReturn:
        """Write the line and exit with code 2."""
        sys.stderr.write(f"{self.prog}: {message}\n")
        raise SystemExit(BAD_USAGE)
