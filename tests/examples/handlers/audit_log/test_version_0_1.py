"""A log that version 0.1 of the kit wrote opens, verifies and goes on: `version_0_1/` holds one of each database.

Five events, one of them sent twice; made by that version's own code, and dumped by `sqlite3` and `pg_dump` (without
its SET lines).
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from examples.handlers import audit_log
from examples.handlers.audit_log import database
from examples.handlers.audit_log.__main__ import app
from examples.handlers.audit_log.verify import verify
from receiver.environment import load
from worker import Context, Event

DUMPS = Path(__file__).parent / "version_0_1"
HEADS = {
    "sqlite": "5:3890a3db72e26758abcf57c59007c061f4988b7d4f4c023dab96fd91665b28d4",
    "postgresql": "5:12253cc26a557ba23e27cb7bdfee8dd7c59375d5181ea946c62f4ef4b00d13e5",
}


@pytest.fixture
def old_log(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """The old log, where the settings say; an engine to look into it."""
    monkeypatch.setenv("AUDIT_DATABASE_URL", url)
    engine = database.connect(url)
    dump = (DUMPS / f"{engine.dialect.name}.sql").read_text(encoding="utf-8")
    if engine.dialect.name == "sqlite":
        file = Path(engine.url.database or "")
        file.parent.mkdir(parents=True)
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.executescript(dump)
    else:
        with engine.begin() as connection:
            connection.exec_driver_sql(dump.replace("public.", ""))  # into the schema of this test
    yield engine
    engine.dispose()


def test_it_verifies(old_log: sa.Engine) -> None:
    """Its rows, its triggers and the head that was noted then."""
    result = CliRunner().invoke(app, ["verify", "--expect-head", HEADS[old_log.dialect.name]])
    assert (result.exit_code, result.stdout.splitlines()[0]) == (
        0,
        f"intact: 5 rows, head {HEADS[old_log.dialect.name]}",
    )


@pytest.mark.anyio
@pytest.mark.parametrize("key", ["", "k" * 32])
async def test_it_goes_on(
    old_log: sa.Engine,
    context: Callable[..., Context],
    sample: Callable[..., Event],
    monkeypatch: pytest.MonkeyPatch,
    key: str,
) -> None:
    """An event that is there already is not written again, another one is; with a key from here on, or without."""
    monkeypatch.setenv("AUDIT_KEY", key)
    [before] = database.rows(old_log, sa.column("event_id") == "evt_01JBSAMPLE0008")
    audit_log.configure()
    await audit_log.append(sample("action.created"), context(key=before["event_key"]))
    await audit_log.append(sample("action.solved"), context(key="audit_log.append:another"))
    report = verify(database.rows(old_log), load(audit_log.AuditSettings).seal(), [database.head(old_log)])
    assert (report.rows, report.problems) == (6, [])
    assert CliRunner().invoke(app, ["verify", "--expect-head", str(report.head)]).exit_code == 0
    audit_log.close()
