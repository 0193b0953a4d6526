"""Objects whose attributes and methods raise, as those of a user may."""

__all__ = ["Hidden", "Raises"]


class Raises:
    """Raises for everything except reading its class."""

    def __init__(self, error: type[BaseException] = RuntimeError) -> None:
        self.error = error

    def __float__(self) -> float:
        raise self.error

    def __repr__(self) -> str:
        raise self.error

    shape = property(__float__)
    __hash__ = __fspath__ = __int__ = __index__ = __str__ = __bool__ = __float__  # type: ignore[assignment]
    __eq__ = __len__ = __iter__ = __float__  # type: ignore[assignment]


class Hidden(Raises):
    """Raises for its class too, so that `isinstance` raises."""

    __class__ = property(Raises.__float__)
