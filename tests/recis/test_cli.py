"""`recis.cli`: what the command does by itself, and its messages if the server's packages are missing."""

import subprocess
import sys
from pathlib import Path

import pytest
from recis_server.commands import COMMANDS

from recis import __version__
from recis.cli import main

# A finder before all others hides a package from a child process.
WITHOUT = """
import sys

class Missing:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing)
import runpy
sys.argv = {arguments}
runpy.run_module(sys.argv[0], run_name="__main__")
"""
SERVER_PACKAGES = ("fastapi", "google_crc32c", "obstore", "prometheus_client", "pydantic", "uvicorn", "uvloop")


def without_server_packages(*arguments: str) -> "subprocess.CompletedProcess[str]":
    script = WITHOUT.format(names=SERVER_PACKAGES, arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sync", "/no/such/folder"], "recis-monitor sync: expected a spool folder, got /no/such/folder"),
        (["sync", ".", "--url", "ftp://x"], "recis-monitor sync: url: expected an address like"),
        (["sync", ".", "--timeout", "long"], "recis-monitor sync: argument --timeout: invalid float value: 'long'"),
        (["sync"], "recis-monitor sync: the following arguments are required: SPOOL_DIR"),
        (["fly"], "invalid choice: 'fly'"),
        (["--colour", "sync", "."], "unrecognized arguments: --colour"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    output = capsys.readouterr()
    assert (code, output.out) == (2, "")
    assert said in output.err
    assert output.err.count("\n") == 1


def test_the_version_is_the_one_of_both_packages(capsys: pytest.CaptureFixture[str]) -> None:
    import recis_server

    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"recis-monitor {__version__}\n"
    assert recis_server.__version__ == __version__


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(f"    {name} " in text for name in ("sync", "set", "controls", "effect", "forecast", "mcp", *COMMANDS))
    assert "pip install 'recis-monitor[server]'" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_server_knows_every_command_that_is_listed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: recis-monitor {name} ")


def test_without_the_servers_packages_its_commands_say_what_to_install() -> None:
    for module in ("recis.cli", "recis_server"):
        done = without_server_packages(module, "serve", "--port", "0")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert "is missing: pip install 'recis-monitor[server]'" in done.stderr


def test_without_the_servers_packages_sync_and_version_work(tmp_path: Path) -> None:
    done = without_server_packages("recis.cli", "sync", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"nothing to send in {tmp_path}\n")
    assert without_server_packages("recis.cli", "--version").stdout == f"recis-monitor {__version__}\n"


def test_a_broken_installation_is_not_mistaken_for_one_without_the_server() -> None:
    script = WITHOUT.format(names=("recis_server.gate",), arguments=["recis.cli", "runs"])
    script = script.replace('name.split(".")[0]', "name")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'recis_server.gate'" in done.stderr


def test_a_server_is_started_without_the_sender() -> None:
    script = (
        "import sys, recis.cli\n"
        "try: recis.cli.main(['serve', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'recis_server.cli' in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('recis.bridge')]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
