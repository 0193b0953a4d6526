import pytest
from recis_server.store.tables.attempts import started_ns

from tests.server.store.streams import greeting


@pytest.mark.parametrize(
    ("time_ns", "began_ns", "expected_ns"),
    [
        (500, 400, 900),  # a hundred before it greets, whatever its clock says
        (500, 500, 1000),
        (500, 0, 1000),  # a writer of an earlier version does not say
        (500, 900, 1000),  # its clock went back since
        (5000, 1, 0),  # longer ago than there has been time
        (2**63 - 1, -(2**63), 1000),
    ],
)
def test_a_start_is_put_on_the_servers_clock(time_ns: int, began_ns: int, expected_ns: int) -> None:
    assert started_ns(greeting(time_ns=time_ns, started_ns=began_ns), 1000) == expected_ns
