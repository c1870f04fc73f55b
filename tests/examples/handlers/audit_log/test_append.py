"""Every event once, through the handler itself."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import LogCapture

from examples.handlers import audit_log
from examples.handlers.audit_log import database
from examples.handlers.audit_log.record import Record
from examples.handlers.audit_log.schema import TABLE
from examples.handlers.audit_log.seal import Seal
from examples.handlers.audit_log.verify import verify
from examples.handlers.audit_log.writer import LogUnavailable, Writer
from receiver.environment import SettingsError
from receiver.events import identifier
from worker import Context, Event, GiveUp

pytestmark = pytest.mark.anyio


@pytest.fixture
def log(url: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """The handler configured for a fresh log, and an engine to look into it."""
    monkeypatch.setenv("AUDIT_DATABASE_URL", url)
    audit_log.configure()
    yield engine
    audit_log.close()


async def test_every_event_is_written_once(
    log: sa.Engine, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """Repeats, one after the other and side by side, change nothing."""
    events = [(sample(name), context(key=f"audit:{name}")) for name in ("action.created", "work_order.completed")]
    for _ in range(2):
        await asyncio.gather(*(audit_log.append(event, ctx) for event, ctx in events * 5))
    written = list(database.rows(log))
    assert sorted(row["event_type"] for row in written) == ["action.created", "work_order.completed"]
    assert verify(written).intact


async def test_a_row_says_who_what_which_and_when(
    log: sa.Engine, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """The row holds the event's own words and the payload exactly as received."""
    event = sample()
    await audit_log.append(event, context(key="k"))
    [row] = database.rows(log)
    assert row["payload"] == event.raw
    assert row["event_id"] == "evt_01JBSAMPLE0008"
    assert row["actor"] == "usr_joao"
    assert (row["subject_type"], row["subject_id"]) == ("action", "act_90b1e4")
    assert row["occurred_at"] == "2026-11-03T09:01:12+00:00"
    assert row["received_at"] == "2026-11-03T09:01:13.000000+00:00"
    assert row["recorded_at"] > row["received_at"]


async def test_personal_data_is_masked_before_it_is_written(
    log: sa.Engine, context: Callable[..., Context], sample: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paths in AUDIT_MASK never reach the database, in no column, and the chain covers what did."""
    monkeypatch.setenv("AUDIT_MASK", "actor, work_order.id, work_order.assignees.*.name")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1/0")  # as every worker has it
    audit_log.configure()
    await audit_log.append(sample("work_order.completed"), context(key="k"))
    [row] = database.rows(log)
    assert "João" not in str(dict(row))
    assert "usr_joao" in row["payload"]  # an assignee's id was not asked to be masked
    assert row["actor"] == row["subject_id"] == "***"
    assert 'wo_5d2c81"' not in row["payload"]
    assert verify([row]).intact


async def test_another_payload_under_the_same_key_is_a_conflict(
    log: sa.Engine, context: Callable[..., Context], sample: Callable[..., Event], logs: LogCapture
) -> None:
    """The first stays, and the second is said aloud."""
    await audit_log.append(sample(), context(key="k"))
    await audit_log.append(sample(title="Another"), context(key="k"))
    [row] = database.rows(log)
    assert "Another" not in row["payload"]
    assert logs.entries[-1] == {"event": "audit log: conflict, the first is kept", "seq": 1, "log_level": "warning"}


async def test_text_that_no_database_holds_is_spelled_out(
    log: sa.Engine, context: Callable[..., Context], event_of: Callable[..., Event]
) -> None:
    """JSON may name NUL and half a surrogate pair; PostgreSQL takes neither, and the event is kept all the same."""
    event = event_of({"id": "e\x00\ud800", "type": "odd\x00type", "actor": "\ud800"})
    await audit_log.append(event, context(key="k"))
    [row] = database.rows(log)
    assert (row["event_id"], row["event_type"], row["actor"]) == (r"e\u0000\ud800", r"odd\u0000type", r"\ud800")


async def test_a_database_out_of_reach_is_an_ordinary_failure(
    log: sa.Engine, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """The worker gets one line without payload, and the next try works once the database is back."""
    with log.execution_options(writes=True).begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_log RENAME TO elsewhere")
    with pytest.raises(LogUnavailable, match=r"^the audit log cannot be written: [^\n]*audit_log[^\n]*$") as failure:
        await audit_log.append(sample(), context())
    assert "Fuga" not in f"{failure.value} {failure.value.__cause__}"
    with log.execution_options(writes=True).begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO audit_log")
    await audit_log.append(sample(), context())
    assert database.count(log) == 1


async def test_a_full_disk_is_an_ordinary_failure(
    log: sa.Engine, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """Nothing of the event is written, and the next try works once there is room."""
    if log.dialect.name != "sqlite":
        pytest.skip("PostgreSQL has no limit to set for a database")
    engine = audit_log._log().engine
    engine.dispose()

    def full(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count=20")

    sa.event.listen(engine, "connect", full)
    with pytest.raises(LogUnavailable, match=r"^the audit log cannot be written: database or disk is full$"):
        await audit_log.append(sample(description="x" * 200_000), context())
    sa.event.remove(engine, "connect", full)
    engine.dispose()
    await audit_log.append(sample(), context())
    assert verify(database.rows(log)).rows == 1


async def test_connections_that_the_server_closed_are_opened_anew(
    log: sa.Engine, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """A restart of PostgreSQL between two events costs neither of them a try."""
    if log.dialect.name == "sqlite":
        pytest.skip("SQLite has no server")
    await audit_log.append(sample(), context(key="k1"))
    with log.begin() as connection:
        mine = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        connection.exec_driver_sql(f"{mine} AND backend_type = 'client backend'")
    await audit_log.append(sample(), context(key="k2"))
    assert database.count(log) == 2


async def test_one_event_that_cannot_be_written_does_not_hold_up_the_others(
    log: sa.Engine, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """Events are written together, and fail alone."""
    table = "audit_log ADD CONSTRAINT c CHECK (event_id <> 'evt_01JBSAMPLE0006')"
    if log.dialect.name == "sqlite":
        pytest.skip("SQLite adds no constraint to a table that exists")
    with log.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table}")
    names = ("action.created", "work_order.completed", "action.solved")
    outcomes = await asyncio.gather(
        *(audit_log.append(sample(name), context(key=name)) for name in names), return_exceptions=True
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["NoneType", "LogUnavailable", "NoneType"]
    assert verify(database.rows(log)).rows == 2


async def test_a_record_that_the_database_cannot_hold_fails_alone(
    log: sa.Engine, record: Callable[..., Record]
) -> None:
    """Every other one of its batch is written, and its own waiter gets an answer that ends the retries."""
    records = [record(number) for number in range(41)]
    records[7] = replace(records[7], subject_id="\ud800")
    records[33] = replace(records[33], payload="\ud800")
    writer = Writer(log, Seal())
    outcomes = await asyncio.gather(*map(writer.append, records), return_exceptions=True)
    failed = {number: outcome for number, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)}
    assert {number: type(error) for number, error in failed.items()} == {7: GiveUp, 33: GiveUp}
    assert verify(database.rows(log)).rows == 39
    assert verify(database.rows(log)).intact
    assert str(failed[7]).startswith("the audit log's database cannot hold this event: 'utf-8' codec can't encode")


async def test_a_subject_id_of_any_length_is_written(
    log: sa.Engine, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """An index takes no more than 2 704 bytes on PostgreSQL: the id is kept as its beginning and its hash."""
    ids = ["".join(chr(0x1F300 + (number * n) % 977) for number in range(2700)) for n in (1, 2)]
    events = [sample(id=subject) for subject in [*ids, *(f"act_{number}" for number in range(39))]]
    await asyncio.gather(*(audit_log.append(event, context(key=f"k{n}")) for n, event in enumerate(events)))
    rows = {row["event_key"]: row for row in database.rows(log)}
    assert len(rows) == 41
    assert rows["k0"]["subject_id"] != rows["k1"]["subject_id"]
    assert rows["k0"]["payload"] == events[0].raw
    [found] = database.rows(log, TABLE.c.subject_id == identifier(ids[0]))
    assert found["event_key"] == "k0"


def test_the_log_is_for_its_own_user_only(tmp_path: Path, record: Callable[..., Record]) -> None:
    """The SQLite file, the files that SQLite puts beside it, and the folder that is made for them."""
    folder = tmp_path / "new"
    engine = database.connect(f"sqlite:///{folder}/audit.db")
    database.create(engine)
    database.append(engine, [record(1)])
    modes = {file.name: file.stat().st_mode & 0o777 for file in [folder, *folder.iterdir()]}
    engine.dispose()
    assert modes == {"new": 0o700, "audit.db": 0o600, "audit.db-wal": 0o600, "audit.db-shm": 0o600}


@pytest.mark.parametrize(
    ("name", "wrong", "expected"),
    [
        ("AUDIT_KEY", "short", "AUDIT_KEY: expected at least 32 characters for each key; make one with: "),
        ("AUDIT_KEY", f"{'k' * 32},short", "AUDIT_KEY: expected at least 32 characters for each key; make one with: "),
        ("AUDIT_ANCHOR_URL", "s3://bucket", "AUDIT_ANCHOR_URL: expected https://host/path"),
        ("AUDIT_ANCHOR_EVERY", "often", "AUDIT_ANCHOR_EVERY: expected a duration such as 30s"),
    ],
)
def test_a_wrong_setting_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, wrong: str, expected: str) -> None:
    """One line says what was expected, and repeats no secret."""
    monkeypatch.setenv(name, wrong)
    with pytest.raises(SettingsError) as refused:
        audit_log.configure()
    assert str(refused.value).startswith(expected)
    assert name == "AUDIT_ANCHOR_EVERY" or wrong not in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [
        *("mysql://x/y", "no url", "postgresql://", "postgresql://host:port/database"),
        *("sqlite://", "sqlite://.data/audit.db", "sqlite:///:memory:", "sqlite:///a.db?mode=ro"),
    ],
)
def test_a_wrong_url_stops_the_start(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """Only SQLite files and PostgreSQL will do, and the line says how to write them."""
    monkeypatch.setenv("AUDIT_DATABASE_URL", wrong)
    with pytest.raises(SettingsError, match=r"^AUDIT_DATABASE_URL: expected sqlite:///path/to/file.db or postgresql"):
        audit_log.configure()


@pytest.mark.parametrize(
    "wrong", ["actor..name", "work_order.", ".", "$.actor", "**", 'actor."full.name"', "tasks[0].name", "actor.na|me"]
)
def test_a_path_that_masks_nothing_stops_the_start(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """What was to be hidden would be written otherwise."""
    monkeypatch.setenv("AUDIT_MASK", wrong)
    with pytest.raises(SettingsError, match=r"^AUDIT_MASK: expected paths such as actor\.name"):
        audit_log.configure()


@pytest.mark.parametrize(
    ("unreachable", "shown"),
    [
        ("sqlite:////proc/audit.db", "sqlite:////proc/audit.db"),
        ("postgresql+psycopg://me:S3CRET@127.0.0.1:1/audit", r"postgresql\+psycopg://me:\*\*\*@127.0.0.1:1/audit"),
        ("postgresql://127.0.0.1:1/audit?user=me&password=S3CRET", "postgresql://127.0.0.1:1/audit"),
    ],
)
def test_a_database_that_cannot_be_opened_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, unreachable: str, shown: str
) -> None:
    """One line with the cause, and without the password."""
    monkeypatch.setenv("AUDIT_DATABASE_URL", unreachable)
    with pytest.raises(SettingsError, match=rf"^AUDIT_DATABASE_URL: cannot open {shown}: ") as refused:
        audit_log.configure()
    assert "S3CRET" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
