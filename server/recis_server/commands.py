"""The names of the server's commands and the parser of all commands; imports none of the server's packages.

It tells an installation without them which commands exist and what to install to run one.
"""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

__all__ = ["BAD_USAGE", "COMMANDS", "EXPORT_FORMS", "INSTALL", "UNSUPPORTED", "CommandParser", "add_export_options"]

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
EXPORT_FORMS = ("csv", "jsonl", "parquet", "columns")


class CommandParser(argparse.ArgumentParser):
    """Report incorrect usage in one line, without a usage text."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with code 2."""
        sys.stderr.write(f"{self.prog}: {message}\n")
        raise SystemExit(BAD_USAGE)


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `export`, which are the same for a store and a server; the caller adds those of the place."""
    parser.add_argument("run", metavar="RUN", help="the run's identifier")
    parser.add_argument("--format", choices=EXPORT_FORMS, required=True)
    parser.add_argument("--key", action="append", metavar="KEY", help="export only this series; may be repeated")
    parser.add_argument("--no-superseded", action="store_true", help="omit points superseded by a later attempt")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to FILE instead of standard output")
    parser.add_argument("--json", action="store_true", help="print one JSON object about the file; requires -o")
