import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from recis_server.access import digest_of
from recis_server.errors import StoreError
from recis_server.people import SECRET_HEADER, Roles, open_proxy_header
from recis_server.store.values import TokenRow
from websockets.sync.client import connect

from tests.server.httpserver import Site, ask, serve, settings

SECRET = "a-secret-of-the-proxy"
CONTROL = "/api/v1/runs/r/controls/filter_interval"
WHO: dict[str, Any] = {"auth_view": ("*",), "auth_control": ("alice", "@ops")}


def options(folder: Path, **more: Any) -> dict[str, Any]:
    (folder / "secret").write_text(f"{SECRET}\n")
    given = {"auth_proxy_header": "X-User", "auth_proxy_from": ("127.0.0.0/8", "::1")}
    return {**given, "auth_proxy_secret_file": folder / "secret", **WHO, **more}


def called(name: str, groups: str = "", secret: str = SECRET) -> dict[str, str]:
    return {"X-User": name, "X-Forwarded-Groups": groups, SECRET_HEADER: secret}


def test_names_and_groups_have_roles() -> None:
    roles = Roles(["bob", "@readers"], ["alice", "@ops"])
    assert roles.grant("bob", []).scopes == {"view"}
    assert roles.grant("bob", ["ops"]).scopes == {"view", "control"}
    assert roles.grant("alice", ["readers"]).scopes == {"view", "control"}
    assert roles.grant("carol", ["readers", "ops2"]).scopes == {"view"}
    assert roles.grant("ops", ["alice", ""]).scopes == frozenset(), "a group is no name, and a name no group"
    assert roles.grant("@ops", []).name == "@ops"
    assert Roles([], ["*"]).grant("anybody", []).scopes == {"view", "control"}
    assert roles.relevant(["x", "ops", "readers"]) == ["ops", "readers"]


def test_a_proxy_tells_who_views_and_who_changes(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        await site.app.state.store.add_token(TokenRow("t", "ci", "view", digest_of("ci"), 1))
        for headers, reading, changing in (
            ({}, 401, 401),
            (called("bob"), 200, 403),
            (called("alice"), 200, 202),
            (called("bob", "x, ops"), 200, 202),
            (called("alice", secret="another secret"), 401, 401),
            ({"X-User": "alice"}, 401, 401),
            (called(""), 403, 403),
            (called("x" * 300), 403, 403),
            # A program's token counts, whatever the proxy adds.
            ({**called("alice"), "Authorization": "Bearer ci"}, 200, 403),
            ({**called("alice"), "Authorization": "Bearer guess"}, 401, 401),
        ):
            assert (await site.client.get("/api/v1/runs", headers=headers)).status_code == reading, headers
            answer = await site.client.put(CONTROL, json={"value": 5}, headers=headers)
            assert answer.status_code == changing, (headers, answer.text)
        several = [("X-User", "alice"), ("X-User", "bob"), (SECRET_HEADER, SECRET)]
        assert (await site.client.get("/api/v1/runs", headers=several)).status_code == 403
        meta = (await site.client.get("/api/v1/meta", headers=called("bob"))).json()
        assert (meta["scope"], meta["tokens"]) == ("view", True)
        audit = (await site.client.get("/api/v1/runs/r/commands", headers=called("bob"))).json()["commands"]
        assert {one["requested_by"] for one in audit} == {"alice", "bob"}

    ask(tmp_path, scenario, **options(tmp_path))


def test_the_header_of_another_peer_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(site: Site) -> None:
        answer = await site.client.get("/api/v1/runs", headers=called("alice"))
        assert answer.status_code == 401
        forwarded = {**called("alice"), "X-Forwarded-For": "10.0.0.5", "Forwarded": "for=10.0.0.5"}
        assert (await site.client.get("/api/v1/runs", headers=forwarded)).status_code == 401

    caplog.set_level(logging.WARNING)
    ask(tmp_path, scenario, **options(tmp_path, auth_proxy_from=("10.0.0.5",)))
    assert "did not send the secret" not in caplog.text


@pytest.mark.slow
def test_the_peer_is_that_of_the_connection(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    arguments = ["--auth-proxy-header", "X-User", "--auth-proxy-secret-file", str(tmp_path / "secret")]
    arguments += ["--auth-view", "bob", "--host", "0.0.0.0"]
    for peer, expected in (("127.0.0.1", 200), ("10.0.0.5", 401)):
        with serve(tmp_path / "data", *arguments, "--auth-proxy-from", peer) as server:
            url = f"http://127.0.0.1:{server.url.rpartition(':')[2]}"
            headers = {**called("bob"), "X-Forwarded-For": "10.0.0.5"}
            assert httpx.get(f"{url}/api/v1/runs", headers=headers).status_code == expected
            if expected == 200:
                with connect(f"{url.replace('http', 'ws')}/ws/live", additional_headers=headers) as live:
                    assert json.loads(live.recv(timeout=30))["type"] == "hello"


def test_a_proxy_that_nobody_can_trust_is_refused(tmp_path: Path) -> None:
    roles = Roles([], [])
    assert open_proxy_header(settings(tmp_path), roles) is None
    whole = options(tmp_path)
    for missing in ("auth_proxy_from", "auth_proxy_secret_file"):
        given = {name: value for name, value in whole.items() if name != missing}
        with pytest.raises(ValueError, match="without them any client could claim to be any user"):
            open_proxy_header(settings(tmp_path, **given), roles)
    with pytest.raises(ValueError, match=r"--auth-proxy-from: expected an address or a network .*'10.0.0.5/8'"):
        open_proxy_header(settings(tmp_path, **{**whole, "auth_proxy_from": ("10.0.0.5/8",)}), roles)
    (tmp_path / "secret").write_text("short\n")
    with pytest.raises(StoreError, match="at least 16 printable characters"):
        open_proxy_header(settings(tmp_path, **whole), roles)
    (tmp_path / "secret").unlink()
    with pytest.raises(StoreError, match="--auth-proxy-secret-file: expected a file with a secret"):
        open_proxy_header(settings(tmp_path, **whole), roles)
