from collections.abc import Callable

import pytest

from recis.monitor import Run
from recis.wire.messages import Event
from tests.recis.bridge.conftest import Spooled

Opener = Callable[..., Run]


def test_a_run_has_the_names_that_people_look_for(open_offline: Opener) -> None:
    with open_offline(run_id="r1", name="night", project="shop", config={"lr": 0.1}) as run:
        assert (run.id, run.name, run.project, run.config.lr, run.step) == ("r1", "night", "shop", 0.1, 0)
        run.log({"loss": 1.0}, step=7)
        assert run.step == 7
    assert run.is_finished


def test_what_is_set_in_the_configuration_is_reported(open_offline: Opener, spooled: Spooled) -> None:
    with open_offline(config={"lr": 0.1}) as run:
        run.config.update({"batch_size": 64, "inf": float("inf")})
        run.config.model = object
    events = [event for event in spooled.of(Event) if isinstance(event, Event)]
    assert [(event.kind, event.text, event.data) for event in events] == [
        ("config", "config: batch_size, inf", {"batch_size": 64, "inf": "Infinity"}),
        ("config", "config: model", {"model": "builtins.object"}),
    ]


def test_a_summary_is_a_metric_at_the_present_step(open_offline: Opener, spooled: Spooled) -> None:
    with open_offline() as run:
        run.log({"loss": 1.0}, step=7)
        run.summary["best"] = 0.5
        run.summary.update({"auc": 0.75})
        assert (run.summary.best, run.refused) == (0.5, 0)
        run.summary["note"] = "good"
        assert run.refused == 1
    assert spooled.values() == {"loss": [(7, 1.0)], "best": [(7, 0.5)], "auc": [(7, 0.75)]}


def test_what_is_not_used_is_named_once(open_offline: Opener, caplog: pytest.LogCaptureFixture) -> None:
    with open_offline(run_id="r1") as run:
        for _ in range(2):
            run.define_metric("loss", step_metric="epoch", summary="min")
            run.alert("title", "text", wait_duration=300)
        assert run.refused == 0
    told = [record.message for record in caplog.records if "logged once" in record.message]
    assert told == [
        "run r1, define_metric (logged once): not needed: metrics are drawn over steps or time, as chosen on the page",
        "run r1, alert (logged once): accepted, but not used here: wait_duration",
    ]


def test_a_closed_run_takes_nothing_and_never_raises(open_offline: Opener) -> None:
    run = open_offline()
    run.finish()
    run.config.lr = 1
    run.summary["best"] = 1.0
    run.define_metric("loss")
