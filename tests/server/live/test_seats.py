from contextlib import ExitStack

import pytest
from recis_server.errors import Busy
from recis_server.live.seats import Seats


def test_seats_are_bounded_in_total_and_for_one() -> None:
    seats = Seats(3, 2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(seats.taken("a"))
        with pytest.raises(Busy, match="at most 3"), seats.taken("a"):
            pass
        with seats.taken("b"), pytest.raises(Busy), seats.taken("c"):
            pass
        with seats.taken("c"):
            pass
    with seats.taken("a"), seats.taken("a"), seats.taken("c"):
        pass
