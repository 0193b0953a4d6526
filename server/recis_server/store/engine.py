"""What a database engine is to the store: connections of one shape, a schema, a lock, and how it fails.

Two engines have this shape (`sqlite`, `postgres`); what is written above it in SQL stays within what both understand,
with `?` for parameters. Must not know tables or rows.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

__all__ = ["Connection", "Cursor", "Engine"]


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

    def open(self, *, exclusive: bool) -> None:
        """Makes the database ready: where it lies, who else may use it, its tables.

        Args:
            exclusive: whether the caller is the server of this database, of which there is one.

        Raises:
            StoreError: it cannot be reached or written, has another server, or was written by a newer version.
        """

    def close(self) -> None:
        """Lets others be the server; safe to call twice."""

    def connect_writer(self) -> Connection:
        """A connection that may write."""

    def connect_reader(self) -> Connection:
        """A connection whose transactions see one state of the database and cannot write."""

    def begin_write(self, connection: Connection) -> None:
        """Begins a transaction that writes; waits for others that do."""

    def begin_read(self, connection: Connection) -> None:
        """Begins a transaction that sees one state of the database."""

    def rollback(self, connection: Connection) -> None:
        """Ends whatever transaction is left; never raises what `failures` has."""

    def give_back(self, connection: Connection) -> bool:
        """Returns a small piece of freed space to the file system; False when there is none left to return."""

    def make_room(self, connection: Connection, *, reserve: bool) -> bool:
        """After a transaction has failed, perhaps for want of room: finds some; False when that made no difference.

        Outside of a transaction; never raises what `failures` has. With `reserve` it lets go of what is held back for
        removals; `give_back` holds it back again when there is room.
        """
