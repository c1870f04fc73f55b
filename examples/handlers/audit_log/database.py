"""The log in its database, SQLite or PostgreSQL: rows are only appended.

One transaction takes the lock, finds events that are there already, reads the head and inserts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from examples.handlers.audit_log import postgresql, schema, sqlite
from examples.handlers.audit_log.record import Head, Record, chained, stamp
from examples.handlers.audit_log.schema import TABLE, Refused
from examples.handlers.audit_log.seal import Seal, key_id

_CHUNK = 5000  # rows read at a time
_NO_KEY = Seal()


@dataclass(frozen=True, slots=True)
class Appended:
    """The result for a record: its row's number, whether it is `new`, and whether its key has another payload."""

    seq: int
    new: bool
    conflict: bool


def connect(url: str) -> Engine:
    """An engine for the log; it connects at first use."""
    parsed = sa.make_url(url)
    return sqlite.connect(parsed) if parsed.get_backend_name() == "sqlite" else postgresql.connect(parsed)


def create(engine: Engine, seal: Seal = _NO_KEY) -> None:
    """Create the log, or migrate an older one. Raises `Refused`."""
    if engine.dialect.name == "sqlite":
        sqlite.make_file(engine.url)
    with engine.execution_options(writes=True).begin() as connection:
        _lock(connection)
        schema.prepare(connection)
        _last(connection, seal)


def check(engine: Engine) -> None:
    """Check that there is a log. Raises `Refused`."""
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():
        raise Refused(f"there is no audit log at {engine.url.database} yet")
    with engine.begin() as connection:
        if schema.version(connection) is None:
            raise Refused("there is no audit log in this database yet")


def append(engine: Engine, records: Sequence[Record], seal: Seal = _NO_KEY) -> list[Appended]:
    """Write the records that are not there yet, in one transaction, and return the result for each.

    Raises `Refused` if the last row is under a key that `seal` does not have.
    """
    with engine.execution_options(writes=True).begin() as connection:
        _lock(connection)
        there = _already_there(connection, records)
        last = _last(connection, seal)
        rows: list[dict[str, Any]] = []
        outcomes = []
        for record in records:
            if (found := there.get(record.event_key)) is not None:
                seq, digest = found
                outcomes.append(Appended(seq, new=False, conflict=digest != record.payload_sha256))
                continue
            row = chained(record, last, stamp(datetime.now(UTC)), seal)
            last = Head(row["seq"], row["hash"])
            there[record.event_key] = (last.seq, record.payload_sha256)
            rows.append(row)
            outcomes.append(Appended(last.seq, new=True, conflict=False))
        if rows:
            connection.execute(TABLE.insert(), rows)
    return outcomes


def head(engine: Engine) -> Head:
    """The last row's number and hash; `Head()` if the log is empty."""
    with engine.begin() as connection:
        return _head(connection)


def holds(engine: Engine, anchor: Head) -> bool:
    """Whether the row of an earlier head is there and unchanged."""
    with engine.begin() as connection:
        return connection.scalar(sa.select(TABLE.c.hash).where(TABLE.c.seq == anchor.seq)) == anchor.hash


def rows(engine: Engine, *conditions: sa.ColumnElement[bool]) -> Iterator[Mapping[str, Any]]:
    """The rows that meet the conditions, in order, read in chunks: without a lock and with constant memory."""
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


def cause(error: Exception) -> str:
    """The first line of the database's message; the next lines may quote a row."""
    return str(getattr(error, "orig", error)).partition("\n")[0]


def _lock(connection: Connection) -> None:
    """Lock out other writers until the transaction ends; SQLite's BEGIN IMMEDIATE has done so already."""
    if connection.dialect.name == "postgresql":
        postgresql.lock(connection)


def _already_there(connection: Connection, records: Sequence[Record]) -> dict[str, tuple[int, str]]:
    keys = {record.event_key for record in records}
    found = connection.execute(
        sa.select(TABLE.c.event_key, TABLE.c.seq, TABLE.c.payload_sha256).where(TABLE.c.event_key.in_(keys))
    )
    return {key: (seq, digest) for key, seq, digest in found}


def _last(connection: Connection, seal: Seal) -> Head:
    """The head, for the next row. Refuse if its key is missing: the next row would then look forged."""
    last = _head(connection)
    if seal.age(key := key_id(last.hash)) is None:
        raise Refused(f"the log's last row is under key {key}, which AUDIT_KEY does not have; set it as before")
    return last


def _head(connection: Connection) -> Head:
    last = connection.execute(sa.select(TABLE.c.seq, TABLE.c.hash).order_by(TABLE.c.seq.desc()).limit(1)).first()
    return Head(last.seq, last.hash) if last else Head()
