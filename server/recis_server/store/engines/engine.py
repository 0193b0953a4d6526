"""What a database engine is to the store: connections of one shape, a schema, a lock, and how it fails.

Two engines have this shape (`sqlite`, `postgres`); what is written above it in SQL stays within what both understand,
with `?` for parameters. Must not know tables or rows.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

__all__ = ["Anchor", "Connection", "Cursor", "Engine"]


class Anchor(NamedTuple):
    """Which database is open, for another process that is to work on the same: its identity, and its file if any."""

    identity: int
    file: tuple[int, ...] = ()


class Cursor(Protocol):
    """What a statement has found or changed."""

    @property
    def rowcount(self) -> int:
        """How many rows it has changed."""

    def fetchone(self) -> Any:
        """The next row as a tuple, None at the end."""

    def fetchall(self) -> list[Any]:
        """All rows that are left, as tuples."""

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """One connection in autocommit mode, used by one thread at a time; transactions are said in SQL."""

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor:
        """Runs one statement."""

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> Any:
        """Runs one statement once per row."""

    def close(self) -> None:
        """Ends it; an open transaction is rolled back."""


class Engine(Protocol):
    """One database. `failures` are the driver's exceptions: all that a statement may raise for the engine's reasons."""

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """See the class."""

    def open(self, *, exclusive: bool, anchor: Anchor | None = None) -> Anchor:
        """Makes the database ready: where it lies, who else may use it, its tables.

        Args:
            exclusive: whether the caller is the server of this database, of which there is one.
            anchor: the database that it has to be; nothing is made then.

        Raises:
            StoreError: it cannot be reached or written, has another server, or was written by a newer version.
            StoreLost: it is not the one of `anchor`.
        """

    def close(self) -> None:
        """Lets others be the server; safe to call twice."""

    def connect_writer(self) -> Connection:
        """A connection that may write."""

    def connect_reader(self) -> Connection:
        """A connection whose transactions see one state of the database and cannot write."""

    def begin_write(self, connection: Connection) -> None:
        """Begins a transaction that writes; waits for others that do. Raises as `check`."""

    def begin_read(self, connection: Connection) -> None:
        """Begins a transaction that sees one state of the database. Raises as `check`."""

    def check(self) -> None:
        """Asked after every commit too, before it is acknowledged.

        Raises:
            StoreLost: the database that was opened is not there any more.
        """

    def let_go(self, connection: Connection) -> None:
        """After `StoreLost`, and before the writing connection is closed: leaves nothing to harm what has come instead.

        Outside of a transaction; never raises what `failures` has.
        """

    def inspect(self, connection: Connection) -> None:
        """Reads something of everything, and everything of a small database.

        Raises:
            Exception: one of the engine's failures.
        """

    def explain(self, error: Exception) -> str:
        """One of `failures` in words that anybody may read: without a host, a path or a name of a user."""

    def rollback(self, connection: Connection) -> None:
        """Ends whatever transaction is left; never raises what `failures` has."""

    def give_back(self, connection: Connection) -> bool:
        """Returns a small piece of freed space to the file system; False when there is none left to return."""

    def make_room(self, connection: Connection, *, reserve: bool) -> bool:
        """After a transaction has failed, perhaps for want of room: finds some; False when that made no difference.

        Outside of a transaction; never raises what `failures` has. With `reserve` it lets go of what is held back for
        removals; `give_back` holds it back again when there is room.
        """
