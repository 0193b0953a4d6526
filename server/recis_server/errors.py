"""The server's error tree: what can go wrong, with its HTTP status. `recis_server.refusals` makes answers of them.

ServerError
├── InvalidValue        422
├── NotFound            404
├── Conflict            409
│   └── NotConnected    409
├── Unauthorised        401
├── Forbidden           403
├── RequestTimeout      408
├── TooLarge            413
├── HeadTooLarge        431
├── StoreUnavailable    503  worth another try
│   └── StoreLost       503  the opened database was removed or replaced
├── Busy                503  worth another try
└── StoreError          500  a store that cannot be used at all
"""

# Leaves are named after what happened, as in the answer; an Error suffix would add nothing.
# ruff: noqa: N818

from typing import ClassVar

__all__ = [
    "Busy",
    "Conflict",
    "Forbidden",
    "HeadTooLarge",
    "InvalidValue",
    "NotConnected",
    "NotFound",
    "RequestTimeout",
    "ServerError",
    "StoreError",
    "StoreLost",
    "StoreUnavailable",
    "TooLarge",
    "Unauthorised",
]


class ServerError(Exception):
    """The root of all errors that the server raises on purpose.

    Attributes:
        code: a stable identifier for programs.
        status: the HTTP status.
        message: a sentence for people.
        field: the invalid argument, None if no single argument is at fault.
        retry: whether the same call may succeed later.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retry: ClassVar[bool] = False

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class NotFound(ServerError):
    """No such run, trace, control, command or page."""

    code = "not_found"
    status = 404


class InvalidValue(ServerError):
    """A value outside its declared or expected range; nothing was stored."""

    code = "invalid"
    status = 422

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message, field=field)


class Conflict(ServerError):
    """The current state does not permit the call."""

    code = "conflict"
    status = 409


class NotConnected(Conflict):
    """The run is not connected and the caller did not allow the command to wait."""

    code = "not_connected"


class Unauthorised(ServerError):
    """No token, or an invalid one."""

    code = "unauthorised"
    status = 401


class Forbidden(ServerError):
    """A valid token without the scope, or a `Host` or `Origin` that is not accepted."""

    code = "forbidden"
    status = 403


class RequestTimeout(ServerError):
    """A body that did not arrive in time."""

    code = "timeout"
    status = 408
    retry = True


class TooLarge(ServerError):
    """A body above the limit."""

    code = "too_large"
    status = 413


class HeadTooLarge(ServerError):
    """Headers above the limit."""

    code = "too_large"
    status = 431


class StoreUnavailable(ServerError):
    """The store cannot commit now (full disk, closing); nothing of the batch is stored."""

    code = "unavailable"
    status = 503
    retry = True


class Busy(ServerError):
    """The maximum number is reached."""

    code = "unavailable"
    status = 503
    retry = True


class StoreLost(StoreUnavailable):
    """The opened database was removed or replaced; nothing is read, written or acknowledged.

    Attributes:
        detail: what and where, for the server's log; `message` discloses no location.
    """

    def __init__(self, message: str, *, detail: str) -> None:
        super().__init__(message)
        self.detail = detail


class StoreError(ServerError):
    """The store cannot be used: a newer schema, a location that is locked or not writable, a damaged file."""

    code = "store"
