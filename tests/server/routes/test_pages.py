import gzip
import re
from pathlib import Path

import pytest

from tests.server.httpserver import Site, ask


@pytest.mark.parametrize("address", ["/", "/run/x", "/run/x/tables", "/run/x/traces", "/compare?runs=a,b", "/alerts"])
def test_every_address_of_the_page_answers_the_page(tmp_path: Path, address: str) -> None:
    async def scenario(site: Site) -> None:
        answer = await site.client.get(address)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert "__ROOT__" not in answer.text
        parts = re.findall(r'(?:href|src)="(/static/[^"]+)"', answer.text)
        assert parts
        for part in parts:
            assert (await site.client.get(part)).status_code == 200, part

    ask(tmp_path, scenario)


def test_the_page_moves_below_a_root_path(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        # A proxy may strip the prefix or not.
        for prefix in ("", "/monitor"):
            assert 'src="/monitor/static/js/main.js"' in (await site.client.get(f"{prefix}/")).text
            assert (await site.client.get(f"{prefix}/api/v1/runs")).status_code == 200

    ask(tmp_path, scenario, root_path="monitor/")


def test_a_root_path_cannot_leave_its_attribute(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        for address in ("/", "/docs"):
            assert '"><b>' not in (await site.client.get(address)).text

    ask(tmp_path, scenario, root_path='/x"><b>')


def test_parts_are_packed_tagged_and_asked_for_again(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        plain = await site.client.get("/static/js/main.js", headers={"Accept-Encoding": "identity"})
        assert plain.headers["cache-control"] == "no-cache"
        assert plain.headers["content-type"].startswith("text/javascript")
        packed = await site.client.get("/static/js/main.js", headers={"Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.content == plain.content
        assert int(packed.headers["content-length"]) == len(gzip.compress(plain.content, mtime=0))
        for accepted, encoding in (("gzip, br;q=0", "gzip"), ("gzip, deflate, br, zstd", "br"), ("bread", None)):
            answer = await site.client.get("/static/js/main.js", headers={"Accept-Encoding": accepted})
            assert answer.headers.get("content-encoding") == encoding
            assert answer.headers["vary"] == "Accept-Encoding"
            assert answer.content == plain.content
        assert int(answer.headers["content-length"]) > int(packed.headers["content-length"])
        again = await site.client.get("/static/js/main.js", headers={"If-None-Match": plain.headers["etag"]})
        assert again.status_code == 304
        assert (await site.client.get("/favicon.ico")).headers["content-type"] == "image/svg+xml"

    ask(tmp_path, scenario)


def test_all_style_sheets_are_one_in_their_order(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        page = (await site.client.get("/")).text
        assert re.findall(r'rel="stylesheet" href="([^"]+)"', page) == ["/static/css/all.css"]
        style = (await site.client.get("/static/css/all.css")).text
        parts = [(await site.client.get(f"/static/{name}")).text for name in ("vendor/uplot.css", "css/tokens.css")]
        assert style.startswith("\n".join(parts))
        assert style.endswith((await site.client.get("/static/css/print.css")).text)

    ask(tmp_path, scenario)


@pytest.mark.parametrize(
    "name", ["../pyproject.toml", "..%2F..%2Fpyproject.toml", "%2Fetc%2Fpasswd", "tsconfig.json", ""]
)
def test_nothing_but_the_page_is_served(tmp_path: Path, name: str) -> None:
    async def scenario(site: Site) -> None:
        assert (await site.client.get(f"/static/{name}")).status_code == 404

    ask(tmp_path, scenario)


def test_the_documentation_needs_no_script_and_no_other_site(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        answer = await site.client.get("/docs")
        assert "<script" not in answer.text
        assert "http" not in re.sub(r"<pre.*?</pre>", "", answer.text, flags=re.DOTALL).replace("HTTP", "")
        assert "PUT /api/v1/runs/{run}/controls/{control}" in answer.text
        spec = (await site.client.get("/openapi.json")).json()
        for path, methods in spec["paths"].items():
            for method, operation in methods.items():
                assert operation["description"], (method, path)
        assert (await site.client.get("/docs.css")).headers["content-type"].startswith("text/css")

    ask(tmp_path, scenario)


def test_every_answer_has_the_security_headers(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        for address in ("/", "/static/js/main.js", "/api/v1/runs", "/nowhere", "/metrics", "/docs", "/healthz"):
            headers = (await site.client.get(address)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "require-trusted-types-for 'script'" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["cross-origin-opener-policy"] == "same-origin-allow-popups"

    ask(tmp_path, scenario)
