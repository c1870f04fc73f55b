"""The log in its database: one table that only grows, in SQLite or PostgreSQL.

One transaction locks, looks which events are there already, reads the head and inserts. Triggers refuse every change
and every deletion; the hash chain shows what got round them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from examples.handlers.audit_log.record import GENESIS, Record, Row, chained, stamp

metadata = sa.MetaData()
TABLE = sa.Table(
    "audit_log",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("event_key", sa.Text, nullable=False, unique=True),
    sa.Column("event_id", sa.Text),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("occurred_at", sa.Text),
    sa.Column("received_at", sa.Text, nullable=False, index=True),
    sa.Column("actor", sa.Text),
    sa.Column("subject_type", sa.Text),
    sa.Column("subject_id", sa.Text, index=True),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("payload_sha256", sa.Text, nullable=False),
    sa.Column("recorded_at", sa.Text, nullable=False),
    sa.Column("prev_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)
_VERSION = sa.Table("audit_log_schema", metadata, sa.Column("version", sa.Integer, nullable=False))

SCHEMA_VERSION = 2
_MIGRATIONS = {  # from this version to the next; a row is never touched, so the chain stays as it is
    1: (  # had no index to find a subject or a time by
        "CREATE INDEX ix_audit_log_received_at ON audit_log (received_at)",
        "CREATE INDEX ix_audit_log_subject_id ON audit_log (subject_id)",
    ),
}
_SQLITE_TRIGGERS = tuple(
    f"CREATE TRIGGER audit_log_no_{change} BEFORE {change} ON audit_log "
    "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END"
    for change in ("update", "delete")
)
_POSTGRESQL_TRIGGERS = (
    """
    CREATE OR REPLACE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'audit_log is append-only'; END $$
    """,
    """
    CREATE TRIGGER audit_log_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse()
    """,
)
_LOCK = 0x676C6172  # "glar": PostgreSQL's advisory lock for the tail of the log
_CHUNK = 5000  # rows read at a time


class Refused(Exception):
    """What the database holds is nothing that this version of the kit can use; the message says what to do."""


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
    engine = sa.create_engine(url, hide_parameters=True, **_options(url))  # an error never shows a payload
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 10}}  # seconds to wait for another process's transaction
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 5}}


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # a row reported as written survives a power cut
        "recursive_triggers=ON",  # without it INSERT OR REPLACE gets round the trigger against DELETE
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def create(engine: Engine) -> None:
    """Make the log where there is none, bring an older one up to date. Raises `Refused`."""
    if engine.dialect.name == "sqlite" and engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    with engine.execution_options(writes=True).begin() as connection:
        _lock(connection)
        version = _version(connection)
        if version is None:
            metadata.create_all(connection)
            triggers = _SQLITE_TRIGGERS if engine.dialect.name == "sqlite" else _POSTGRESQL_TRIGGERS
            for statement in triggers:
                connection.exec_driver_sql(statement)
            connection.execute(_VERSION.insert().values(version=SCHEMA_VERSION))
            return
        for older in range(version, SCHEMA_VERSION):
            for statement in _MIGRATIONS[older]:
                connection.exec_driver_sql(statement)
        connection.execute(_VERSION.update().values(version=SCHEMA_VERSION))


def check(engine: Engine) -> None:
    """See that there is a log to read. Raises `Refused`."""
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():
        raise Refused(f"there is no audit log at {engine.url.database} yet")
    with engine.begin() as connection:
        if _version(connection) is None:
            raise Refused("there is no audit log in this database yet")


def _version(connection: Connection) -> int | None:
    tables = set(sa.inspect(connection).get_table_names())
    if TABLE.name not in tables:
        return None
    version: int | None = connection.scalar(sa.select(_VERSION.c.version)) if _VERSION.name in tables else None
    if version is None:
        raise Refused("the table audit_log is not one that this kit made; name another database or file")
    if version > SCHEMA_VERSION:
        raise Refused(
            f"the audit log has schema version {version}, made by a newer kit than this one "
            f"(it knows {SCHEMA_VERSION}); update the kit"
        )
    if version not in {*_MIGRATIONS, SCHEMA_VERSION}:
        raise Refused(
            f"the audit log has schema version {version}, too old for this kit; open it once with an earlier one"
        )
    return version


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
    last = 0
    while True:
        query = sa.select(TABLE).where(TABLE.c.seq > last, *conditions).order_by(TABLE.c.seq).limit(_CHUNK)
        with engine.begin() as connection:
            chunk: Sequence[Any] = connection.execute(query).mappings().all()
        yield from chunk
        if len(chunk) < _CHUNK:
            return
        last = chunk[-1]["seq"]


def count(engine: Engine, *conditions: sa.ColumnElement[bool]) -> int:
    with engine.begin() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(TABLE).where(*conditions)) or 0


def _lock(connection: Connection) -> None:
    """One writer at a time, until the transaction ends: SQLite's BEGIN IMMEDIATE is that already."""
    if connection.dialect.name == "postgresql":
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
