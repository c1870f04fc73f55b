"""The log in its database: one table that only grows, in SQLite or PostgreSQL.

One transaction locks, looks which events are there already, reads the head and inserts. Triggers refuse every change
and every deletion; the hash chain shows what got round them.
"""

from collections.abc import Sequence
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
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("event_key", sa.Text, nullable=False, unique=True),
    sa.Column("event_id", sa.Text),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("occurred_at", sa.Text),
    sa.Column("received_at", sa.Text, nullable=False),
    sa.Column("actor", sa.Text),
    sa.Column("subject_type", sa.Text),
    sa.Column("subject_id", sa.Text),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("payload_sha256", sa.Text, nullable=False),
    sa.Column("recorded_at", sa.Text, nullable=False),
    sa.Column("prev_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)
VERSION = sa.Table("audit_log_schema", metadata, sa.Column("version", sa.Integer, nullable=False))
SCHEMA_VERSION = 1
_LOCK = 0x676C6172  # "glar": PostgreSQL's advisory lock for the tail of the log

_SQLITE_TRIGGERS = tuple(
    f"CREATE TRIGGER IF NOT EXISTS audit_log_no_{change} BEFORE {change} ON audit_log "
    "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END"
    for change in ("update", "delete")
)
_POSTGRESQL_TRIGGERS = (
    """
    CREATE OR REPLACE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'audit_log is append-only'; END $$
    """,
    """
    CREATE OR REPLACE TRIGGER audit_log_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse()
    """,
)


class SchemaRefused(Exception):
    """The database holds an audit log that this version of the kit must not touch; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last row: what `verify --expect-head` is told, so that a tail cut off is seen."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of one record: its row's `seq`; whether it is `new`, and whether another payload had its key."""

    seq: int
    new: bool
    conflict: bool


def connect(url: str) -> Engine:
    """An engine for the log; nothing is opened yet. For SQLite, the file's folder is made."""
    engine = sa.create_engine(url, **_options(url))
    if engine.dialect.name == "sqlite":
        if engine.url.database:
            Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 10}}
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 5}}


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are SQLAlchemy's to begin, IMMEDIATE
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # a row reported as written survives a power cut
        "recursive_triggers=ON",  # without it INSERT OR REPLACE gets round the trigger against DELETE
    ):
        connection.execute(f"PRAGMA {pragma}")


def prepare(engine: Engine) -> None:
    """Make the table, or see that it is one of ours. Raises `SchemaRefused`."""
    with engine.begin() as connection:
        _lock(connection)
        if not sa.inspect(connection).has_table(TABLE.name):
            metadata.create_all(connection)
            triggers = _SQLITE_TRIGGERS if engine.dialect.name == "sqlite" else _POSTGRESQL_TRIGGERS
            for statement in triggers:
                connection.exec_driver_sql(statement)
            connection.execute(VERSION.insert().values(version=SCHEMA_VERSION))
            return
        found = (
            connection.scalar(sa.select(VERSION.c.version))
            if sa.inspect(connection).has_table(VERSION.name)
            else "none"
        )
        if found != SCHEMA_VERSION:
            raise SchemaRefused(f"the audit log has schema version {found}, this kit writes {SCHEMA_VERSION}")


def append(engine: Engine, records: Sequence[Record]) -> list[Appended]:
    """Write the records that are not there yet, in one transaction, and say what became of each."""
    with engine.begin() as connection:
        _lock(connection)
        there = _already_there(connection, records)
        head = _head(connection)
        rows: list[Row] = []
        outcomes = []
        for record in records:
            if (found := there.get(record.event_key)) is not None:
                outcomes.append(Appended(found[0], new=False, conflict=found[1] != record.payload_sha256))
                continue
            row = chained(record, head.seq + 1, head.hash, stamp(datetime.now(UTC)))
            head = Head(row.seq, row.hash)
            there[record.event_key] = (row.seq, record.payload_sha256)
            rows.append(row)
            outcomes.append(Appended(row.seq, new=True, conflict=False))
        if rows:
            connection.execute(TABLE.insert(), [row.columns() for row in rows])
    return outcomes


def head(engine: Engine) -> Head | None:
    """The last row's place and hash; None while the log is empty."""
    with engine.connect() as connection:
        last = _head(connection)
    return last if last.seq else None


def _lock(connection: Connection) -> None:
    """One writer at a time: SQLite's BEGIN IMMEDIATE is that already."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def _already_there(connection: Connection, records: Sequence[Record]) -> dict[str, tuple[int, str]]:
    keys = {record.event_key for record in records}
    found = connection.execute(
        sa.select(TABLE.c.event_key, TABLE.c.seq, TABLE.c.payload_sha256).where(TABLE.c.event_key.in_(keys))
    )
    return {key: (seq, digest) for key, seq, digest in found}


def _head(connection: Connection) -> Head:
    last = connection.execute(sa.select(TABLE.c.seq, TABLE.c.hash).order_by(TABLE.c.seq.desc()).limit(1)).first()
    return Head(last.seq, last.hash) if last else Head(0, GENESIS)
