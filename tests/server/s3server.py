"""An S3 server in a process of its own, with one bucket: that of moto, which keeps objects in its memory."""

import http.client
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from scripts.ports import free_port
from tests.e2e.processes import until

__all__ = ["BUCKET", "S3Server", "s3_server"]

BUCKET = "traces"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key-of-the-test", "AWS_SECRET_ACCESS_KEY": "secret-of-the-test"}
_SIGNED = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=none"


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    port: int

    def url(self, place: str = f"{BUCKET}/some/prefix", port: int | None = None) -> str:
        """The URL for `--blobs`; `port` is that of a proxy."""
        return f"s3://{place}?endpoint=http://127.0.0.1:{port or self.port}&region=us-east-1"

    def ask(self, method: str, path: str, body: str = "") -> bytes:
        """The body of an answer of the server, which checks no signatures unless it is asked to."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {"Authorization": _SIGNED, "Content-Type": "text/plain"})
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status < 300, content
            return content
        finally:
            connection.close()

    def checks_credentials(self, *, checks: bool) -> None:
        """Whether requests from now on need the credentials of a user of this server, of which it has none."""
        self.ask("POST", "/moto-api/reset-auth", "0" if checks else "inf")


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run the server until the block ends."""
    server = S3Server(free_port())
    command = [sys.executable, "-m", "moto.server", "-p", str(server.port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def has_bucket() -> bool:
        assert process.poll() is None, "moto has ended"
        with suppress(OSError):
            server.ask("PUT", f"/{BUCKET}")
            return True
        return False

    try:
        until(has_bucket, 60, "the S3 server answers")
        yield server
    finally:
        process.terminate()
        process.wait(30)
