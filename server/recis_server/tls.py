"""The server's certificate: loaded from the files of `--tls-cert` and `--tls-key`, and again when they change.

Owns the files and the SSL context that new connections use; must not know what is sent over them. A renewed certificate
is for new connections only: open ones keep the one with which they began.

    async with certificate(cert, key) as context:      # None without files
        ...
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from recis_server.errors import StoreError

__all__ = ["certificate"]

_logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""Interval at which the files are checked for changes."""
_EXPIRED = 10
_NOT_YET_VALID = 9
"""X509_V_ERR_CERT_HAS_EXPIRED and X509_V_ERR_CERT_NOT_YET_VALID of OpenSSL."""


@contextlib.asynccontextmanager
async def certificate(cert: Path | None, key: Path | None) -> AsyncIterator[ssl.SSLContext | None]:
    """Provide the context of a server, and reload its certificate whenever the files change.

    Args:
        cert: the certificate and its chain as PEM.
        key: the private key of the certificate as PEM, without a password.

    Raises:
        ValueError: one file without the other.
        StoreError: a file cannot be read, the key belongs to another certificate, or the certificate is not valid now.
    """
    if cert is None and key is None:
        yield None
        return
    if cert is None or key is None:
        missing = "--tls-cert" if cert is None else "--tls-key"
        raise ValueError(f"{missing}: expected a file; TLS needs both --tls-cert and --tls-key")
    files = _Files(cert, key)
    task = asyncio.create_task(files.follow(), name="certificate")
    try:
        yield files.context
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class _Files:
    """A certificate and its key.

    Attributes:
        context: hands each new connection to the context of the certificate that is in the files.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert = cert
        self._key = key
        self._loaded = self._stamp()
        self._current = self.context = _load(cert, key)
        self.context.sni_callback = self._choose

    async def follow(self) -> None:
        """Load the files again whenever they have changed."""
        seen = self._loaded
        while True:
            await asyncio.sleep(LOOK_S)
            # A change counts once it is seen twice: certificate and key are not renewed at the same moment.
            before, seen = seen, await asyncio.to_thread(self._stamp)
            if seen == before != self._loaded:
                self._loaded = seen
                try:
                    self._current = await asyncio.to_thread(_load, self._cert, self._key)
                    _logger.info("loaded the certificate in %s again", self._cert)
                except StoreError as error:
                    _logger.error("the previous certificate stays in use: %s", error.message)  # noqa: TRY400 - one line

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._cert, self._key))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return values that differ after a file is written or replaced; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _load(cert: Path, key: Path) -> ssl.SSLContext:
    """Return a context with this certificate; raise `StoreError`."""
    for option, path in (("--tls-cert", cert), ("--tls-key", key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise StoreError(f"{option}: expected a file that can be read, got {path}: {error.strerror}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password=lambda: "")  # without it, OpenSSL would ask on the terminal
    except (ssl.SSLError, OSError) as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise StoreError(
                f"--tls-key: expected the key of the certificate in {cert}, got another in {key}"
            ) from error
        raise StoreError(
            "--tls-cert and --tls-key: expected a certificate and a private key without a password, both as PEM, got"
            f" others in {cert} and {key}"
        ) from error
    _check_dates(context, cert)
    return context


def _check_dates(context: ssl.SSLContext, cert: Path) -> None:
    """Raise `StoreError` if a client that trusts the certificate would refuse it because of its dates.

    A handshake in memory: Python's `ssl` reads the dates of a certificate only as those of a peer.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is trusted, whoever issued it
    client.load_verify_locations(cert)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(down, up), context.wrap_bio(up, down, server_side=True))
    try:
        for _ in range(3):
            for end in ends:
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
            raise StoreError(
                f"--tls-cert: expected a certificate that is valid now, got {cert}: {error.verify_message}"
            ) from error
    except ssl.SSLError:
        pass  # nothing that has to do with dates; clients say what they do not like
