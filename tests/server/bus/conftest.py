"""A NATS server for the whole session."""

from collections.abc import Iterator

import pytest

from scripts.nats import NatsServer, nats_server


@pytest.fixture(scope="session")
def nats() -> Iterator[NatsServer]:
    with nats_server() as server:
        yield server
