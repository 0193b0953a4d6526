"""PostgreSQL as an engine: the tables of `schema` in its dialect, locks, connections that reconnect.

Owns the driver, the dialect, the partitions and the locks; must not know rows. A server uses the database exclusively
or shares it with other replicas, which the server lock enforces. Write transactions of one run wait for each other,
whichever server they come from; those of different runs do not. A URL is libpq's, and may contain `partitions=N`: the
large tables are then hash-partitioned by run when they are created.
"""

import contextlib
import re
import secrets
import time
import zlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.array import ListBinaryDumper
from psycopg.types.numeric import Int8BinaryDumper

from recis_server.errors import StoreError, StoreLost
from recis_server.store.engines import meta
from recis_server.store.engines.engine import Anchor, Connection, Cursor, Engine
from recis_server.store.engines.postgres_dialect import convert, storable, translate
from recis_server.store.engines.schema import COMPATIBLE_FROM, MIGRATIONS, SCHEMA_VERSION, TABLES, check_version

__all__ = ["PostgresEngine"]

_CONNECTION: dict[str, str | int] = {
    "connect_timeout": 10,
    # Of several hosts, the one that is the primary now.
    "target_session_attrs": "read-write",
    # A primary whose machine or network has failed is given up within 30 s.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
"""libpq's options of a connection where the URL does not set them."""
TAKE_OVER_S = 5.0
"""How long the lock of a server that has just ended or was killed may remain held, because its backend ends later."""
_SESSION = (
    # As with SQLite, waiting too long for the write lock is a failure, and the write is retried.
    "SET lock_timeout = '10s'",
    # An acknowledged frame is on disk, whatever the server's default; stricter settings remain.
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
    # Statements here are many and short: compiling one takes longer than running it.
    "SET jit = off",
    # A plan made for an empty table would be kept when it has filled up; every statement here has an index.
    "SET enable_seqscan = off",
    # A server whose machine or network has failed must not hold its locks longer than this.
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 4",
    # The same applies to a process that hangs.
    "SET idle_in_transaction_session_timeout = '30s'",
)
MAX_PARTITIONS = 1024
_SERVER = "recis-monitor server "
_SERVER_LOCK, _WRITE_LOCK = 0x7265636973_01, 0x7265636973_02
"""Advisory locks of a database: held for the life of a server, and for the duration of a write transaction.

A sole server holds the first one in exclusive mode, replicas share it. A migration holds the second one in exclusive
mode, all other write transactions share it.
"""
_RUN_LOCKS = 0x7265636973 & 0x7FFFFFFF
"""The first key of the advisory locks of runs; the second one is `_lock_of` the run."""
_LEASES = _RUN_LOCKS + 1
"""The same for leases, which are held by sessions."""
LEASE_S = 20
"""How long the session that holds a lease may do nothing, in or out of a transaction, before the database ends it."""
MAX_CLOCK_GAP_S = 60.0
"""The largest difference between the clocks of a replica and the database, half of that between two replicas."""
_MANY_ROWS = 4
"""From this many rows on, inserts use COPY: it needs one more round trip, and a third of the time per row."""
_INSERT = re.compile(r"INSERT INTO (?P<table>\w+) \((?P<columns>[\w, ]+)\) VALUES \([?, ]+\)")
_PORTS = re.compile(r"[\d,]*")
_OF_NO_RUN = frozenset({"meta", "token"})
_BAD_VALUES = (psycopg.DataError, OverflowError)
"""A value that does not fit its column is the fault of its sender, not of the engine."""


class PostgresEngine(Engine):
    """A PostgreSQL database as an `engine.Engine`.

    Args:
        url: `postgresql://USER:PASSWORD@HOST:PORT/NAME` with libpq's options; the database exists. Of several hosts,
            separated by commas, the primary is used.
        shared: whether a server shares the database with other replicas.

    Raises:
        ValueError: the URL is malformed, or `partitions` is not a number from 1 to 1024.
    """

    failures: tuple[type[Exception], ...] = (psycopg.Error,)

    def __init__(self, url: str, *, shared: bool = False) -> None:
        self.is_shared = shared
        self.server_name = f"{SCHEMA_VERSION}.{secrets.token_hex(8)}"
        base, _, query = url.partition("?")
        options = [option for option in query.split("&") if option]
        numbers = [option.partition("=")[2] for option in options if option.startswith("partitions=")]
        number = numbers[-1] if numbers else "0"
        if not (number.isascii() and number.isdigit() and len(number) < 5 and int(number) <= MAX_PARTITIONS):
            raise ValueError(f"--store: expected partitions=N with N up to {MAX_PARTITIONS}, got {number[:80]!r}")
        self._num_partitions = int(number)
        info = _parse("?".join((base, "&".join(option for option in options if not option.startswith("partitions=")))))
        self._conninfo = make_conninfo("", **{**_CONNECTION, **info})
        # The name used in messages; the whole URL may contain a password.
        hosts = str(info.get("host") or info.get("hostaddr") or "")
        where = "the local socket" if hosts.startswith("/") or not hosts else hosts.replace(",", ", ")
        self._place = f"PostgreSQL at {where}, database {info.get('dbname', '?')}"
        self._owner: _Connection | None = None
        self._identity: int | None = None

    def open(self, *, exclusive: bool, anchor: Anchor | None = None) -> Anchor:
        try:
            connection = _Connection(self._conninfo, owner=self.server_name if exclusive else "")
            try:
                if exclusive:
                    self._refuse_pooler(connection)
                    self._take_lock(connection)
                if exclusive and self.is_shared:
                    self._check_clock(connection)
                if anchor is None:
                    anchor = Anchor(self._migrate(connection))
                self._identity = anchor.identity
                self._check_identity(connection)
            except BaseException:
                connection.close()
                raise
        except psycopg.Error as error:
            reason = " ".join(str(error).split())  # libpq's messages have several lines
            raise StoreError(f"expected a writable database, got {self._place}: {reason}") from error
        if exclusive:
            self._owner = connection
        else:
            connection.close()
        return anchor

    def close(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.close()

    def connect_writer(self) -> Connection:
        """The first writing connection of a server's engine holds the lock.

        The session that holds the lock is the one that writes: a server that has lost it cannot write with what
        remains.
        """
        owner, self._owner = self._owner, None
        return owner or _Connection(self._conninfo)

    def connect_reader(self) -> Connection:
        return _Connection(self._conninfo)

    def begin_write(self, connection: Connection, runs: Collection[str] = ()) -> None:
        """See `Engine.begin_write`.

        Locks are taken in one order, so that no two transactions wait for each other.

        Raises:
            StoreLost: the connection was lost, and another server has taken over, or the database was replaced.
        """
        assert isinstance(connection, _Connection)
        if self._restore(connection) and connection.is_owner:
            try:
                self._take_lock(connection)
            except StoreError as error:
                # Not lost for good: the other server may end, and nothing that clients keep has been acknowledged.
                raise StoreLost("the store has another server", detail=error.message) from error
        begin = f"BEGIN; SELECT pg_advisory_xact_lock_shared({_WRITE_LOCK})"
        if runs:
            keys = ",".join(map(str, sorted(set(map(_lock_of, runs)))))
            begin += f"; SELECT pg_advisory_xact_lock({_RUN_LOCKS}, k) FROM unnest('{{{keys}}}'::int4[]) AS k"  # noqa: S608 - numbers
        connection.script(begin)

    def other_servers(self, connection: Connection) -> frozenset[str]:
        """See `Engine.other_servers`; sessions of other roles can be seen by some roles only."""
        rows = connection.execute(
            "SELECT application_name FROM pg_stat_activity"
            " WHERE datname = current_database() AND starts_with(application_name, ?)",
            (_SERVER,),
        ).fetchall()
        return frozenset(name.removeprefix(_SERVER) for (name,) in rows) - {self.server_name}

    def try_lease(self, connection: Connection, name: str) -> bool:
        assert isinstance(connection, _Connection)
        self._restore(connection)
        (is_granted,) = connection.execute(
            "SELECT pg_try_advisory_lock(?::int4, ?::int4)", (_LEASES, _lock_of(name))
        ).fetchone()
        if is_granted:
            connection.note_lease(1)
        return bool(is_granted)

    def end_lease(self, connection: Connection, name: str) -> None:
        assert isinstance(connection, _Connection)
        connection.execute("SELECT pg_advisory_unlock(?::int4, ?::int4)", (_LEASES, _lock_of(name)))
        connection.note_lease(-1)

    def is_alive(self, connection: Connection) -> bool:
        try:
            connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def begin_read(self, connection: Connection) -> None:
        assert isinstance(connection, _Connection)
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        self._restore(connection)
        try:
            connection.execute(begin)
        except psycopg.OperationalError:
            # A connection that broke while idle is noticed here, before anything was read.
            if not self._restore(connection):
                raise
            connection.execute(begin)

    def _restore(self, connection: "_Connection") -> bool:
        """Reconnect a broken connection, to the same database only; return whether it was broken."""
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
            known = meta.read(connection)
        except psycopg.errors.UndefinedTable:
            known = {}
        if known.get(meta.IDENTITY) != self._identity:
            raise StoreLost(
                "the store's database was replaced while the server ran; restart the server",
                detail=f"{self._place} is another store than the one that was opened",
            )
        oldest = known.get(meta.COMPATIBLE_FROM, 0)
        if oldest > SCHEMA_VERSION:
            raise StoreLost(
                "the store was migrated by a newer version that this one cannot share it with; upgrade the server",
                detail=f"{self._place} requires servers that know schema version {oldest}, got {SCHEMA_VERSION}",
            )

    def check(self) -> None:
        """Do nothing: a session ends with its database, and `begin_write` inspects the database of a new session."""

    def let_go(self, connection: Connection) -> None:
        """Do nothing: there are no files beside a database."""

    def inspect(self, connection: Connection) -> None:
        """Read from every table; the operator of the database checks the rest."""
        for table in TABLES:
            connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()  # noqa: S608 - names of ours

    def explain(self, error: Exception) -> str:
        """Describe a failure without the message of the database, which may name hosts, users and paths."""
        if getattr(error, "sqlstate", None) is None:
            return "the database cannot be reached"
        return f"the database refused ({type(error).__name__})"

    def rollback(self, connection: Connection) -> None:
        with contextlib.suppress(psycopg.Error):
            connection.execute("ROLLBACK")

    def give_back(self, connection: Connection) -> bool:
        """Return False: the database's own vacuum frees space."""
        del connection
        return False

    def make_room(self, connection: Connection, *, reserve: bool) -> bool:
        """Return False: the operator of the database provides space."""
        del connection, reserve
        return False

    def _refuse_pooler(self, connection: "_Connection") -> None:
        """Raise `StoreError` if a connection has no session of its own: the lock would then exclude nobody.

        A pooler that assigns sessions per transaction gives one to several connections, or several to one.
        """
        beside = _Connection(self._conninfo)
        try:
            ask = "SELECT pg_backend_pid()"
            pairs = [tuple(one.execute(ask).fetchone()[0] for one in (connection, beside)) for _ in range(3)]
        finally:
            beside.close()
        ours, theirs = ({pair[place] for pair in pairs} for place in (0, 1))
        if len(ours) > 1 or ours & theirs:
            raise StoreError(
                f"expected a session of the database for each connection, {self._place} is behind a pooler that assigns"
                " sessions per transaction: connect directly, or with pool_mode = session"
            )

    def _take_lock(self, connection: "_Connection") -> None:
        how = "_shared" if self.is_shared else ""
        take = f"SELECT pg_try_advisory_lock{how}(?)"
        deadline = time.monotonic() + TAKE_OVER_S
        while not connection.execute(take, (_SERVER_LOCK,)).fetchone()[0]:
            if time.monotonic() > deadline:
                connection.close()
                if self.is_shared:
                    raise StoreError(f"expected a store that servers share, {self._place} has a server without a --bus")
                raise StoreError(f"expected a store for this server alone, {self._place} has another server")
            time.sleep(0.05)

    def _check_clock(self, connection: "_Connection") -> None:
        """Check that this clock is near the database's: replicas compare times that others have written."""
        (theirs_s,) = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        gap_s = time.time() - theirs_s
        if abs(gap_s) > MAX_CLOCK_GAP_S:
            raise StoreError(
                f"expected a clock within {MAX_CLOCK_GAP_S:g} s of the database's, {self._place}, got one that is"
                f" {abs(gap_s):.0f} s {'ahead of' if gap_s > 0 else 'behind'} it; set the clocks of all replicas"
            )

    def _migrate(self, connection: "_Connection") -> int:
        """Migrate the tables to `SCHEMA_VERSION` and return the identity of the store."""
        connection.script(f"BEGIN; SELECT pg_advisory_xact_lock({_WRITE_LOCK})")
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
        (version,) = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
        check_version(connection, version, self._place)
        for number, parts in enumerate(MIGRATIONS[version:], start=version + 1):
            for part in parts:
                if callable(part):
                    part(connection)
                else:
                    connection.script(convert(part, self._num_partitions))
            connection.execute("INSERT INTO schema_version (version) VALUES (?)", (number,))
        if version < SCHEMA_VERSION:
            self._refuse_older_servers(connection)
            meta.write(connection, meta.COMPATIBLE_FROM, COMPATIBLE_FROM)
        identity = meta.identify(connection)
        self._distribute(connection, is_new=version == 0)
        connection.execute("COMMIT")
        return identity

    def _distribute(self, connection: "_Connection", *, is_new: bool) -> None:
        """Distribute new tables by run over the nodes of Citus, where the database has it.

        https://docs.citusdata.com/en/stable/develop/api_udf.html#create-distributed-table
        """
        ask = (
            "SELECT to_regproc('create_distributed_table') IS NOT NULL AND to_regclass('pg_dist_partition') IS NOT NULL"
        )
        if not connection.execute(ask).fetchone()[0]:
            return
        found = connection.execute("SELECT logicalrelid::text FROM pg_dist_partition").fetchall()
        distributed = {name for (name,) in found}
        if not (is_new or "run" in distributed):
            return  # created before the extension: moving their rows is up to the operator
        for table in TABLES:
            if table not in {*_OF_NO_RUN, *distributed}:
                beside = "default" if table == "run" else "run"
                connection.execute(
                    "SELECT create_distributed_table(?::regclass, 'run_id', colocate_with => ?)", (table, beside)
                )

    def _refuse_older_servers(self, connection: "_Connection") -> None:
        """Raise `StoreError` if a server uses the store that cannot use it after the migration, which is undone then.

        One that starts meanwhile waits for the migration, and is then refused itself.
        """
        older = [name for name in self.other_servers(connection) if _schema_of(name) < COMPATIBLE_FROM]
        if older:
            raise StoreError(
                f"expected only servers that know schema version {COMPATIBLE_FROM} before {self._place} is migrated to"
                f" version {SCHEMA_VERSION}, got {len(older)} older: stop or upgrade them first"
            )


class _Connection:
    """`engine.Connection` on psycopg; binary, because columns of points are."""

    def __init__(self, conninfo: str, *, owner: str = "") -> None:
        self.is_owner = bool(owner)
        # Seen in the database's list of sessions; other sessions have what the URL says.
        self._session_name = f"{_SERVER}{owner}" if owner else None
        self._conninfo = conninfo
        self._types: dict[tuple[str, str], list[int]] = {}
        self._num_leases = 0
        self._raw = self._open()

    def _open(self) -> "psycopg.Connection[tuple[Any, ...]]":
        raw = psycopg.connect(self._conninfo, autocommit=True, application_name=self._session_name)
        # The driver would choose the smallest type for each number, and a statement is prepared once per type.
        raw.adapters.register_dumper(int, Int8BinaryDumper)
        raw.adapters.register_dumper(list, ListBinaryDumper)
        try:
            raw.execute("; ".join(_SESSION))
        except BaseException:
            raw.close()
            raise
        return raw

    def restore(self) -> bool:
        """Reconnect a broken connection, outside transactions only; return whether it was broken."""
        if not self._raw.closed:
            return False
        self._raw = self._open()
        self._num_leases = 0
        return True

    def note_lease(self, more: int) -> None:
        """Have the database end the session when it does nothing for `LEASE_S` while it holds leases."""
        before, self._num_leases = self._num_leases, max(0, self._num_leases + more)
        if bool(before) != bool(self._num_leases):
            self.execute(f"SET idle_session_timeout = '{LEASE_S if self._num_leases else 0}s'")

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor:
        statement = translate(sql)
        with self._failures():
            return self._raw.cursor(binary=True).execute(statement.sql, statement.bind(values))

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> None:
        insert = _INSERT.fullmatch(sql) if len(rows) >= _MANY_ROWS else None
        with self._failures():
            if insert is not None:
                self._copy(insert["table"], insert["columns"], rows)
            elif rows:
                statement = translate(sql)
                with self._raw.cursor(binary=True) as cursor:
                    cursor.executemany(statement.sql, [statement.bind(row) for row in rows])

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Raise `ValueError` for bad values, and disconnect from a database that has become read-only."""
        try:
            yield
        except _BAD_VALUES as error:
            raise ValueError(str(error)) from error
        except psycopg.errors.ReadOnlySqlTransaction:
            self.close()  # it is not the primary any more: the next transaction connects to the one that is
            raise

    def _copy(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        with self._raw.cursor() as cursor:
            types = self._types.get((table, columns))
            if types is None:
                # Binary values carry no type.
                cursor.execute(f"SELECT {columns} FROM {table} LIMIT 0".encode())  # noqa: S608 - names in a statement of ours
                types = self._types[table, columns] = [one.type_code for one in cursor.description or ()]
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
                copy.set_types(types)
                for row in rows:
                    copy.write_row([storable(value) for value in row])

    def script(self, sql: str) -> None:
        """Execute several statements without parameters."""
        self._raw.execute(sql.encode())

    def close(self) -> None:
        self._raw.close()


def _parse(url: str) -> dict[str, Any]:
    """Return libpq's options of a URL. Its own messages may quote a part of the password, and are not shown."""
    found = "another one"
    try:
        info = dict(conninfo_to_dict(url))
        # A `/` in a password would end the host, and the rest would be taken for the name of the database.
        if _PORTS.fullmatch(str(info.get("port", ""))) and "@" not in str(info.get("dbname", "")):
            return info
    except psycopg.ProgrammingError as error:
        unknown = re.search(r'invalid URI query parameter: "(\w+)"', str(error))
        found = f"an unknown option {unknown[1]}" if unknown else found
    raise ValueError(
        "--store: expected postgresql://USER:PASSWORD@HOST[:PORT][,HOST[:PORT]…]/NAME[?OPTION=VALUE&…], with special"
        f" characters written as %XX, got {found}"
    )


def _schema_of(server_name: str) -> int:
    """Return the schema version that a server knows; 0 for one that does not say so."""
    version, dot, _ = server_name.partition(".")
    return int(version) if dot and version.isdecimal() else 0


def _lock_of(name: str) -> int:
    """Return the second key of the lock of a run or a lease, 32 bits with a sign."""
    return zlib.crc32(name.encode(errors="surrogatepass")) - (1 << 31)
