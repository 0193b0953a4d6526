import pytest

from recis.framework.plan import Plan, Progress


@pytest.mark.parametrize(
    ("steps", "epoch_steps", "progress", "any_step", "step"),
    [
        (None, None, Progress(9, 0, 9), True, True),
        (9, None, Progress(9, 1, 2), False, False),
        (10, 3, Progress(9, 1, 3), True, False),
        (10, 3, Progress(9, 1, 2), True, True),
    ],
)
def test_a_step_is_wanted_within_both_limits(
    steps: int | None, epoch_steps: int | None, progress: Progress, any_step: bool, step: bool
) -> None:
    plan = Plan(epochs=2, steps=steps, epoch_steps=epoch_steps, progress=progress)
    assert (plan.wants_any(), plan.wants_step()) == (any_step, step)
