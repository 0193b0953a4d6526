"""The number of examples of a property test: all of them in `make test`, a fraction in `make check`."""

from hypothesis import settings

__all__ = ["CHECK", "examples"]

CHECK = "check"
"""The profile of `make check`; without one, each test tries what it says."""
_THOROUGH = settings().max_examples

settings.register_profile(CHECK, max_examples=_THOROUGH // 10, deadline=None)


def examples(thorough: int) -> int:
    """Return the number of examples for this session of a test that tries `thorough` of them in `make test`."""
    return max(1, thorough * settings().max_examples // _THOROUGH)
