"""The log in a real SQLite and a real PostgreSQL: parallel writers, kills, triggers, versions."""

import contextlib
import multiprocessing
import sqlite3
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.pool import Pool
from pathlib import Path

import pytest
import sqlalchemy as sa

from examples.handlers.audit_log import database, postgresql, schema
from examples.handlers.audit_log.record import Record
from examples.handlers.audit_log.seal import sha256
from examples.handlers.audit_log.verify import verify

_PROCESSES = multiprocessing.get_context("forkserver")  # each with connections of its own, the imports made once
_PROCESSES.set_forkserver_preload([database.__name__])


def _keep_writing(url: str, start: int, written: "Connection[int, None]") -> None:
    engine = database.connect(url)
    database.create(engine)
    for number in range(start, start + 100_000):
        payload = f'{{"n": {number}}}'
        record = Record(f"k{number}", None, "t", None, "2026", None, None, None, payload, sha256(payload))
        database.append(engine, [record])
        written.send(number)


def _append_all(url: str, records: list[Record]) -> int:
    engine = database.connect(url)
    try:
        database.create(engine)
        return sum(database.append(engine, [record])[0].new for record in records)
    except sa.exc.SQLAlchemyError as error:
        raise RuntimeError(str(error)) from None  # theirs cannot be pickled, and the pool would wait for ever
    finally:
        engine.dispose()


def test_parallel_processes_write_each_event_once(url: str, record: Callable[..., Record]) -> None:
    """Four processes with the same fifty events, the first to come making the log, leave fifty rows in one chain."""
    records = [record(number) for number in range(50)]
    with _PROCESSES.Pool(4) as pool:
        assert isinstance(pool, Pool)
        assert sum(pool.starmap(_append_all, [(url, records)] * 4)) == 50
    engine = database.connect(url)
    report = verify(database.rows(engine))
    engine.dispose()
    assert (report.rows, report.problems) == (50, [])


def test_a_log_that_another_process_is_just_making_is_waited_for(tmp_path: Path, record: Callable[..., Record]) -> None:
    """Two workers that start together on a new file: the second waits, although SQLite would not."""
    with contextlib.closing(sqlite3.connect(tmp_path / "audit.db", check_same_thread=False)) as other:
        other.executescript("CREATE TABLE of_another (x); BEGIN IMMEDIATE")
        threading.Timer(0.2, other.rollback).start()
        engine = database.connect(f"sqlite:///{tmp_path}/audit.db")
        database.create(engine)
    assert database.append(engine, [record(1)])[0].new
    engine.dispose()


def test_a_writer_that_stopped_in_the_middle_does_not_stop_the_others(
    new_postgresql_database: Callable[[], str], record: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen process or a host that is gone keeps PostgreSQL's lock for so long, and then its transaction is over."""
    engine = database.connect(new_postgresql_database())
    database.create(engine)
    with engine.connect() as stopped:
        monkeypatch.setattr(postgresql, "_LOCK_TIMEOUT", 0.5)
        postgresql.lock(stopped)
        monkeypatch.setattr(postgresql, "_LOCK_TIMEOUT", 0.01)
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            database.append(engine, [record(1)])
        monkeypatch.setattr(postgresql, "_LOCK_TIMEOUT", 10)
        assert database.append(engine, [record(1)])[0].new
        with pytest.raises(sa.exc.DBAPIError, match="idle-in-transaction timeout"):
            stopped.execute(sa.text("SELECT 1"))
    engine.dispose()


def test_a_worker_needs_no_more_than_to_read_and_to_insert(
    new_postgresql_database: Callable[[], str], record: Callable[..., Record]
) -> None:
    """Once the log is there, a PostgreSQL role that can change nothing in it will do."""
    owner = database.connect(new_postgresql_database())
    database.create(owner)
    with owner.begin() as connection:
        name = connection.exec_driver_sql("SELECT current_schema()").scalar()
        for statement in (
            "CREATE ROLE worker LOGIN",
            f"GRANT USAGE ON SCHEMA {name} TO worker",
            "GRANT SELECT ON audit_log_schema TO worker",
            "GRANT SELECT, INSERT ON audit_log TO worker",
        ):
            connection.exec_driver_sql(statement)
    worker = database.connect(owner.url.set(username="worker").render_as_string(hide_password=False))
    database.create(worker)
    assert database.append(worker, [record(1)])[0].new
    worker.dispose()
    owner.dispose()


def test_what_was_reported_as_written_survives_kill(url: str) -> None:
    """Killed in the middle of writing, again and again: nothing reported is gone, and the chain holds."""
    reported = set()
    for start in (0, 100_000, 200_000):
        told, tell = _PROCESSES.Pipe(duplex=False)
        writer = _PROCESSES.Process(target=_keep_writing, args=(url, start, tell))
        writer.start()
        tell.close()
        reported |= {f"k{told.recv()}" for _ in range(40)}
        writer.kill()
        with contextlib.suppress(EOFError):
            while True:
                reported.add(f"k{told.recv()}")
        writer.join()
        told.close()
    engine = database.connect(url)
    written = list(database.rows(engine))
    engine.dispose()
    assert reported <= {row["event_key"] for row in written}
    assert verify(written).intact


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_log SET actor = 'nobody'",
        "DELETE FROM audit_log WHERE seq = 1",
        "TRUNCATE audit_log",
        "INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log WHERE seq = 1",
        "REPLACE INTO audit_log VALUES (2, 'k1', '', '', '', '', '', '', '', '', '', '', '', '')",
    ],
)
def test_the_database_refuses_changes(engine: sa.Engine, record: Callable[..., Record], change: str) -> None:
    """No statement of any client changes, deletes, truncates or replaces a row while the triggers are there."""
    if {"TRUNCATE": "sqlite", "INSERT": "postgresql", "REPLACE": "postgresql"}.get(
        change.split(maxsplit=1)[0]
    ) == engine.dialect.name:
        pytest.skip("no such statement in this database")
    database.append(engine, [record(1)])
    with (
        pytest.raises(sa.exc.DBAPIError, match="append-only"),
        engine.execution_options(writes=True).begin() as connection,
    ):
        connection.exec_driver_sql(change)
    assert verify(database.rows(engine)).intact


def test_repeats_within_one_transaction_are_one_row(engine: sa.Engine, record: Callable[..., Record]) -> None:
    """The same event twice in one batch is written once, another payload is a conflict."""
    first, again, other = database.append(engine, [record(1), record(1), record(1, "another")])
    assert (first.new, first.conflict) == (True, False)
    assert (again.new, again.conflict) == (False, False)
    assert (other.new, other.conflict) == (False, True)
    assert first.seq == again.seq == other.seq == 1


def test_an_older_log_is_brought_up_to_date(engine: sa.Engine, record: Callable[..., Record]) -> None:
    """A log of version 1 gets the indexes and the trigger that it lacks; its rows and their chain stay as they are."""
    database.append(engine, [record(1), record(2)])
    with engine.execution_options(writes=True).begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_audit_log_received_at")
        connection.exec_driver_sql("DROP INDEX ix_audit_log_subject_id")
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER audit_log_no_replace")
        connection.exec_driver_sql("UPDATE audit_log_schema SET version = 1")
    database.create(engine)
    database.append(engine, [record(3)])
    assert {index["name"] for index in sa.inspect(engine).get_indexes("audit_log")} >= {
        "ix_audit_log_received_at",
        "ix_audit_log_subject_id",
    }
    assert verify(database.rows(engine)).rows == 3
    if engine.dialect.name == "sqlite":
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.exec_driver_sql("INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log WHERE seq = 1")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE audit_log_schema SET version = 99", "made by a newer kit than this one .it knows 3.; update the kit"),
        ("UPDATE audit_log_schema SET version = 0", "too old for this kit"),
        ("DROP TABLE audit_log_schema", "not one that this kit made"),
    ],
)
@pytest.mark.parametrize("use", [database.create, database.check])
def test_a_log_of_another_make_is_refused(
    engine: sa.Engine, statement: str, expected: str, use: Callable[[sa.Engine], None]
) -> None:
    """A version that this kit does not know is left alone, and the line says why."""
    with engine.execution_options(writes=True).begin() as connection:
        connection.exec_driver_sql(statement)
    with pytest.raises(schema.Refused, match=expected):
        use(engine)


def test_reading_does_not_hold_up_writing(engine: sa.Engine, record: Callable[..., Record]) -> None:
    """A reader in the middle of the log takes no lock: the next event is written at once, and read."""
    database.append(engine, [record(number) for number in range(database._CHUNK + 1)])
    reading = database.rows(engine)
    next(reading)
    database.append(engine, [record(-1)])
    assert sum(1 for _ in reading) == database._CHUNK + 1
