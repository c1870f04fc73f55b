"""`python -m examples.handlers.audit_log`, as a person and a program use it."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from examples.handlers.audit_log import database
from examples.handlers.audit_log.__main__ import app
from examples.handlers.audit_log.record import Record, sha256

runner = CliRunner()


def _record(number: int) -> Record:
    payload = f'{{"n": {number}, "texto": "ação"}}'
    return Record(
        event_key=f"k{number}",
        event_id=f"evt_{number}",
        event_type="action.created" if number % 2 else "work_order.completed",
        occurred_at="2026-11-03T09:01:12+00:00",
        received_at=f"2026-11-03T09:{number:02}:00.000000+00:00",
        actor="usr_1",
        subject_type="action",
        subject_id=f"act_{number}",
        payload=payload,
        payload_sha256=sha256(payload),
    )


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    """A log of ten rows, where the command looks for it."""
    url = f"sqlite:///{tmp_path}/audit.db"
    monkeypatch.setenv("AUDIT_DATABASE_URL", url)
    engine = database.connect(url)
    database.prepare(engine)
    database.append(engine, [_record(number) for number in range(1, 11)])
    return engine


def _tamper(engine: sa.Engine, statement: str) -> None:
    """What someone with the file in hand can do: take the triggers away, change, put them back."""
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_log_no_update")
        connection.exec_driver_sql("DROP TRIGGER audit_log_no_delete")
        connection.exec_driver_sql(statement)


@pytest.mark.usefixtures("engine")
def test_an_untouched_log_is_intact() -> None:
    """Exit code 0, and the head for the record."""
    result = runner.invoke(app, ["verify"])
    assert result.exit_code == 0
    assert result.stdout.startswith("intact: 10 rows, head 10:")


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE audit_log SET payload = '{}' WHERE seq = 4", "row 4's payload was changed"),
        ("UPDATE audit_log SET actor = 'nobody' WHERE seq = 4", "row 4 was changed"),
        ("DELETE FROM audit_log WHERE seq = 4", "row 4 is missing"),
        ("DELETE FROM audit_log WHERE seq IN (1, 2)", "rows 1 to 2 are missing"),
    ],
)
def test_the_first_broken_row_is_named(engine: sa.Engine, statement: str, what: str) -> None:
    """Whatever was changed or taken away is found where it is, with exit code 1."""
    _tamper(engine, statement)
    result = runner.invoke(app, ["verify"])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == what


def test_a_cut_tail_shows_against_a_noted_head(engine: sa.Engine) -> None:
    """The chain cannot see that its end is gone; the head noted before can."""
    noted = runner.invoke(app, ["head"]).stdout.strip()
    _tamper(engine, "DELETE FROM audit_log WHERE seq > 7")
    assert runner.invoke(app, ["verify"]).exit_code == 0
    result = runner.invoke(app, ["verify", "--expect-head", noted])
    assert result.exit_code == 1
    assert "the tail is cut: the log ends at row 7, expected 10 at least" in result.stdout


@pytest.mark.usefixtures("engine")
def test_export_writes_rows_as_json_lines() -> None:
    """Every row, or those asked for, one JSON object a line."""
    lines = runner.invoke(app, ["export"]).stdout.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, 11))
    [only] = runner.invoke(app, ["export", "--subject", "act_3"]).stdout.splitlines()
    assert json.loads(json.loads(only)["payload"]) == {"n": 3, "texto": "ação"}


@pytest.mark.usefixtures("engine")
def test_json_is_for_programs() -> None:
    """`--json` says the same in one object."""
    verified = json.loads(runner.invoke(app, ["verify", "--json"]).stdout)
    head = json.loads(runner.invoke(app, ["head", "--json"]).stdout)
    assert verified == {"intact": True, "rows": 10, "head": f"10:{head['hash']}", "problems": []}


@pytest.mark.usefixtures("engine")
def test_a_head_that_is_none_is_one_clear_line() -> None:
    """A mistyped head says how one is written."""
    result = runner.invoke(app, ["verify", "--expect-head", "ten"])
    assert result.exit_code == 2
    assert "expected SEQ:HASH" in result.stderr
