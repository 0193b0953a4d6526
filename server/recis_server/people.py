"""Authenticated users: their access by name and group, and the header in which a proxy names them.

Owns `--auth-view`, `--auth-control` and `--auth-proxy-…`; must not know tokens or routes. A header counts only if it
comes from a configured address and with a shared secret, so that neither another machine nor another program behind the
same address can impersonate a user.
"""

import hmac
import ipaddress
import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from starlette.datastructures import Headers

from recis_server.access import GRANTS, Grant
from recis_server.errors import Forbidden, StoreError
from recis_server.settings import Settings

__all__ = ["SECRET_HEADER", "ProxyHeader", "Roles", "open_proxy_header", "read_secret"]

_logger = logging.getLogger(__name__)

SECRET_HEADER = "X-Recis-Monitor-Secret"  # noqa: S105 - the name of the header
MIN_SECRET_CHARS = 16
MAX_NAME_CHARS = 256


class Roles:
    """Users with access: names, `@GROUP`, or `*` for every authenticated user.

    Args:
        view: those who may read.
        control: those who may read and change live runs.
    """

    def __init__(self, view: Collection[str], control: Collection[str]) -> None:
        self._members: Mapping[str, frozenset[str]] = {"control": frozenset(control), "view": frozenset(view)}

    def grant(self, name: str, groups: Collection[str]) -> Grant:
        """Return the grant of a user; it has no scopes if the user has no role."""
        called = {"*", name, *(f"@{group}" for group in groups)}
        scope = next((scope for scope, members in self._members.items() if members & called), None)
        return Grant(frozenset() if scope is None else GRANTS[scope], name=name)

    def relevant(self, groups: Collection[str]) -> list[str]:
        """Return those groups that have a role."""
        named = frozenset().union(*self._members.values())
        return sorted(group for group in groups if f"@{group}" in named)


class ProxyHeader:
    """The header of a proxy that has authenticated its users.

    Args:
        names: the header with the name, and the one with groups, separated by commas.
        networks: the addresses from which they are accepted.
        secret: what the proxy sends in `SECRET_HEADER`.
        roles: what a person may do.
    """

    def __init__(
        self,
        names: tuple[str, str],
        networks: Collection[ipaddress.IPv4Network | ipaddress.IPv6Network],
        secret: str,
        roles: Roles,
    ) -> None:
        self._name, self._groups = names
        self._networks = tuple(networks)
        self._secret = secret.encode()
        self._roles = roles

    def grant(self, peer: str | None, headers: Headers) -> Grant | None:
        """Return the grant of the user whom the proxy names; None for a request that is not from the proxy.

        Args:
            peer: the address at the other end of the connection, regardless of headers.
            headers: of the request.

        Raises:
            Forbidden: several names, or one that is too long.
        """
        names = headers.getlist(self._name)
        if not names or not self._is_trusted(peer, headers):
            return None
        if len(names) > 1 or not 0 < len(name := names[0].strip()) <= MAX_NAME_CHARS:
            raise Forbidden(f"expected one {self._name} header of at most {MAX_NAME_CHARS} characters")
        groups = [group.strip() for text in headers.getlist(self._groups) for group in text.split(",")]
        return self._roles.grant(name, [group for group in groups if group])

    def _is_trusted(self, peer: str | None, headers: Headers) -> bool:
        try:
            address = ipaddress.ip_address(peer or "")
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)  # the form of IPv4 addresses on a socket for both families
        address = address if mapped is None else mapped
        if not any(address.version == network.version and address in network for network in self._networks):
            return False
        given = headers.getlist(SECRET_HEADER)
        if len(given) == 1 and hmac.compare_digest(given[0].encode("latin-1", "replace"), self._secret):
            return True
        _logger.warning("%s was ignored: %s did not send the secret in %s", self._name, address, SECRET_HEADER)
        return False


def read_secret(option: str, path: Path) -> str:
    """Return the first line of a file with a secret.

    Raises:
        StoreError: the file cannot be read, or its line is too short or not printable ASCII.
    """
    try:
        secret = path.read_text(encoding="ascii").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise StoreError(f"{option}: expected a file with a secret, got {path}: {reason}") from error
    if len(secret) < MIN_SECRET_CHARS or not secret.isprintable():
        raise StoreError(
            f"{option}: expected at least {MIN_SECRET_CHARS} printable characters in the first line of {path}"
        )
    return secret


def open_proxy_header(settings: Settings, roles: Roles) -> ProxyHeader | None:
    """Return the header of `--auth-proxy-header`, None without that option.

    Raises:
        ValueError: an address is invalid, or an option that belongs to it is missing.
        StoreError: the secret cannot be read.
    """
    if not settings.auth_proxy_header:
        return None
    if not settings.auth_proxy_from or settings.auth_proxy_secret_file is None:
        raise ValueError(
            "--auth-proxy-header: expected --auth-proxy-from ADDRESS and --auth-proxy-secret-file F with it; without"
            " them any client could claim to be any user"
        )
    networks = []
    for text in settings.auth_proxy_from:
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ValueError(
                f"--auth-proxy-from: expected an address or a network such as 10.0.0.0/8, got {text!r}: {error}"
            ) from None
    secret = read_secret("--auth-proxy-secret-file", settings.auth_proxy_secret_file)
    return ProxyHeader((settings.auth_proxy_header, settings.auth_proxy_groups_header), networks, secret, roles)
