from typing import Any

import pytest

from recis.bridge.collecting import Collected
from tests.recis.raising import Hidden, Raises

ALL = Collected(info=True, console=True, system=True)
NONE = Collected(info=False, console=False, system=False)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, ALL),
        (True, ALL),
        ("all", ALL),
        (False, NONE),
        ("none", NONE),
        ((), NONE),
        ("info, SYSTEM", Collected(info=True, console=False, system=True)),
        (["console"], Collected(info=False, console=True, system=False)),
        ({"system", "info"}, Collected(info=True, console=False, system=True)),
    ],
)
def test_what_is_named_is_collected(given: Any, wanted: Collected) -> None:
    assert Collected.parse(given) == wanted


@pytest.mark.parametrize("given", ["logs", "info,none", 7, [1], ["info", None], b"info", Raises, Hidden])
def test_anything_else_is_refused_with_the_names(given: Any) -> None:
    with pytest.raises(ValueError, match="collect: expected names among info, console, system, or all or none, got"):
        Collected.parse(given() if isinstance(given, type) else given)
