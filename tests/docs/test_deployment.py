"""The configurations in `docs/deployment.md`, run by their programs.

Tests of a program that is not installed are left out rather than skipped.
"""

import asyncio
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Origin

from scripts.ports import free_port
from tests.e2e.processes import until
from tests.rules.sources import ROOT
from tests.server.httpserver import serve

pytestmark = [pytest.mark.slow, pytest.mark.waits]

DEPLOYMENT = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
NAME = "monitor.example.com"
TRAIN = """
import recis.monitor
run = recis.monitor.init(URL, run_id="behind", spool_dir="spool")
for step in range(10):
    run.log({"loss": 1.0 / (step + 1)}, step=step)
assert run.finish(timeout_s=60), "expected that everything is acknowledged"
assert len(recis.monitor.read(URL, "behind")["loss"]) == 10
"""


def shown(language: str) -> str:
    """Return the only code block of the document in this language."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", DEPLOYMENT, re.DOTALL)
    return str(block)


def replaced(text: str, changes: dict[str, str]) -> str:
    """Return the text with each of the words replaced; every one has to occur."""
    for old, new in changes.items():
        assert old in text, f"expected {old!r} in\n{text}"
        text = text.replace(old, new)
    return text


def nginx(folder: Path, upstream: str, port: int) -> list[str]:
    """Write a configuration of nginx around the block in the document, and return the command."""
    block = replaced(
        shown("nginx"),
        {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "127.0.0.1:8765": upstream,
            f"/etc/ssl/certs/{NAME}.pem": str(folder / "cert.pem"),
            f"/etc/ssl/private/{NAME}.key": str(folder / "key.pem"),
        },
    )
    paths = "".join(
        f"{kind}_temp_path {folder / kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "nginx.conf"
    main = f"daemon off; pid {folder / 'pid'}; error_log stderr;\nevents {{}}\n"
    path.write_text(f"{main}http {{\naccess_log off;\n{paths}{block}}}\n")
    subprocess.run(["nginx", "-q", "-t", "-c", str(path), "-e", "stderr"], check=True)
    return ["nginx", "-c", str(path), "-e", "stderr"]


def caddy(folder: Path, upstream: str, port: int) -> list[str]:
    """Write the Caddyfile with the block in the document, and return the command."""
    block = replaced(
        shown("caddyfile"),
        {
            f"{NAME} {{": f"https://localhost:{port} {{\n    tls {folder / 'cert.pem'} {folder / 'key.pem'}",
            "127.0.0.1:8765": upstream,
        },
    )
    path = folder / "Caddyfile"
    path.write_text(f"{{\n    admin off\n    auto_https disable_redirects\n}}\n{block}")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(path)]


PROXIES = [proxy for proxy in (nginx, caddy) if shutil.which(proxy.__name__)]


@contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """Run a proxy until the block ends."""
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    log = folder / "proxy.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listens, 30, "the proxy listens")
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def make_certificate(folder: Path) -> ssl.SSLContext:
    """Write a certificate for localhost and its key; return an SSL context that trusts it."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return ssl.create_default_context(cafile=str(folder / "cert.pem"))


if PROXIES:

    @pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: proxy.__name__)
    def test_everything_comes_through_a_proxy_with_tls_and_a_sub_path(proxy: object, tmp_path: Path) -> None:
        trust, port = make_certificate(tmp_path), free_port()
        options = ("--token-file", str(tmp_path / "token"), "--root-path", "/recis", "--allow-host", NAME)
        with serve(tmp_path / "data", *options) as server:
            upstream = server.url.removeprefix("http://").split("/")[0]
            assert callable(proxy)
            token = (tmp_path / "token").read_text().strip()
            with running(proxy(tmp_path, upstream, port), tmp_path, port):
                _train(tmp_path, f"https://localhost:{port}/recis/?token={token}")
                _browse(trust, port, token)


def _train(folder: Path, url: str) -> None:
    environment = {**os.environ, "SSL_CERT_FILE": str(folder / "cert.pem"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", f"URL = {url!r}\n{TRAIN}"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _browse(trust: ssl.SSLContext, port: int, token: str) -> None:
    """Act as a browser: exchange the token for a cookie, load the page, read a run and open the live socket."""
    connection = http.client.HTTPSConnection("localhost", port, context=trust, timeout=30)

    def get(path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    assert get("/recis")[1]["location"].endswith("/recis/")
    assert get("/recis/api/v1/runs")[0] == 401
    status, headers, _ = get(f"/recis/?token={token}")
    assert (status, headers["location"]) == (303, "/recis/")
    assert {"HttpOnly", "Secure", "Path=/recis", "SameSite=Strict"} <= set(headers["set-cookie"].split("; "))
    cookie = headers["set-cookie"].split(";")[0]
    status, _, page = get("/recis/", Cookie=cookie)
    assert status == 200
    script = re.search(rb'src="(/recis/static/[^"]+)"', page)
    assert script is not None
    assert get(script.group(1).decode(), Cookie=cookie)[0] == 200
    body = json.loads(get("/recis/api/v1/runs/behind", Cookie=cookie)[2])
    assert body["received"]["points"] >= 10
    connection.close()
    assert asyncio.run(asyncio.wait_for(_first_message(trust, port, cookie), 30))["type"] == "hello"


async def _first_message(trust: ssl.SSLContext, port: int, cookie: str) -> dict[str, Any]:
    # Not with the synchronous client, whose two threads use one TLS socket at once, which OpenSSL does not allow.
    url, origin = f"wss://localhost:{port}/recis/ws/live", Origin(f"https://localhost:{port}")
    async with connect(url, ssl=trust, origin=origin, additional_headers={"Cookie": cookie}) as live:
        message: dict[str, Any] = json.loads(await live.recv())
    return message


if shutil.which("systemd-analyze"):

    def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
        path = tmp_path / "recis-monitor.service"
        command = f"{Path(sys.executable).parent / 'recis-monitor'} serve"
        path.write_text(replaced(shown("ini"), {"/opt/recis-monitor/bin/recis-monitor serve": command}))
        done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
        assert [line for line in done.stderr.splitlines() if "recis-monitor" in line] == []


def test_the_options_that_are_shown_exist() -> None:
    command = [sys.executable, "-m", "recis.cli", "serve", "--help"]
    known = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    blocks = re.findall(r"```(?:sh|ini)\n(.*?)```", DEPLOYMENT, re.DOTALL)
    calls = [part for block in blocks for part in re.split(r"\bserve\b", block)[1:]]
    assert len(calls) == 4
    options = {
        option for call in calls for option in re.findall(r"--[a-z-]+", call.split("\n\n")[0].split("\nRestart")[0])
    }
    assert {option for option in options if option not in known} == set()
