"""PostgreSQL as an engine: the tables of `schema` in its dialect, one lock, connections that come back.

Owns the driver, the dialect and the partitions; must not know rows. A URL is libpq's, and may say `partitions=N`: then
the large tables are hash-partitioned by run when they are made.
"""

import contextlib
import re
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.types.array import ListBinaryDumper
from psycopg.types.numeric import Int8BinaryDumper

from recis_server.errors import StoreError, StoreLost
from recis_server.store.engines import meta
from recis_server.store.engines.engine import Anchor, Connection, Cursor
from recis_server.store.engines.schema import MIGRATIONS, SCHEMA_VERSION, TABLES, statements

__all__ = ["PostgresEngine"]

CONNECT_S = 10
TAKE_OVER_S = 5.0
"""For how long the lock of a server that has just ended, or was killed, may still be held: its backend ends later."""
_SESSION = (
    # As the other engine: who waits for the write lock for longer fails, and tries again.
    "SET lock_timeout = '10s'",
    # An acknowledged frame is on the disk, whatever is usual on this server; what is stricter stays.
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
    # Statements here are many and short: to compile one takes longer than to run it.
    "SET jit = off",
    # A plan that is made while a table is empty stays when it no longer is: every statement here has an index.
    "SET enable_seqscan = off",
    # A server whose machine or network is gone holds its locks no longer than this.
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 4",
)
MAX_PARTITIONS = 1024
_SERVER_LOCK, _WRITE_LOCK = 0x7265636973_01, 0x7265636973_02
"""Advisory locks of a database: for as long as a server lives, and for as long as a transaction writes."""
_BEGIN_WRITE = f"BEGIN; SELECT pg_advisory_xact_lock({_WRITE_LOCK})"
_MANY_ROWS = 4
"""From so many on, rows are inserted by COPY: it has one round trip more, and takes a third of the time a row."""
_INSERT = re.compile(r"INSERT INTO (?P<table>\w+) \((?P<columns>[\w, ]+)\) VALUES \([?, ]+\)")
_PARAMETERS = re.compile(r"'[^']*'|\bIN \(\?(?:, \?)+\)|\?")
_BAD_VALUES = (psycopg.DataError, OverflowError)
"""A value that fits in no column is its sender's fault, not the engine's."""
_PARTITIONED = ("frame", "chunk", "axis", "pyramid", "series", "keyset", "tally")


class PostgresEngine:
    """See the module and `engine.Engine`.

    Args:
        url: `postgresql://USER:PASSWORD@HOST:PORT/NAME`, the database exists.

    Raises:
        ValueError: `partitions` is not a number from 1 to 1024.
    """

    failures: tuple[type[Exception], ...] = (psycopg.Error,)

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        number = options.pop("partitions", "0")
        if not (number.isascii() and number.isdigit() and len(number) < 5 and int(number) <= MAX_PARTITIONS):
            raise ValueError(f"--store: expected partitions=N with N up to {MAX_PARTITIONS}, got {number[:80]!r}")
        self._num_partitions = int(number)
        self._url = urlunsplit(parts._replace(query=urlencode(options)))
        # What messages call it; the whole URL may hold a password.
        self._place = f"PostgreSQL at {parts.hostname or 'the local socket'}, database {parts.path.lstrip('/') or '?'}"
        self._owner: _Connection | None = None
        self._identity: int | None = None

    def open(self, *, exclusive: bool, anchor: Anchor | None = None) -> Anchor:
        """See `Engine.open`."""
        try:
            connection = _Connection(self._url, is_owner=exclusive)
            try:
                if exclusive:
                    self._take_lock(connection)
                if anchor is None:
                    anchor = Anchor(self._migrate(connection))
                self._identity = anchor.identity
                self._check_identity(connection)
            except BaseException:
                connection.close()
                raise
        except psycopg.Error as error:
            reason = " ".join(str(error).split())  # libpq's take several lines
            raise StoreError(f"expected a database that can be written, got {self._place}: {reason}") from error
        if exclusive:
            self._owner = connection
        else:
            connection.close()
        return anchor

    def close(self) -> None:
        """See `Engine.close`."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.close()

    def connect_writer(self) -> Connection:
        """See `Engine.connect_writer`; of a server's engine the first one holds the lock.

        Who holds the lock and who writes is one session: a server that has lost it cannot write with what it has left.
        """
        owner, self._owner = self._owner, None
        return owner or _Connection(self._url)

    def connect_reader(self) -> Connection:
        """See `Engine.connect_reader`."""
        return _Connection(self._url)

    def begin_write(self, connection: Connection) -> None:
        """See `Engine.begin_write`.

        Raises:
            StoreLost: the connection was lost, and another server has taken over, or another database is there now.
        """
        assert isinstance(connection, _Connection)
        if self._restore(connection) and connection.is_owner:
            try:
                self._take_lock(connection)
            except StoreError as error:
                # Not lost for good: the other may end, and nothing that clients keep has been acknowledged.
                raise StoreLost("the store has another server", detail=error.message) from error
        connection.script(_BEGIN_WRITE)

    def begin_read(self, connection: Connection) -> None:
        """See `Engine.begin_read`."""
        assert isinstance(connection, _Connection)
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        self._restore(connection)
        try:
            connection.execute(begin)
        except psycopg.OperationalError:
            # A connection that broke while nobody used it says so now, and nothing was read yet.
            if not self._restore(connection):
                raise
            connection.execute(begin)

    def _restore(self, connection: "_Connection") -> bool:
        """Connects again where the connection has broken, to the same database only; whether it had."""
        if not connection.restore():
            return False
        try:
            self._check_identity(connection)
        except BaseException:
            connection.close()
            raise
        return True

    def _check_identity(self, connection: "_Connection") -> None:
        if self._identity is None:
            return
        try:
            found = meta.read(connection).get(meta.IDENTITY)
        except psycopg.errors.UndefinedTable:
            found = None
        if found != self._identity:
            raise StoreLost(
                "the store's database was replaced while the server ran; start the server again",
                detail=f"{self._place} is another store than the one that was opened",
            )

    def check(self) -> None:
        """See `Engine.check`; a session ends with its database, and `begin_write` looks at what a new one has."""

    def let_go(self, connection: Connection) -> None:
        """See `Engine.let_go`; nothing lies beside a database."""

    def inspect(self, connection: Connection) -> None:
        """See `Engine.inspect`; who runs the database sees to the rest."""
        for table in TABLES:
            connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()  # noqa: S608 - names of ours

    def explain(self, error: Exception) -> str:
        """See `Engine.explain`; the database's own words may name hosts, users and its own place."""
        if getattr(error, "sqlstate", None) is None:
            return "the database cannot be reached"
        return f"the database refused ({type(error).__name__})"

    def rollback(self, connection: Connection) -> None:
        """See `Engine.rollback`."""
        with contextlib.suppress(psycopg.Error):
            connection.execute("ROLLBACK")

    def give_back(self, connection: Connection) -> bool:
        """See `Engine.give_back`; the database's own vacuum does it."""
        del connection
        return False

    def make_room(self, connection: Connection, *, reserve: bool) -> bool:
        """See `Engine.make_room`; who runs the database sees to its disk."""
        del connection, reserve
        return False

    def _take_lock(self, connection: "_Connection") -> None:
        deadline = time.monotonic() + TAKE_OVER_S
        while not connection.execute("SELECT pg_try_advisory_lock(?)", (_SERVER_LOCK,)).fetchone()[0]:
            if time.monotonic() > deadline:
                connection.close()
                raise StoreError(f"expected a store for this server alone, {self._place} has another server")
            time.sleep(0.05)

    def _migrate(self, connection: "_Connection") -> int:
        """Brings the tables to `SCHEMA_VERSION` and returns the identity of the store."""
        connection.script(_BEGIN_WRITE)
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
        (version,) = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self._place} was written by a newer version: expected schema version {SCHEMA_VERSION} or older,"
                f" got {version}"
            )
        for number, parts in enumerate(MIGRATIONS[version:], start=version + 1):
            for part in parts:
                if callable(part):
                    part(connection)
                else:
                    connection.script(_speak(part, self._num_partitions))
            connection.execute("INSERT INTO schema_version (version) VALUES (?)", (number,))
        identity = meta.identify(connection)
        connection.execute("COMMIT")
        return identity


class _Connection:
    """`engine.Connection` on psycopg; binary, because columns of points are."""

    def __init__(self, url: str, *, is_owner: bool = False) -> None:
        self.is_owner = is_owner
        self._url = url
        self._types: dict[tuple[str, str], list[int]] = {}
        self._raw = self._open()

    def _open(self) -> "psycopg.Connection[tuple[Any, ...]]":
        raw = psycopg.connect(self._url, autocommit=True, connect_timeout=CONNECT_S)
        # The driver's own take the smallest type for a number, and a statement is prepared once for each type.
        raw.adapters.register_dumper(int, Int8BinaryDumper)
        raw.adapters.register_dumper(list, ListBinaryDumper)
        try:
            raw.execute("; ".join(_SESSION))
        except BaseException:
            raw.close()
            raise
        return raw

    def restore(self) -> bool:
        """Connects again when the connection has broken, outside of transactions only; whether it had."""
        if not self._raw.closed:
            return False
        self._raw = self._open()
        return True

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor:
        statement = _translate(sql)
        try:
            return self._raw.cursor(binary=True).execute(statement.sql, statement.bind(values))
        except _BAD_VALUES as error:
            raise ValueError(str(error)) from error

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> None:
        insert = _INSERT.fullmatch(sql) if len(rows) >= _MANY_ROWS else None
        try:
            if insert is not None:
                self._copy(insert["table"], insert["columns"], rows)
            elif rows:
                statement = _translate(sql)
                with self._raw.cursor(binary=True) as cursor:
                    cursor.executemany(statement.sql, [statement.bind(row) for row in rows])
        except _BAD_VALUES as error:
            raise ValueError(str(error)) from error

    def _copy(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        with self._raw.cursor() as cursor:
            types = self._types.get((table, columns))
            if types is None:
                # Values in binary do not say what they are.
                cursor.execute(f"SELECT {columns} FROM {table} LIMIT 0".encode())  # noqa: S608 - names in a statement of ours
                types = self._types[table, columns] = [one.type_code for one in cursor.description or ()]
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
                copy.set_types(types)
                for row in rows:
                    copy.write_row([_storable(value) for value in row])

    def script(self, sql: str) -> None:
        """Several statements without parameters."""
        self._raw.execute(sql.encode())

    def close(self) -> None:
        self._raw.close()


def _storable(value: Any) -> Any:
    # Its text holds any character but this one, which says nothing.
    return value.replace("\0", "") if isinstance(value, str) and "\0" in value else value


class _Statement(NamedTuple):
    """In the driver's words; `lists` are the slices of the parameters that are one list there, the last one first."""

    sql: bytes
    lists: tuple[slice, ...]

    def bind(self, values: Sequence[Any]) -> list[Any]:
        """What the driver is given for these parameters."""
        found = [_storable(value) for value in values]
        for one in self.lists:
            found[one] = [found[one]]
        return found


@lru_cache(maxsize=512)
def _translate(sql: str) -> _Statement:
    """`?` outside of quotes as the driver's placeholder, and `IN (?, ?)` as one list: one statement for any length."""
    lists: list[slice] = []
    count = 0

    def speak(found: re.Match[str]) -> str:
        nonlocal count
        text = found[0]
        if text.startswith("'"):
            return text
        begin, count = count, count + text.count("?")
        if text == "?":
            return "%s"
        lists.insert(0, slice(begin, count))
        return "= ANY(%s)"

    return _Statement(_PARAMETERS.sub(speak, sql.replace("%", "%%")).encode(), tuple(lists))


def _speak(script: str, num_partitions: int) -> str:
    """A migration in the dialect of this engine."""
    return "\n".join(_speak_one(statement, num_partitions) for statement in statements(script))


def _speak_one(statement: str, num_partitions: int) -> str:
    found = re.match(r"CREATE TABLE (\w+)", statement)
    if found is None:
        return f"{statement};"
    table = found[1]
    statement = statement.removesuffix(" WITHOUT ROWID")
    before = after = ""
    numbered = re.search(r"(\w+) INTEGER PRIMARY KEY", statement)
    if numbered:
        # A sequence, not an identity: partitions have none.
        before = f"CREATE SEQUENCE IF NOT EXISTS {table}_{numbered[1]};\n"
        default = f"{numbered[1]} BIGINT NOT NULL DEFAULT nextval('{table}_{numbered[1]}')"
        statement = statement.replace(numbered[0], default)
    for ours, theirs in (
        (r"\bINTEGER\b", "BIGINT"),
        (r"\bREAL\b", "DOUBLE PRECISION"),
        (r"\bBLOB\b", "BYTEA"),
        # Text in the order of its bytes, as the other engine has it.
        (r"\bTEXT\b", 'TEXT COLLATE "C"'),
    ):
        statement = re.sub(ours, theirs, statement)
    for column in re.findall(r"(\w+) BYTEA", statement):
        # Columns of points are packed already, and parts of them are read.
        after += f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL;\n"
    if num_partitions and table in _PARTITIONED:
        statement += " PARTITION BY HASH (run_id)"
        for number in range(num_partitions):
            after += (
                f"CREATE TABLE {table}_{number} PARTITION OF {table}"
                f" FOR VALUES WITH (MODULUS {num_partitions}, REMAINDER {number});\n"
            )
    return f"{before}{statement};\n{after}"
