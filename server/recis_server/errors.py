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
│   └── StoreLost       503  the database that was opened is not there any more
├── Busy                503  worth another try
└── StoreError          500  a store that cannot be used at all
"""

# Leaves are named for what happened, as the answer says it; an Error suffix would add nothing.
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
    """Root of all errors that the server raises on purpose.

    Attributes:
        code: a stable word for programs.
        status: the HTTP status.
        message: a sentence for people.
        field: the argument that was wrong, None where no single one was.
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
    """There is no such run, trace, control, command or page."""

    code = "not_found"
    status = 404


class InvalidValue(ServerError):
    """A value outside of what was declared or asked for; nothing was stored."""

    code = "invalid"
    status = 422

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message, field=field)


class Conflict(ServerError):
    """The state of things forbids the call."""

    code = "conflict"
    status = 409


class NotConnected(Conflict):
    """The run is not connected now and the caller did not want the command to wait."""

    code = "not_connected"


class Unauthorised(ServerError):
    """No token, or one that is not known."""

    code = "unauthorised"
    status = 401


class Forbidden(ServerError):
    """A known token without the scope, or a `Host` or `Origin` that is not ours."""

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
    """The store could not commit now (full disk, closing); nothing of the batch is stored."""

    code = "unavailable"
    status = 503
    retry = True


class Busy(ServerError):
    """There are as many of these already as there may be."""

    code = "unavailable"
    status = 503
    retry = True


class StoreLost(StoreUnavailable):
    """The database that was opened is gone, or another one is in its place; nothing is read, written or acknowledged.

    Attributes:
        detail: what and where, for the server's log; `message` tells strangers no place.
    """

    def __init__(self, message: str, *, detail: str) -> None:
        super().__init__(message)
        self.detail = detail


class StoreError(ServerError):
    """The store cannot be used: a newer schema, a place that is locked or not writable, a broken file."""

    code = "store"
