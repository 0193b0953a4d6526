import asyncio
import stat
import time
from pathlib import Path

import pytest
from recis_server import access as module
from recis_server.access import Access, Grant, Hosts, digest_of, make_token, read_token_file, strongest
from recis_server.errors import Forbidden, StoreError, Unauthorised
from recis_server.store.values import TokenRow

from tests.server.httpserver import settings
from tests.server.realserver import until_async
from tests.server.store.streams import opened


def test_a_token_file_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = read_token_file(path)
    assert len(token) >= 32
    assert read_token_file(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
def test_a_token_file_without_a_token_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="--token-file"):
        read_token_file(path)
    with pytest.raises(StoreError, match="--token-file"):
        read_token_file(tmp_path / "nowhere" / "token")


def test_scopes_say_who_may_do_what(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            assert (await Access(store, None).grant([])).scopes == {"view", "control", "write"}
            tokens = {scope: make_token() for scope in ("view", "control", "write")}
            for scope, token in tokens.items():
                await store.add_token(TokenRow(scope, "", scope, digest_of(token), 1))
            access = Access(store, "master")
            assert (await access.grant(["master"])).scopes == {"view", "control", "write"}
            assert (await access.grant([tokens["control"]])).scopes == {"view", "control"}
            assert (await access.require(["guess", tokens["view"]], "view")).scopes == {"view"}
            for scope, token in (("control", tokens["view"]), ("view", tokens["write"]), ("write", tokens["control"])):
                with pytest.raises(Forbidden):
                    await access.require([token], scope)  # type: ignore[arg-type]
            for nothing in ([], [""], ["guess"], [tokens["view"] + "x"], ["\ud800"]):
                with pytest.raises(Unauthorised):
                    await access.require(nothing, "view")
            # Once closed, it stays closed, whatever is revoked.
            for scope in tokens:
                await store.delete_token(scope)
            closed = Access(store, "master")
            assert (await closed.grant([])).scopes == frozenset()

    asyncio.run(scenario())


def test_an_expired_token_opens_nothing_and_ends_what_it_holds(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            access = Access(store, None)
            await access.open()
            now_ns = time.time_ns()
            await store.add_token(TokenRow("old", "", "view", digest_of("old"), 1, now_ns))
            await store.add_token(TokenRow("new", "", "view", digest_of("new"), 1, now_ns + 10**9))
            assert (await access.grant(["old"])).scopes == frozenset()
            with pytest.raises(Unauthorised, match="expired"):
                await access.require(["old"], "view")
            grant = await access.require(["new"], "view")
            await store.close()  # what is known of the tokens stays, and so does the time
            with pytest.raises(Unauthorised, match="expired"):
                async with asyncio.timeout(60), access.held(grant):
                    await asyncio.Event().wait()
            assert (await access.grant(["new"])).scopes == frozenset()
            assert time.time_ns() >= now_ns + 10**9
            assert access.is_closed
            await access.close()

    asyncio.run(scenario())


def test_the_last_use_of_a_token_is_stored_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            for token in ("used", "held", "unused"):
                await store.add_token(TokenRow(token, "", "view", digest_of(token), 1))

            async def times() -> dict[str, int | None]:
                return {row.id: row.used_ns for row in await store.tokens()}

            access = Access(store, None)
            await access.open()
            began_ns = time.time_ns()
            async with access.held(await access.grant(["held"])):
                await access.grant(["used"])
                assert set((await times()).values()) == {None}, "not with each request"
                monkeypatch.setattr(module, "NOTE_S", 0.0)
                first: dict[str, int | None] = {}

                async def is_noted() -> bool:
                    first.update(await times())
                    return None not in (first["used"], first["held"])

                async def is_noted_again() -> bool:
                    return (await times())["held"] != first["held"]

                await until_async(is_noted, 60)
                await until_async(is_noted_again, 60)  # in use for as long as it is held
            monkeypatch.setattr(module, "NOTE_S", 60.0)
            await access.grant(["used"])
            await access.close()
            last = await times()
            assert last["unused"] is None
            assert last["used"] is not None
            assert first["used"] is not None
            assert last["used"] > first["used"] >= began_ns
            await store.note_token_use({digest_of("used"): 5})
            assert (await times())["used"] == last["used"], "an earlier time changes nothing"

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_session_ends_at_every_server_and_a_person_has_a_bounded_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SESSIONS", 3)

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            here, there = Access(store, None, is_closed=True), Access(store, None, is_closed=True)
            await here.open()
            await there.open()
            await here.begin_session("alice", digest_of("one"), 60)
            assert await there.has_session(digest_of("one")), "read when it is needed"
            grant = Grant(frozenset({"view"}), digest_of("one"), "alice", is_session=True)

            async def connection() -> None:
                async with there.held(grant):
                    await here.end_session(digest_of("one"))
                    await asyncio.Event().wait()

            with pytest.raises(Unauthorised, match="session of this connection has ended; sign in again"):
                await connection()
            assert not await there.has_session(digest_of("one"))
            await here.end_session(digest_of("one"))
            # The oldest of a person beyond the limit ends; expired ones are deleted, of whomever they are.
            await here.begin_session("bob", digest_of("bob"), 60)
            await here.begin_session("carol", digest_of("carol"), 0)
            await store.add_token(TokenRow("t", "ci", "view", digest_of("ci"), 1, 2))
            for number in range(4):
                await here.begin_session("alice", digest_of(f"{number}"), 60)
            assert [row.name for row in await store.tokens()] == ["ci", "bob", "alice", "alice", "alice"]
            assert not await there.has_session(digest_of("0"))
            assert await there.has_session(digest_of("3"))
            assert not (await there.grant(["3"])).scopes, "a session's secret is no token"
            await here.close()
            await there.close()
            used = {row.digest: row.used_ns for row in await store.tokens()}
            assert used[digest_of("3")] is not None

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_the_strongest_scope_is_shown() -> None:
    assert strongest(frozenset({"view", "control", "write"})) == "control"
    assert strongest(frozenset({"write"})) == "write"


@pytest.mark.parametrize(
    ("bound", "host", "origin"),
    [
        ("127.0.0.1", "127.0.0.1:8765", None),
        ("127.0.0.1", "LOCALHOST", "http://localhost"),
        ("127.0.0.1", "[::1]:1", "http://[::1]:1"),
        ("127.0.0.1", "monitor.example", "http://monitor.example"),
        ("gpu7", "gpu7:80", "http://gpu7:80"),
        ("0.0.0.0", "10.1.2.3:8765", "http://10.1.2.3:8765"),
        ("::", "[fe80::1]:8765", None),
        ("127.0.0.1", "127.0.0.1:8765", "http://monitor.example:8765"),
        ("127.0.0.1", "127.0.0.1:8765", "https://proxy.example"),
        ("127.0.0.1", "proxy.example", "https://proxy.example"),
        ("127.0.0.1", "proxy.example:8443", "http://proxy.example:8443"),
        ("127.0.0.1", "localhost.:8765", "http://LOCALHOST:8765"),
        ("127.0.0.1", "[0:0:0:0:0:0:0:1]:80", "http://[::1]"),
        ("::1", "[::1]", "http://[::1]:80"),
    ],
)
def test_own_names_and_origins_pass(tmp_path: Path, bound: str, host: str, origin: str | None) -> None:
    Hosts(settings(tmp_path, host=bound, allow_host=("Monitor.example", "https://Proxy.example"))).check(host, origin)


@pytest.mark.parametrize(
    ("bound", "host", "origin"),
    [
        ("127.0.0.1", None, None),
        ("127.0.0.1", "", None),
        ("127.0.0.1", "evil.example", None),
        ("127.0.0.1", "10.1.2.3", None),
        ("127.0.0.1", "127.0.0.1.evil.example", None),
        ("127.0.0.1", "evil.example#127.0.0.1", None),
        ("127.0.0.1", "evil.example@127.0.0.1", None),
        ("127.0.0.1", "127.0.0.1:port", None),
        ("0.0.0.0", "evil.example", None),
        ("127.0.0.1", "127.0.0.1:8765", "http://evil.example"),
        ("127.0.0.1", "127.0.0.1:8765", "http://127.0.0.1:9999"),
        ("127.0.0.1", "127.0.0.1:8765", "null"),
        ("127.0.0.1", "127.0.0.1:8765", ""),
        ("127.0.0.1", "127.0.0.1:8765", "file://127.0.0.1:8765"),
        ("127.0.0.1", "127.0.0.1:8765", "https://127.0.0.1:8765"),
        ("127.0.0.1", "127.0.0.1", "http://127.0.0.1:8080"),
        ("127.0.0.1", "127.0.0.1:8765", "http://127.0.0.1:8765/"),
        ("127.0.0.1", "127.0.0.1:8765", "http://user@127.0.0.1:8765"),
        ("127.0.0.1", "127.0.0.1:8765", "http://127.0.0.1:8765, http://127.0.0.1:8765"),
        ("127.0.0.1", "127.0.0.1/evil.example", None),
        ("127.0.0.1", "127.0.0.1\\.evil.example", None),
        ("127.0.0.1", "user:pass@127.0.0.1", None),
        ("127.0.0.1", "[::1", None),
        ("127.0.0.1", "127.0.0.1:123456", None),
        ("127.0.0.1", "monitor.example:8765", "http://monitor.example:9999"),
        ("127.0.0.1", "monitor.example:8765", "https://monitor.example:8765"),
        ("127.0.0.1", "monitor.example", "https://monitor.example"),
        ("127.0.0.1", "127.0.0.1:8765", "http://monitor.example"),
        ("127.0.0.1", "127.0.0.1:8765", "https://monitor.example:8765"),
        ("127.0.0.1", "127.0.0.1:8765", "http://proxy.example:8765"),
        ("127.0.0.1", "127.0.0.1:8765", "https://proxy.example:8443"),
    ],
)
def test_foreign_names_and_origins_are_refused(
    tmp_path: Path, bound: str, host: str | None, origin: str | None
) -> None:
    with pytest.raises(Forbidden):
        Hosts(settings(tmp_path, host=bound, allow_host=("monitor.example", "https://proxy.example"))).check(
            host, origin
        )


@pytest.mark.parametrize(
    "text", ["", "a b", "name:8765", "ftp://name", "https://", "https://name/path", "https://u@name", "a/b", "[::1"]
)
def test_an_allowed_host_is_a_name_or_an_origin(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="--allow-host"):
        Hosts(settings(tmp_path, allow_host=(text,)))
