import copy
import pickle

from recis.state import Phase, RunState, StepNumber


def test_a_new_state_has_done_nothing() -> None:
    assert RunState() == RunState(global_step=0, epoch=0, phase=Phase.IDLE, samples=0, error=None, stop_reason=None)


def test_the_first_reason_to_stop_stays() -> None:
    state = RunState()
    state.request_stop("loss is NaN")
    state.request_stop("later")
    assert state.stop_reason == "loss is NaN"


def test_a_step_number_is_an_int_with_an_item() -> None:
    step = StepNumber(100)
    assert (step % 10, step + 1, f"{step}", step >= 100, step.item(), int(step)) == (0, 101, "100", True, 100, 100)
    for copied in (copy.deepcopy(step), pickle.loads(pickle.dumps(step)), step.item(), int(step)):
        assert type(copied) is int
