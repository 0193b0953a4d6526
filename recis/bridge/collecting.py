"""Parse the argument `collect` of `init`: what a run collects in addition to logged values.

Owns the accepted names. Must not know how anything is collected.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from recis.wire.showing import shown

__all__ = ["COLLECTABLE", "Collected"]

COLLECTABLE = ("info", "console", "system")
"""A description of the process, its output, and the use of the machine."""


@dataclass(frozen=True, slots=True)
class Collected:
    """Whether each of `COLLECTABLE` is collected."""

    info: bool = True
    console: bool = True
    system: bool = True

    @classmethod
    def parse(cls, wanted: Any) -> "Collected":
        """Parse an argument: names in a collection or separated by commas, `all` or True, `none` or False.

        Raises:
            ValueError: anything else.
        """
        if wanted is None or wanted is True:
            return cls()
        if wanted is False:
            return cls(info=False, console=False, system=False)
        names = _names(wanted)
        if names is not None and names <= {*COLLECTABLE, "all", "none"} and (len(names) < 2 or "none" not in names):
            return cls(**{name: name in names or "all" in names for name in COLLECTABLE})
        raise ValueError(f"collect: expected names among {', '.join(COLLECTABLE)}, or all or none, got {shown(wanted)}")


def _names(wanted: Any) -> set[str] | None:
    """Return the names in a text or a collection; None for anything else, also for a collection with other items."""
    # By type: reading the class of an object may raise.
    if issubclass(type(wanted), str):
        return {name.strip().lower() for name in str.__str__(wanted).split(",") if name.strip()}
    try:
        items = list(wanted) if isinstance(wanted, Iterable) else [None]
    except Exception:  # noqa: BLE001 - boundary: a caller's object may raise anything
        return None
    return {str.__str__(item) for item in items} if all(issubclass(type(item), str) for item in items) else None
