from contextlib import ExitStack

import pytest
from recis_server.errors import Busy
from recis_server.live.limits import ViewerLimits


def test_browsers_are_bounded_in_total_and_for_one() -> None:
    limits = ViewerLimits(3, 2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(limits.admit("a"))
        with pytest.raises(Busy, match="at most 3"), limits.admit("a"):
            pass
        with limits.admit("b"), pytest.raises(Busy), limits.admit("c"):
            pass
        with limits.admit("c"):
            pass
    with limits.admit("a"), limits.admit("a"), limits.admit("c"):
        assert limits.num_viewers == 3
    assert limits.num_viewers == 0
