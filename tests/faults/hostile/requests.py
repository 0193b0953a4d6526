"""Requests with odd paths, queries, headers, cookies and bodies."""

import http.client
import json

from tests.faults.hostile.attack import GOOD, NUMBERS, RUNS, STATUSES, TEXTS, WAIT_S, Attack

__all__ = ["Requests"]


class Requests(Attack):
    """Requests with odd paths, queries, headers, cookies and bodies."""

    kind = "requests"
    PATHS = (
        "/", "/run/x", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/static/x", "/abc/def", "/ws/live",
        "/api/v1/meta", "/api/v1/runs", "/api/v1/runs/{}", "/api/v1/runs/{}/metrics", "/api/v1/runs/{}/series?key=loss",
        "/api/v1/runs/{}/export?format=csv", "/api/v1/runs/{}/filters", "/api/v1/runs/{}/events",
        "/api/v1/runs/{}/controls", "/api/v1/runs/{}/controls/lr_scale", "/api/v1/runs/{}/commands",
        "/api/v1/runs/{}/traces", "/api/v1/traces/{}/download",
    )  # fmt: skip
    QUERIES = ("limit", "cursor", "sort", "fields", "metric", "rank", "start", "stop", "points", "key", "format",
               "token", "q", "state", "queue", "table", "superseded")  # fmt: skip
    HEADERS = ("Cookie", "Origin", "Host", "Authorization", "Accept", "Range", "If-Range", "If-None-Match",
               "Accept-Encoding", "X-Forwarded-Proto", "Content-Type", "Expect", "Upgrade")  # fmt: skip

    def turn(self) -> None:
        """Send some requests over one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            for _ in range(self.chance.randrange(1, 6)):
                self.ask(connection)
        except (http.client.RemoteDisconnected, ConnectionError):
            self.replies["gone"] += 1  # after an answer that closes
        finally:
            connection.close()

    def ask(self, connection: http.client.HTTPConnection) -> None:
        path = self.chance.choice(self.PATHS).replace(
            "{}", self.word() if self.chance.random() < 0.3 else self.chance.choice(RUNS)
        )
        for _ in range(self.chance.randrange(4)):
            path += f"{'&' if '?' in path else '?'}{self.chance.choice(self.QUERIES)}={self.word()}"
        method = self.chance.choice(["GET"] * 6 + ["HEAD", "PUT", "PATCH", "DELETE", "POST", "OPTIONS", "TRACE", "X"])
        connection.putrequest(method, path, skip_host=True)
        headers = {"Host": f"127.0.0.1:{self.port}"}
        headers |= {self.chance.choice(self.HEADERS): self.header() for _ in range(self.chance.randrange(3))}
        body = b""
        if method in ("PUT", "PATCH", "POST") or self.chance.random() < 0.05:
            tree = {"value": 1.0, "reason": "r", "name": "n", "tags": ["a"], "notes": "", "id": "c"}
            body = self.either(json.dumps(self.changed(tree), default=str).encode(), 0.3)
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in headers.items():
            connection.putheader(name, value.encode("latin-1", "replace"))
        connection.endheaders(body or None)
        answer = connection.getresponse()
        text = answer.read()
        if str(answer.status) in GOOD:
            self.expect(True, str(answer.status))
            return
        code = ""
        if text and "json" in answer.headers.get("content-type", ""):
            code = json.loads(text)["error"]["code"]
            self.expect((str(answer.status), code) in STATUSES, f"{answer.status} {code}")
        else:
            self.expect(str(answer.status) in {status for status, _ in STATUSES}, str(answer.status))

    def word(self) -> str:
        text = self.chance.choice([*map(str, NUMBERS), *TEXTS, "all", "band", "jsonl", "9" * 5000])
        return "".join(
            char if char.isalnum() and char.isascii() else "".join(f"%{b:02x}" for b in char.encode()) for char in text
        )

    def header(self) -> str:
        name = f"recis_monitor_{self.port}"
        return self.chance.choice(
            [
                f'{name}={{"a": [1, "b;c"]}}; {name}="x', "=; ;;a", "\u00e9=\u00ff", f"{name}=%ff%00", "x" * 20_000,
                "bytes=9-1", "bytes=0-99999999999999999999", "bytes=-", "null", "http://evil.example",
                "Bearer " + "y" * 900, "text/html", "application/octet-stream", 'W/"x", *', "127.0.0.1:99999",
                "websocket", "100-continue", "gzip;q=x",
            ]
        )  # fmt: skip
