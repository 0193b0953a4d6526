"""The container files: by default only the service, reachable only from this machine, run by a user other than root."""

import json
import re
import shutil
import subprocess
import sys
from typing import Any

import yaml

from tests.rules.sources import ROOT

COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


def _compose_client() -> list[str] | None:
    for command in (["docker", "compose"], ["docker-compose"]):
        if (
            shutil.which(command[0])
            and not subprocess.run([*command, "version"], capture_output=True, check=False).returncode
        ):
            return command
    return None


def test_the_port_is_published_on_loopback_only() -> None:
    ports = re.findall(r'^\s+- "([\d.:]+)"$', COMPOSE, re.MULTILINE)
    assert ports == ["127.0.0.1:8765:8765", "127.0.0.1:8766:8765"]
    assert "--insecure" not in COMPOSE
    services = yaml.safe_load(COMPOSE)["services"]
    assert [name for name, service in services.items() if "profiles" not in service] == ["monitor"]
    servers = [service for service in services.values() if service["image"] == "recis-monitor"]
    assert len(servers) == len(ports)
    for service in servers:
        assert "--token-file" in service["command"]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    # The database has no password: nothing else may reach it.
    assert "ports" not in services["database"]
    assert [name for name, service in services.items() if "database" in service.get("networks", ())] == [
        "monitor-on-postgres",
        "database",
    ]


def test_the_file_is_valid_by_the_schema_of_compose() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    subprocess.run([*command, str(ROOT / "docker-compose.yml")], check=True)


def test_the_image_copies_what_the_wheel_needs_and_does_not_run_as_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for name in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        assert all((ROOT / each).exists() for each in name.split())
    assert re.search(r"^USER (?!root)", dockerfile, re.MULTILINE)
    assert "torch" not in re.sub(r"#.*", "", dockerfile)


# Without the client there is nothing to run: the test is left out rather than skipped.
if (CLIENT := _compose_client()) is not None:

    def test_the_compose_client_accepts_the_file() -> None:
        assert CLIENT is not None
        done = subprocess.run(
            [*CLIENT, "--file", str(ROOT / "docker-compose.yml"), "config", "--format", "json"],
            capture_output=True,
            text=True,
            check=True,
        )
        services: dict[str, Any] = json.loads(done.stdout)["services"]
        assert list(services) == ["monitor"]
        assert services["monitor"]["ports"][0]["host_ip"] == "127.0.0.1"
