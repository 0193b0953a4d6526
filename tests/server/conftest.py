"""What every test of the server has in common."""

import pytest
from recis_server.store import writer


@pytest.fixture(autouse=True)
def _without_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit frames at once: tests append one after another, and each would wait for others that do not come."""
    monkeypatch.setattr(writer, "GATHER_S", 0.001)
