"""`recis.bridge.address`: pasted addresses become URLs; anything else is refused."""

from typing import Any

import pytest

from recis.bridge.address import ServerAddress


@pytest.mark.parametrize(
    ("url", "base", "socket"),
    [
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765", "ws://127.0.0.1:8765/ws/ingest"),
        ("https://host/recis/", "https://host/recis", "wss://host/recis/ws/ingest"),
        ("ws://host:1", "http://host:1", "ws://host:1/ws/ingest"),
        ("host:9000", "http://host:9000", "ws://host:9000/ws/ingest"),
        ("http://[::1]:8", "http://[::1]:8", "ws://[::1]:8/ws/ingest"),
    ],
)
def test_addresses(url: str, base: str, socket: str) -> None:
    address = ServerAddress.parse(url)
    assert (address.base, address.socket("/ws/ingest")) == (base, socket)
    assert address.run_page("r1") == f"{base}/run/r1"


def test_a_token_in_the_address_goes_into_the_header_and_is_not_shown() -> None:
    address = ServerAddress.parse("http://h:1/?token=secret")
    assert address.headers == {"Authorization": "Bearer secret"}
    assert "secret" not in repr(address)
    assert ServerAddress.parse("http://h:1/?token=secret", "other").token == "other"
    assert ServerAddress.parse("http://h:1").headers == {}


NO_ADDRESSES = [
    "ftp://x",
    "http://",
    "://",
    "http:///path",
    "http://h:x",
    "http://h:99999",
    "http://h:0",
    "http://[::1",
]


@pytest.mark.parametrize("url", [*NO_ADDRESSES, "http://h\n:1", "http://\udcff:1", 8765, b"http://h:1"])
def test_what_is_no_address_is_refused(url: Any) -> None:
    with pytest.raises(ValueError, match="expected an address like"):
        ServerAddress.parse(url)


def test_the_end_of_a_line_in_a_file_is_no_part_of_an_address_or_a_token() -> None:
    address = ServerAddress.parse("http://h:1\n", "secret\n")
    assert (address.base, address.token) == ("http://h:1", "secret")


@pytest.mark.parametrize("token", ["a\r\nb", "schlüssel", 7, b"secret"])
def test_a_token_that_fits_no_header_is_refused_without_being_shown(token: Any) -> None:
    with pytest.raises(ValueError, match="token: expected a text of printable ASCII characters") as caught:
        ServerAddress.parse("http://h:1", token)
    assert str(token) not in str(caught.value)


def test_only_this_machine_is_loopback() -> None:
    assert ServerAddress.parse("http://127.0.0.1:1").is_loopback
    assert ServerAddress.parse("http://[::1]:1").is_loopback
    assert not ServerAddress.parse("http://10.0.0.1:1").is_loopback
