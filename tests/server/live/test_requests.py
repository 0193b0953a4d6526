import json
from typing import Any

import pytest
from recis_server.errors import InvalidValue, TooLarge
from recis_server.live.requests import Follow, Unfollow, Unwatch, WatchSeries, parse
from recis_server.live.run_lists import DEFAULT_VIEW


@pytest.mark.parametrize(
    ("message", "request_"),
    [
        ({"type": "follow", "run": "r1"}, Follow(run="r1")),
        ({"type": "follow", "runs": True}, Follow(runs=True)),
        ({"type": "unfollow", "run": "r1", "later": 1}, Unfollow(run="r1")),
        ({"type": "unwatch", "id": 3}, Unwatch(id=3)),
        ({"type": "watch", "id": 3, "run": "r1", "keys": ["a"]}, WatchSeries(id=3, run="r1", keys=("a",))),
        (
            {
                "type": "watch",
                "id": 0,
                "run": "r1",
                "keys": ["a"],
                "rank": "all",
                "start": -5,
                "stop": 9,
                "points": 1,
                "superseded": True,
            },
            WatchSeries(id=0, run="r1", keys=("a",), rank="all", start=-5, stop=9, points=1, superseded=True),
        ),
    ],
)
def test_every_message_of_the_protocol_is_understood(message: dict[str, Any], request_: object) -> None:
    assert parse(json.dumps(message)) == request_


WATCH = {"type": "watch", "id": 1, "run": "r1", "keys": ["loss"]}


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (None, "$"),
        ("", "$"),
        ("not json", "$"),
        ("[]", "$"),
        ('{"type": "nonsense"}', "$.type"),
        ("{}", "$"),
        ('{"type": "follow"}', "$.run"),
        ('{"type": "follow", "run": "r1", "runs": true}', "$.run"),
        ('{"type": "follow", "runs": false}', "$.runs"),
        ('{"type": "follow", "runs": true, "fields": "name"}', "$.fields"),
        ('{"type": "follow", "runs": true, "metrics": [7]}', "$.metrics[0]"),
        (json.dumps({"type": "follow", "runs": True, "metrics": [f"m{n}" for n in range(101)]}), "$.metrics"),
        (json.dumps({**WATCH, "points": 0}), "$.points"),
        (json.dumps({**WATCH, "points": 10_001}), "$.points"),
        (json.dumps({**WATCH, "points": "many"}), "$.points"),
        (json.dumps({**WATCH, "points": 1.5}), "$.points"),
        (json.dumps({**WATCH, "keys": [f"k{n}" for n in range(256)], "points": 4097}), "$.points"),
        (json.dumps({**WATCH, "keys": []}), "$.keys"),
        (json.dumps({**WATCH, "keys": ["a", "a"]}), "$.keys"),
        (json.dumps({**WATCH, "keys": [7]}), "$.keys[0]"),
        (json.dumps({**WATCH, "keys": ["x" * 513]}), "$.keys[0]"),
        (json.dumps({**WATCH, "rank": "some"}), "$.rank"),
        (json.dumps({**WATCH, "rank": -1}), "$.rank"),
        (json.dumps({**WATCH, "start": 5, "stop": 5}), "$.stop"),
        (json.dumps({**WATCH, "start": None, "stop": -(2**63)}), "$.stop"),
        (json.dumps({**WATCH, "start": 2**63}), "$.start"),
        (json.dumps({**WATCH, "id": None}), "$.id"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(message: str | None, field: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse(message)
    assert caught.value.field == field
    assert caught.value.message


def test_a_message_that_is_too_long_is_not_read() -> None:
    with pytest.raises(TooLarge, match="65536"):
        parse(" " * 65_537)


def test_equal_parts_of_runs_are_one_list() -> None:
    requests = [
        parse(json.dumps({"type": "follow", "runs": True, "fields": fields, "metrics": ["qps", "loss"]}))
        for fields in (["name", "state"], ["state", "name", "state"])
    ]
    views = {request.list_view() for request in requests if isinstance(request, Follow)}
    assert views == {(("name", "state"), ("loss", "qps"))}
    assert Follow(runs=True).list_view() == DEFAULT_VIEW
