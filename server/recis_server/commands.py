"""The names of the server's commands and the parser of all commands; imports none of the server's packages.

It tells an installation without them which commands exist and what to install to run one.
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
    "demo": "run the server and an example training",
    "runs": "list the runs of a store",
    "export": "export every point of a run",
    "import": "import the data of another tool",
    "token": "create, list or revoke tokens",
}


class CommandParser(argparse.ArgumentParser):
    """Report incorrect usage in one line, without a usage text."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with code 2."""
        sys.stderr.write(f"{self.prog}: {message}\n")
        raise SystemExit(BAD_USAGE)
