"""What the log needs of SQLite: a private file, a write-ahead log, and rows on disk before they are reported."""

import sqlite3
import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine

_PATIENCE = 10.0  # seconds to wait for another process's transaction


def connect(url: URL) -> Engine:
    # an error never shows a payload
    engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": _PATIENCE})
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine


def make_file(url: URL) -> None:
    """The file and its folder, for this user only; what exists keeps its mode. Raises OSError."""
    file = Path(url.database or "")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.touch(mode=0o600)  # SQLite gives the files beside it, such as -wal, the same mode


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
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


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")  # the former lets one write at a time
