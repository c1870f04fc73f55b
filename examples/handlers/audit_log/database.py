"""The log in its database: rows that are only ever appended, in SQLite or PostgreSQL.

One transaction locks, looks which events are there already, reads the head and inserts.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from examples.handlers.audit_log import schema
from examples.handlers.audit_log.record import GENESIS, Record, Row, chained, stamp
from examples.handlers.audit_log.schema import TABLE, Refused

_LOCK = 0x676C6172  # "glar": PostgreSQL's advisory lock for the tail of the log
_PATIENCE = 10.0  # seconds to wait for another process's transaction, and that a stopped one may hold up the others
_CHUNK = 5000  # rows read at a time
_POSTGRESQL = {  # where the URL says nothing else; a server that is gone without a word is noticed within seconds
    "connect_timeout": "5",
    "tcp_user_timeout": "10000",
}


@dataclass(frozen=True, slots=True)
class Head:
    """The last row: noted elsewhere, it shows later that a tail was cut off (`verify --expect-head`)."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a record: its row's place and hash; whether it is `new`, or its key had another payload before."""

    seq: int
    hash: str
    new: bool
    conflict: bool


def connect(url: str) -> Engine:
    """An engine for the log; nothing is opened yet."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        # an error never shows a payload
        engine = sa.create_engine(parsed, hide_parameters=True, connect_args={"timeout": _PATIENCE})
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine
    return sa.create_engine(
        parsed.set(query={**_POSTGRESQL, **parsed.query}),
        hide_parameters=True,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",  # what is read after the lock is the newest, whatever the server's default
    )


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    connection.text_factory = _text
    _into_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")  # a row reported as written survives a power cut


def _text(stored: bytes) -> str:
    """Bytes that are no text, which only tampering can bring, do not hide the rest of the log from `verify`."""
    return stored.decode("utf-8", "surrogateescape")


def _into_wal(connection: sqlite3.Connection) -> None:
    """Here SQLite does not wait for others that make the same new file, whatever its time-out."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def create(engine: Engine) -> None:
    """Make the log where there is none, bring an older one up to date. Raises `Refused`."""
    if engine.dialect.name == "sqlite" and engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    with engine.execution_options(writes=True).begin() as connection:
        _lock(connection)
        schema.prepare(connection)


def check(engine: Engine) -> None:
    """See that there is a log to read. Raises `Refused`."""
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():
        raise Refused(f"there is no audit log at {engine.url.database} yet")
    with engine.begin() as connection:
        if schema.version(connection) is None:
            raise Refused("there is no audit log in this database yet")


def append(engine: Engine, records: Sequence[Record]) -> list[Appended]:
    """Write the records that are not there yet, all in one transaction, and say what became of each."""
    with engine.execution_options(writes=True).begin() as connection:
        _lock(connection)
        there = _already_there(connection, records)
        last = _head(connection) or Head(0, GENESIS)
        rows: list[Row] = []
        outcomes = []
        for record in records:
            if (found := there.get(record.event_key)) is not None:
                seq, row_hash, digest = found
                outcomes.append(Appended(seq, row_hash, new=False, conflict=digest != record.payload_sha256))
                continue
            row = chained(record, last.seq + 1, last.hash, stamp(datetime.now(UTC)))
            last = Head(row.seq, row.hash)
            there[record.event_key] = (row.seq, row.hash, record.payload_sha256)
            rows.append(row)
            outcomes.append(Appended(row.seq, row.hash, new=True, conflict=False))
        if rows:
            connection.execute(TABLE.insert(), [row.columns() for row in rows])
    return outcomes


def head(engine: Engine) -> Head | None:
    """The last row's place and hash; None while the log is empty."""
    with engine.begin() as connection:
        return _head(connection)


def rows(engine: Engine, *conditions: sa.ColumnElement[bool]) -> Iterator[Mapping[str, Any]]:
    """Every row that meets the conditions, in order, a chunk at a time: no lock is held and memory stays flat."""
    after: list[sa.ColumnElement[bool]] = []
    while True:
        query = sa.select(TABLE).where(*after, *conditions).order_by(TABLE.c.seq).limit(_CHUNK)
        with engine.begin() as connection:
            chunk: Sequence[Any] = connection.execute(query).mappings().all()
        yield from chunk
        if len(chunk) < _CHUNK:
            return
        after = [TABLE.c.seq > chunk[-1]["seq"]]


def count(engine: Engine, *conditions: sa.ColumnElement[bool]) -> int:
    with engine.begin() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(TABLE).where(*conditions)) or 0


def _lock(connection: Connection) -> None:
    """One writer at a time, until the transaction ends: SQLite's BEGIN IMMEDIATE is that already.

    PostgreSQL ends a transaction that nobody goes on with: its process may be stopped, or its host gone.
    """
    if connection.dialect.name == "postgresql":
        limits = ("lock_timeout", "idle_in_transaction_session_timeout")
        connection.execute(sa.select(*(sa.func.set_config(name, f"{_PATIENCE:g}s", True) for name in limits)))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def _already_there(connection: Connection, records: Sequence[Record]) -> dict[str, tuple[int, str, str]]:
    keys = {record.event_key for record in records}
    found = connection.execute(
        sa.select(TABLE.c.event_key, TABLE.c.seq, TABLE.c.hash, TABLE.c.payload_sha256).where(
            TABLE.c.event_key.in_(keys)
        )
    )
    return {key: (seq, row_hash, digest) for key, seq, row_hash, digest in found}


def _head(connection: Connection) -> Head | None:
    last = connection.execute(sa.select(TABLE.c.seq, TABLE.c.hash).order_by(TABLE.c.seq.desc()).limit(1)).first()
    return Head(last.seq, last.hash) if last else None
