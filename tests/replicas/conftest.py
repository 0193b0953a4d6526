"""A client that is quick to try again."""

from tests.faults.conftest import impatient

__all__ = ["impatient"]
