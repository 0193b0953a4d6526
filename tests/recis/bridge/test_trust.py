import ssl
from pathlib import Path

import pytest
import trustme

from recis.bridge.address import ServerAddress
from recis.bridge.trust import tls_context

SECURE = ServerAddress.parse("https://monitor.example.com")


def test_the_authorities_of_a_file_are_trusted_beside_those_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECIS_MONITOR_CA_FILE", raising=False)
    assert tls_context(ServerAddress.parse("http://monitor.example.com")) is None
    before = tls_context(SECURE)
    assert before is not None
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("RECIS_MONITOR_CA_FILE", str(tmp_path / "ca.pem"))
    after = tls_context(SECURE)
    assert after is not None
    assert after.verify_mode is ssl.CERT_REQUIRED
    assert after.check_hostname
    assert len(after.get_ca_certs()) == len(before.get_ca_certs()) + 1


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_without_certificates_is_a_connection_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("RECIS_MONITOR_CA_FILE", str(path))
    with pytest.raises(ConnectionError, match="RECIS_MONITOR_CA_FILE: expected a file with certificates as PEM"):
        tls_context(SECURE)
