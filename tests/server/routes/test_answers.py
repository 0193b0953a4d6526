"""The common form of errors, from every route."""

import re
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from recis_server.main import create_app

from tests.server.httpserver import Site, ask, settings

ROOT = Path(__file__).parents[3]
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
NEVER_WRONG = {"/", "/compare", "/alerts", "/run/{rest:path}", "/docs", "/docs.css", "/favicon.ico"}


def routes(folder: Path) -> list[tuple[str, str]]:
    found = []
    for route in create_app(settings(folder)).routes:
        included = getattr(route, "effective_candidates", None)
        for one in included() if included is not None else [route]:
            one = getattr(one, "original_route", one)
            if isinstance(one, APIRoute):
                assert one.methods is not None
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


def test_every_route_describes_what_it_answers(tmp_path: Path) -> None:
    paths = create_app(settings(tmp_path)).openapi()["paths"]

    def described(path: str, method: str = "get") -> dict[str, list[str]]:
        return {status: list(one.get("content", {})) for status, one in paths[path][method]["responses"].items()}

    for path, methods in paths.items():
        for method in methods:
            assert {"400", "401", "403", "431", "503"} <= set(described(path, method)), (path, method)
            if "{" in path:
                assert "404" in described(path, method), (path, method)
    (metrics,) = described("/metrics")["200"]
    assert metrics.startswith("text/plain")
    export = described("/api/v1/runs/{run}/export")
    assert {one.split(";")[0] for one in export["200"]} == {
        "text/csv",
        "application/x-ndjson",
        "application/vnd.apache.parquet",
        "application/x-recis-columns",
    }
    download = described("/api/v1/traces/{trace}/download")
    assert {"200", "206", "304", "404", "409", "416"} <= set(download)
    assert download["304"] == []
    assert set(described("/api/v1/runs/{run}/series")["200"]) == {"application/json", "application/octet-stream"}


def test_head_is_get_without_a_body(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        for address in (
            "/",
            "/healthz",
            "/metrics",
            "/api/v1/meta",
            "/api/v1/runs",
            "/api/v1/runs/r/export?format=csv",
            "/nowhere",
        ):
            head, get = await site.client.head(address), await site.client.get(address)
            assert (head.status_code, head.content) == (get.status_code, b""), address
            assert head.headers["content-type"] == get.headers["content-type"]

    ask(tmp_path, scenario)


def test_another_method_is_told_all_that_are_allowed(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        for address, allowed in (
            ("/api/v1/runs/r", "DELETE, GET, HEAD, PATCH"),
            ("/api/v1/runs", "GET, HEAD"),
            ("/api/v1/runs/r/controls/c", "PUT"),
            ("/", "GET"),
        ):
            answer = await site.client.post(address)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)

    ask(tmp_path, scenario)


def test_a_browser_is_shown_a_page_and_a_program_the_one_shape(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        for address in ("/abc/def", "/compare/", "/run", "/%3Cscript%3E", "/static/nothing.js"):
            shown = await site.client.get(address, headers=BROWSER)
            assert shown.status_code == 404
            assert shown.headers["content-type"] == "text/html; charset=utf-8"
            assert "<script" not in shown.text
            assert 'href="/"' in shown.text
            for part in re.findall(r'href="([^"]+)"', shown.text):
                assert (await site.client.get(part)).status_code == 200, part
            check_shape((await site.client.get(address)).json(), code="not_found")
        for address in ("/api/v1/nowhere", "/api/v1/runs/nobody"):
            check_shape((await site.client.get(address, headers=BROWSER)).json(), code="not_found")
        foreign = await site.client.get("/", headers={**BROWSER, "Host": "evil.example"})
        assert (foreign.status_code, foreign.headers["content-type"]) == (403, "text/html; charset=utf-8")

    ask(tmp_path, scenario)


def test_the_page_of_an_error_lies_below_the_root_path(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        shown = await site.client.get("/monitor/abc/def", headers=BROWSER)
        assert 'href="/monitor/"' in shown.text
        check_shape((await site.client.get("/monitor/api/v1/nowhere", headers=BROWSER)).json(), code="not_found")

    ask(tmp_path, scenario, root_path="monitor")


def test_every_route_has_its_heading_in_the_document(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    pages = {"/static/{name:path}"} | NEVER_WRONG
    missing = [
        f"{method} {path}"
        for method, path in routes(tmp_path)
        if path not in pages and method != "HEAD" and f"### `{method} {path.replace(':path}', '}')}`\n" not in text
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
