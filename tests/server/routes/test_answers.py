"""The one shape of errors, from every route."""

import re
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from recis_server.main import create_app

from tests.server.httpserver import Site, ask, settings

ROOT = Path(__file__).parents[3]
NEVER_WRONG = {"/", "/compare", "/alerts", "/run/{rest:path}", "/docs", "/docs.css", "/favicon.ico"}


def routes(folder: Path) -> list[tuple[str, str]]:
    found = []
    for route in create_app(settings(folder)).routes:
        included = getattr(route, "effective_candidates", None)
        for one in included() if included is not None else [route]:
            one = getattr(one, "original_route", one)
            if isinstance(one, APIRoute):
                found += [(method, one.path) for method in sorted(one.methods)]
    return found


def check_shape(body: dict[str, object], *, code: str | None = None) -> None:
    assert set(body) == {"error"}
    error = body["error"]
    assert isinstance(error, dict)
    assert set(error) == {"code", "message", "field"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert code in (None, error["code"])


def test_every_route_answers_its_errors_in_one_shape(tmp_path: Path) -> None:
    asked = routes(tmp_path)
    assert len(asked) > 20

    async def scenario(site: Site) -> None:
        for method, path in asked:
            address = re.sub(r"\{[^}]*\}", "nobody", path)
            answer = await site.client.request(method, address, json={} if method in ("PUT", "PATCH") else None)
            if "{" in path and path not in NEVER_WRONG:
                assert answer.status_code == 404, (method, path, answer.text)
                if method != "HEAD":
                    check_shape(answer.json())
            wrong = await site.client.request("TRACE", address)
            assert wrong.status_code == 405, (method, path)
            check_shape(wrong.json(), code="method_not_allowed")
            foreign = await site.client.request(method, address, headers={"Host": "evil.example"})
            assert foreign.status_code == 403
            if method != "HEAD":
                check_shape(foreign.json(), code="forbidden")

    ask(tmp_path, scenario)


def test_every_route_has_its_heading_in_the_document(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    pages = {"/static/{name:path}"} | NEVER_WRONG
    missing = [
        f"{method} {path}"
        for method, path in routes(tmp_path)
        if path not in pages and method != "HEAD" and f"### `{method} {path}`\n" not in text
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("method", "address", "body", "status", "field"),
    [
        ("GET", "/api/v1/runs?limit=0", None, 422, "limit"),
        ("GET", "/api/v1/runs?limit=x", None, 422, "limit"),
        ("GET", "/api/v1/runs?state=gone", None, 422, "state"),
        ("GET", "/api/v1/runs?sort=weight", None, 422, "sort"),
        ("GET", "/api/v1/runs?cursor=%FF", None, 422, "cursor"),
        ("GET", "/api/v1/runs/r/series", None, 422, "key"),
        ("GET", "/api/v1/runs/r/series?key=loss&rank=-1", None, 422, "rank"),
        ("GET", "/api/v1/runs/r/series?key=loss&points=-1", None, 422, "points"),
        ("GET", "/api/v1/runs/r/series?key=loss&x=time", None, 422, "x"),
        ("GET", "/api/v1/runs/r/export?format=xls", None, 422, "format"),
        ("GET", "/api/v1/runs/r/filters?rank=many", None, 422, "rank"),
        ("PATCH", "/api/v1/runs/r", b'{"name": ""}', 422, "name"),
        ("PATCH", "/api/v1/runs/r", b'{"colour": "red"}', 422, "colour"),
        ("PATCH", "/api/v1/runs/r", b'{"name": "\\ud800"}', 422, "name"),
        ("PATCH", "/api/v1/runs/r", b"[1]", 422, "body"),
        ("PATCH", "/api/v1/runs/r", b"{", 422, "body"),
        ("PATCH", "/api/v1/runs/r", b"\xff\xfe", 422, "body"),
        ("PUT", "/api/v1/runs/r/controls/filter_interval", b"{}", 422, "value"),
        ("PATCH", "/api/v1/runs/r", b'{"notes": "' + b"x" * (1 << 20) + b'"}', 413, None),
        ("GET", "/nowhere", None, 404, None),
        ("GET", "/api/v1/nowhere", None, 404, None),
    ],
)
def test_bad_input_is_told_where_it_is(
    tmp_path: Path, method: str, address: str, body: bytes | None, status: int, field: str | None
) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        answer = await site.client.request(
            method, address, content=body, headers={"Content-Type": "application/json"} if body else {}
        )
        assert answer.status_code == status, answer.text
        check_shape(answer.json())
        assert answer.json()["error"]["field"] == field

    ask(tmp_path, scenario)


def test_a_mistake_of_ours_has_the_same_shape(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        @site.app.get("/broken")
        async def broken() -> None:
            raise ZeroDivisionError

        answer = await site.client.get("/broken")
        assert answer.status_code == 500
        check_shape(answer.json(), code="internal")
        assert "content-security-policy" in answer.headers

    ask(tmp_path, scenario)
