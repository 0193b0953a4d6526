"""TLS without a proxy: what a training, a reader and a browser see, and what happens to the certificate's files."""

import asyncio
import datetime
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trustme
from recis_server import tls as module
from recis_server.cli import main
from recis_server.tls import certificate
from websockets.asyncio.client import connect

import recis.monitor
from tests.e2e.processes import until
from tests.server.httpserver import serve

HOSTS = ("localhost", "127.0.0.1")


def write(ca: trustme.CA, folder: Path, days: float = 1.0) -> tuple[Path, Path]:
    """A certificate with its key, which is written first."""
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    made = ca.issue_cert(*HOSTS, not_after=end, not_before=end - datetime.timedelta(days=2))
    cert, key = folder / "cert.pem", folder / "key.pem"
    made.private_key_pem.write_to_path(str(key))
    cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    return cert, key


@pytest.fixture
def ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority that trainings and readers trust."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("RECIS_MONITOR_CA_FILE", str(tmp_path / "ca.pem"))
    return made


def seen(url: str, ca_file: Path) -> str:
    """The certificate that a new connection sees, as PEM."""
    host, port = url.removeprefix("https://").split(":")
    return ssl.get_server_certificate((host, int(port)), ca_certs=str(ca_file), timeout=30)


@pytest.mark.slow
def test_everything_is_encrypted_and_a_renewed_certificate_is_for_new_connections(
    ca: trustme.CA, tmp_path: Path
) -> None:
    cert, key = write(ca, tmp_path)
    options = ("--token-file", str(tmp_path / "token"), "--tls-cert", str(cert), "--tls-key", str(key))
    with serve(tmp_path / "data", *options) as server:
        assert server.url.startswith("https://127.0.0.1:")
        token = (tmp_path / "token").read_text().strip()
        with recis.monitor.init(
            server.url, run_id="r", token=token, spool_dir=tmp_path / "spool", collect="none"
        ) as run:
            run.log({"loss": 0.5}, step=1)
        assert len(recis.monitor.read(server.url, "r", token=token)["loss"]) == 1
        trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        with httpx.Client(base_url=server.url, verify=trust) as browser:
            cookie = browser.get(f"/?token={token}").headers["set-cookie"]
            assert "Secure" in cookie.split("; ")
            assert browser.get("/").status_code == 200
        with pytest.raises(httpx.RequestError):
            httpx.get(server.url.replace("https", "http"))
        first = seen(server.url, tmp_path / "ca.pem")
        headers = {"Cookie": cookie.split(";")[0]}

        def is_renewed() -> bool:
            return seen(server.url, tmp_path / "ca.pem") != first

        async def stay_connected() -> None:
            url = server.url.replace("http", "ws") + "/ws/live"
            async with connect(url, ssl=trust, additional_headers=headers) as live:
                await live.recv()
                write(ca, tmp_path)
                await asyncio.to_thread(until, is_renewed, 60, "the new certificate is used")
                await (await live.ping())

        asyncio.run(asyncio.wait_for(stay_connected(), 90))
        second = seen(server.url, tmp_path / "ca.pem")
        log = tmp_path / "data.log"
        key.write_text("not a key")
        until(lambda: "the previous certificate stays in use: --tls-cert and" in log.read_text(), 60, "it is refused")
        assert seen(server.url, tmp_path / "ca.pem") == second
        _use_the_command(server.url, token, tmp_path)


def _use_the_command(url: str, token: str, folder: Path) -> None:
    """`recis-monitor runs` trusts the same file, and says what is wrong with another."""
    command = [sys.executable, "-m", "recis.cli", "runs", "--url", url, "--token", token]

    def told(ca_file: str) -> tuple[int, str]:
        environment = {**os.environ, "RECIS_MONITOR_CA_FILE": ca_file}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    code, text = told(str(folder / "ca.pem"))
    assert (code, text.split("\t")[0]) == (0, "r")
    code, text = told("")
    assert code == 1
    assert "CERTIFICATE_VERIFY_FAILED" in text
    code, text = told(str(folder / "nowhere"))
    assert code == 1
    assert "RECIS_MONITOR_CA_FILE: expected a file with certificates as PEM, got" in text


def test_files_that_are_no_certificate_are_one_line(
    ca: trustme.CA, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cert, key = write(ca, tmp_path)
    for folder, days in (("other", 1.0), ("expired", -1.0), ("future", 3.0)):
        (tmp_path / folder).mkdir()
        write(ca, tmp_path / folder, days)
    encrypted = tmp_path / "encrypted.pem"
    openssl = ["openssl", "pkey", "-in", str(key), "-aes128", "-passout", "pass:x", "-out", str(encrypted)]
    subprocess.run(openssl, check=True)

    def told(*options: str | Path) -> str:
        assert main(["serve", "--port", "0", "--data", str(tmp_path / "data"), *map(str, options)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "--tls-key: expected a file; TLS needs both" in told("--tls-cert", cert)
    assert "--tls-cert: expected a file; TLS needs both" in told("--tls-key", key)
    nowhere = tmp_path / "nowhere"
    assert f"--tls-cert: expected a file that can be read, got {nowhere}: No such" in told(
        "--tls-cert", nowhere, "--tls-key", key
    )
    other = tmp_path / "other" / "key.pem"
    assert f"--tls-key: expected the key of the certificate in {cert}, got another in {other}" in told(
        "--tls-cert", cert, "--tls-key", other
    )
    for pair in ((key, key), (cert, cert), (cert, encrypted), (cert, tmp_path)):
        line = told("--tls-cert", pair[0], "--tls-key", pair[1])
        assert "--tls-cert and --tls-key: expected a certificate and a private key without a password" in line or (
            "--tls-key: expected a file that can be read" in line
        )
    for folder, reason in (("expired", "certificate has expired"), ("future", "certificate is not yet valid")):
        pair = (tmp_path / folder / "cert.pem", tmp_path / folder / "key.pem")
        line = told("--tls-cert", pair[0], "--tls-key", pair[1])
        assert f"--tls-cert: expected a certificate that is valid now, got {pair[0]}: {reason}" in line


def test_a_half_renewed_pair_is_left_until_it_is_whole(
    ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.02)
    cert, key = write(ca, tmp_path)
    (tmp_path / "new").mkdir()
    new_cert, new_key = write(ca, tmp_path / "new")

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + 60
        async with certificate(cert, key) as context:
            assert context is not None
            for source, target, message in (
                (new_cert, cert, "stays in use"),
                (new_key, key, "loaded the certificate"),
            ):
                shutil.copy(source, target)
                while message not in caplog.text:
                    assert loop.time() < end
                    await asyncio.sleep(0.01)

    caplog.set_level("INFO")
    asyncio.run(scenario())
    assert caplog.text.count("stays in use") == 1, "each state of the files is reported once"
