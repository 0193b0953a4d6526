"""Bytes that are no HTTP, requests that never end, and WebSocket frames that are none."""

import base64
import socket

from tests.faults.hostile.attack import GOOD, STATUSES, WAIT_S, Attack, reset

__all__ = ["Sockets"]


class Sockets(Attack):
    """Bytes that are no HTTP, requests that never end, and WebSocket frames that are none."""

    kind = "sockets"

    def turn(self) -> None:
        """One connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S) as one:
            data = self.either(self.head(), 0.6)
            try:
                for start in range(0, len(data), 50 if self.chance.random() < 0.2 else len(data)):
                    one.sendall(data[start : start + 50] if len(data) > 50 else data)
                one.settimeout(0.1)
                answer = one.recv(1 << 16)
            except OSError:  # nothing to answer yet, or it was closed
                answer = b""
            if self.chance.random() < 0.3:
                reset(one)
        if answer.startswith(b"HTTP/1.1 "):
            status = answer[9:12].decode(errors="replace")
            self.expect(status in GOOD | {"101"} | {known for known, _ in STATUSES}, status)

    def head(self) -> bytes:
        host = f"Host: 127.0.0.1:{self.port}\r\n".encode()
        key = base64.b64encode(self.chance.randbytes(16))
        upgrade = b"GET %b HTTP/1.1\r\n%bUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %b\r\n" % (
            self.chance.choice([b"/ws/live", b"/ws/ingest", b"/ws/trace", b"/ws/x"]), host, key,
        )  # fmt: skip
        masked = b"".join(
            bytes((self.chance.randrange(256), 0x80 | size)) + bytes(4) + self.chance.randbytes(size)
            for size in (0, 5, 125)
        )
        return self.chance.choice(
            [
                upgrade + b"Sec-WebSocket-Version: 13\r\n\r\n" + masked,
                upgrade + b"Sec-WebSocket-Version: 99\r\n\r\n",
                b"GET /healthz HTTP/1.1\r\n" + host + b"\r\n" + b"GET / HTTP/1.1\r\n" + host + b"\r\n",
                b"PUT /api/v1/runs/x/controls/y HTTP/1.1\r\n"
                + host
                + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nffffffff\r\n",
                b"PATCH /api/v1/runs/x HTTP/1.1\r\n" + host + b"Content-Length: 1000\r\n\r\n{",
                b"GET / HTTP/1.1\r\n" + host + b"Cookie: " + b"a=b;" * 5000 + b"\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 3000,
                b"GET / HTTP/9.9\r\n\r\n",
                self.chance.randbytes(300),
            ]
        )
