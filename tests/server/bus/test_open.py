import sys

import pytest
from recis_server.bus import MemoryBus, connects_servers, open_bus


def test_the_url_says_which_bus_it_is() -> None:
    assert isinstance(open_bus("memory://"), MemoryBus)
    assert not connects_servers("memory://")
    assert connects_servers("nats://a,b:4223")
    assert open_bus("nats://a,b:4223").has_peers


@pytest.mark.parametrize("url", ["", "memory", "redis://x", "nats:/a", "redis://user:secret@host"])
def test_another_scheme_is_refused_with_what_was_expected(url: str) -> None:
    with pytest.raises(ValueError, match=r"--bus: expected memory:// or nats://HOST") as caught:
        open_bus(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["nats://", "nats://a,,b", "nats://user:secret@a:port", "nats://a:99999", "nats://a/path"]
)
def test_a_host_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"--bus: expected nats://HOST\[:PORT\],…, got the host") as caught:
        open_bus(url)
    assert "secret" not in str(caught.value)


def test_a_client_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "recis_server.bus.nats", raising=False)
    monkeypatch.setitem(sys.modules, "nats", None)
    monkeypatch.setitem(sys.modules, "nats.errors", None)
    with pytest.raises(ValueError, match=r"--bus: expected the client of NATS to be installed \(pip install"):
        open_bus("nats://a")
