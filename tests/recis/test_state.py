from recis.state import Phase, RunState


def test_a_new_state_has_done_nothing() -> None:
    assert RunState() == RunState(global_step=0, epoch=0, phase=Phase.IDLE, samples=0, error=None, stop_reason=None)


def test_the_first_reason_to_stop_stays() -> None:
    state = RunState()
    state.request_stop("loss is NaN")
    state.request_stop("later")
    assert state.stop_reason == "loss is NaN"
