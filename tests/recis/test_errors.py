import pytest

from recis import errors


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ArgumentError, ValueError),
        (errors.HookSignatureError, TypeError),
        (errors.CaptureBusyError, RuntimeError),
        (errors.CheckpointError, RuntimeError),
    ],
)
def test_each_error_is_caught_as_ours_and_as_the_builtin(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, errors.RecisError)
    assert issubclass(kind, builtin)


def test_an_argument_error_says_where_what_was_expected_and_what_came() -> None:
    error = errors.ArgumentError("wait", "an int", -1)
    assert (error.where, error.expected, error.got) == ("wait", "an int", -1)
    assert str(error) == "wait: expected an int, got -1"
