"""The interface of a database engine: connections, a schema, a lock, and its failures.

Two engines implement it (`sqlite`, `postgres`); SQL above them is restricted to what both understand, with `?` for
parameters. Must not know tables or rows.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

__all__ = ["Anchor", "Connection", "Cursor", "Engine"]


class Anchor(NamedTuple):
    """The open database, for another process to work on the same one: its identity, and its file if it has one."""

    identity: int
    file: tuple[int, ...] = ()


class Cursor(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int:
        """The number of changed rows."""

    def fetchone(self) -> Any:
        """Return the next row as a tuple, None at the end."""

    def fetchall(self) -> list[Any]:
        """Return all remaining rows as tuples."""

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """One connection in autocommit mode, used by one thread at a time; SQL statements control transactions."""

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor:
        """Execute one statement."""

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> Any:
        """Execute one statement once per row."""

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""


class Engine(Protocol):
    """One database.

    Attributes:
        is_shared: whether other servers may write to it at the same time.
        server_name: distinguishes a server that has opened it from others.
    """

    is_shared: bool
    server_name: str

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """The driver's exceptions that a statement may raise for reasons of the engine."""

    def open(self, *, exclusive: bool, anchor: Anchor | None = None) -> Anchor:
        """Prepare the database: its location, its lock, its tables.

        Args:
            exclusive: whether the caller is a server of this database, of which there is one unless it `is_shared`.
            anchor: the database that it has to be; then none is created.

        Raises:
            StoreError: it cannot be reached or written, has another server, or was written by a newer version.
            StoreLost: it is not the database of `anchor`.
        """

    def close(self) -> None:
        """Release the lock; safe to call twice."""

    def connect_writer(self) -> Connection:
        """Return a connection that may write."""

    def connect_reader(self) -> Connection:
        """Return a read-only connection whose transactions see one snapshot of the database."""

    def begin_write(self, connection: Connection, runs: Collection[str] = ()) -> None:
        """Begin a write transaction; wait for all others that change one of these runs. Raise like `check`.

        A transaction that changes rows of a run has to name it. An engine may make it wait for further ones.
        """

    def other_servers(self, connection: Connection) -> frozenset[str]:
        """Return the names of the other servers that have the database open, as far as they can be seen."""

    def try_lease(self, connection: Connection, name: str) -> bool:
        """Reserve a name for the session of a connection, outside transactions; return False if another session has it.

        The reservation ends with `end_lease` or with the session, which an engine with several servers ends itself
        within 30 s if it is not used. A session that has the name already must not ask for it again.
        """

    def end_lease(self, connection: Connection, name: str) -> None:
        """End a reservation."""

    def is_alive(self, connection: Connection) -> bool:
        """Return whether the session of a connection, and with it its reservations, still exists."""

    def begin_read(self, connection: Connection) -> None:
        """Begin a transaction on one snapshot of the database. Raise like `check`."""

    def check(self) -> None:
        """Check that the opened database is still there; also called after every commit, before it is acknowledged.

        Raises:
            StoreLost: the opened database was removed or replaced.
        """

    def let_go(self, connection: Connection) -> None:
        """Leave nothing behind that could harm a database put in its place; called after `StoreLost`, before the writer
        is closed.

        Call it outside transactions; it never raises `failures`.
        """

    def inspect(self, connection: Connection) -> None:
        """Read something of every table, and all of a small database.

        Raises:
            Exception: one of the engine's failures.
        """

    def explain(self, error: Exception) -> str:
        """Describe one of `failures` without hosts, paths or user names."""

    def rollback(self, connection: Connection) -> None:
        """Roll back any open transaction; never raise `failures`."""

    def give_back(self, connection: Connection) -> bool:
        """Return a small piece of freed space to the file system; return False if none is left."""

    def make_room(self, connection: Connection, *, reserve: bool) -> bool:
        """Try to free space after a transaction has failed; return False if there is nothing to free.

        Call it outside transactions; it never raises `failures`. With `reserve`, also release the space reserved for
        removals; `give_back` reserves it again when there is room.
        """
