import json
from typing import Any

import pytest
from recis_server.errors import InvalidValue, NotFound, ServerError, StoreUnavailable, Unauthorised
from recis_server.refusals import refusal_of


def scope(path: str, accept: str = "text/html", *, root_path: str = "", kind: str = "http") -> dict[str, Any]:
    return {"type": kind, "path": path, "root_path": root_path, "headers": [(b"accept", accept.encode())]}


@pytest.mark.parametrize(
    "asked",
    [
        scope("/x", "*/*"),
        scope("/api/v1/runs"),
        scope("/metrics"),
        scope("/ws/live", kind="websocket"),
        scope("/recis/api/v1/runs", root_path="/recis"),
    ],
)
def test_programs_get_the_one_shape(asked: dict[str, Any]) -> None:
    refusal = refusal_of(InvalidValue("limit", "expected a number"), asked)
    assert (refusal.status, refusal.headers["content-type"]) == (422, "application/json")
    assert json.loads(refusal.body) == {"error": {"code": "invalid", "message": "expected a number", "field": "limit"}}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NotFound("there is nothing at '/<b>'"), "There is nothing at &#x27;/&lt;b&gt;&#x27;."),
        (Unauthorised("expected a known token"), "which ends in ?token=…"),
        (StoreUnavailable("away"), "Try again in a moment."),
        (ServerError(""), "This did not work"),
    ],
)
def test_people_get_a_page(error: ServerError, said: str) -> None:
    refusal = refusal_of(error, scope("/recis/x", "text/html,*/*;q=0.8", root_path="/recis"))
    assert refusal.status == error.status
    assert refusal.headers["content-type"] == "text/html; charset=utf-8"
    assert ("www-authenticate" in refusal.headers) == (error.status == 401)
    assert said in refusal.body.decode()
    assert 'href="/recis/"' in refusal.body.decode()
