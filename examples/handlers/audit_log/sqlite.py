"""The log in SQLite: a private file, write-ahead log mode, and rows on disk before the handler returns."""

import sqlite3
import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine

_LOCK_TIMEOUT = 10.0  # seconds to wait for another process's transaction


def connect(url: URL) -> Engine:
    # hide_parameters keeps payloads out of error messages
    engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": _LOCK_TIMEOUT})
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine


def make_file(url: URL) -> None:
    """Create the file and its folder, for this user only; existing ones keep their mode. Raises OSError."""
    file = Path(url.database or "")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.touch(mode=0o600)  # SQLite gives the files beside it, such as -wal, the same mode


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # `_begin` begins transactions, not the driver
    connection.text_factory = _text
    _into_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")  # a committed row survives a power loss


def _text(stored: bytes) -> str:
    """Decode also invalid UTF-8, which only tampering can cause, so that `verify` can read the rest of the log."""
    return stored.decode("utf-8", "surrogateescape")


def _into_wal(connection: sqlite3.Connection) -> None:
    """Set WAL mode, with retries: this statement ignores SQLite's time-out while another process creates the file."""
    deadline = time.monotonic() + _LOCK_TIMEOUT
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
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")  # IMMEDIATE: one writer at a time
