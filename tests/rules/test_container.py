"""The container files: by default only the service, reachable only from this machine, run by a user other than root."""

import json
import re
import shutil
import subprocess
import sys
from typing import Any

import yaml
from recis_server.cli import _parser

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
    assert ports == ["127.0.0.1:8765:8765", "127.0.0.1:8766:8765", "127.0.0.1:8767:8080"]
    assert "--insecure" not in COMPOSE
    services = yaml.safe_load(COMPOSE)["services"]
    assert [name for name, service in services.items() if "profiles" not in service] == ["monitor"]
    servers = [service for service in services.values() if service["image"] == "recis-monitor"]
    assert len(servers) == 4
    for service in servers:
        assert "--token-file" in " ".join(service["command"])
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    # The databases have no password, and the bucket has a known one: nothing else may reach them.
    networks = yaml.safe_load(COMPOSE)["networks"]
    assert networks["database"]["internal"]
    assert networks["scale"]["internal"]
    for name in ("scaled-database", "bucket", "nats-1", "nats-2", "nats-3", "scaled-1", "scaled-2"):
        assert list(services[name]["networks"]) == ["scale"]
        assert "ports" not in services[name]
    assert "ports" not in services["database"]
    assert [name for name, service in services.items() if "database" in service.get("networks", ())] == [
        "monitor-on-postgres",
        "database",
    ]


def test_the_scaled_servers_are_started_with_what_the_others_are_called() -> None:
    services = {
        name: one for name, one in yaml.safe_load(COMPOSE)["services"].items() if "scale" in one.get("profiles", ())
    }
    hosts = set(services)
    for one in services.values():
        if isinstance(one["networks"], dict):
            hosts.update(one["networks"]["scale"]["aliases"])
        assert set(one.get("depends_on", ())) <= set(services)
    for name in ("scaled-1", "scaled-2"):
        options = _parser().parse_args(services[name]["command"])
        used = [*options.bus.removeprefix("nats://").split(","), "bucket", "database"]
        assert "endpoint=http://bucket:9000" in options.blobs
        assert services[name]["environment"]["RECIS_MONITOR_STORE"].startswith("postgresql://recis@database/")
        assert set(used) <= hosts
    config = (ROOT / "deploy" / "compose" / "nginx.conf").read_text(encoding="utf-8")
    assert set(re.findall(r"^\s+server (\S+):8765", config, re.MULTILINE)) == {"server-1", "server-2"} <= hosts
    assert "./deploy/compose/nginx.conf:/etc/nginx/nginx.conf:ro" in services["proxy"]["volumes"]
    routes = re.findall(r"nats://([\w-]+):6222", services["nats-1"]["command"][-1])
    assert set(routes) <= hosts
    assert "install --directory --owner=recis /data /token" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


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
