"""The server's settings: command line options override environment variables, which override defaults.

The only file of this package that reads the environment (`RECIS_MONITOR_DATA`, `RECIS_MONITOR_HOST` and so on, one name
per field). All other modules receive values.
"""

import ipaddress
from pathlib import Path
from urllib.parse import quote

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["LOOPBACK_NAMES", "Settings"]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Settings(BaseSettings):
    """The settings of one server; frozen."""

    model_config = SettingsConfigDict(env_prefix="RECIS_MONITOR_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(default=8765, ge=0, le=65535)
    data: Path = Path("recis-data")
    store: str = ""
    retain_raw: tuple[str, ...] = ()
    max_lines: int = Field(default=100_000, ge=100, le=100_000_000)
    """Log lines of a run; the oldest beyond are deleted."""

    bus: str = "memory://"
    blobs: str = ""
    token_file: Path | None = None
    auth_view: tuple[str, ...] = ()
    auth_control: tuple[str, ...] = ()
    auth_proxy_header: str = ""
    auth_proxy_groups_header: str = "X-Forwarded-Groups"
    auth_proxy_from: tuple[str, ...] = ()
    auth_proxy_secret_file: Path | None = None
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret_file: Path | None = None
    oidc_claim: str = "groups"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    root_path: str = ""
    insecure: bool = False
    allow_host: tuple[str, ...] = ()
    ping_interval: float = Field(default=20.0, ge=0.1, le=3600.0)
    """Seconds between two pings on a socket; shorter than a proxy's idle timeout."""

    command_wait: float = Field(default=7 * 86_400.0, ge=1.0, le=366 * 86_400.0)
    """Seconds for which a command waits for a rank that is away."""

    @field_validator("root_path")
    @classmethod
    def _one_slash_in_front(cls, value: str) -> str:
        path = value.strip("/")
        return f"/{path}" if path else ""

    @property
    def store_url(self) -> str:
        """Return `--store`, or the file in the data folder."""
        return self.store or f"sqlite:///{quote(str(self.data / 'recis.db'))}"

    @property
    def blobs_url(self) -> str:
        """Return `--blobs`, or the folder in the data folder."""
        return self.blobs or f"file://{quote(str(self.data / 'blobs'))}"

    @property
    def is_loopback(self) -> bool:
        """Return whether only this machine can connect."""
        if self.host in LOOPBACK_NAMES:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_wildcard(self) -> bool:
        """Return whether the server listens on every address of the machine."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return self.host == ""
