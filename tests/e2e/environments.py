"""Distributions built from source trees, and environments that contain only these.

Owns how they are created, and how a command is run in one. Must not know their content.
"""

import os
import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

from tests.rules.sources import ROOT

__all__ = ["build", "clean_environment", "install", "make_environment", "run_in"]


def build(folder: Path, *options: str, source: Path = ROOT, **environment: str) -> None:
    """Build a source tree, by default this one, with `python -m build` into a folder."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), *options, str(source)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})


def make_environment(folder: Path, requirement: str, *options: str) -> Path:
    """Return the folder of an environment with only this requirement."""
    subprocess.run([find_uv_bin(), "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    install(folder, *options, requirement)
    return folder


def install(environment: Path, *options: str) -> None:
    """Run `pip install` with these options in an environment."""
    command = [find_uv_bin(), "pip", "install", "--quiet", "--python", str(environment / "bin/python"), *options]
    subprocess.run(command, check=True, cwd=environment)


def run_in(environment: Path, folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of an environment, independently of the environment of this process."""
    return subprocess.run(
        [str(environment / "bin" / command[0]), *command[1:]],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def clean_environment() -> dict[str, str]:
    """Return the variables of this process except those that concern Python or the project."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RECIS"))}
