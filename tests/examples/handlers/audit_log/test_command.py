"""`python -m examples.handlers.audit_log`, as a person and a program use it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from examples.handlers.audit_log import database
from examples.handlers.audit_log.__main__ import app
from examples.handlers.audit_log.record import Record
from examples.handlers.audit_log.verify import Report

runner = CliRunner()
Tamper = Callable[[sa.Engine, str], None]


@pytest.fixture
def log(engine: sa.Engine, url: str, record: Callable[..., Record], monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    """A log of ten rows, where the command looks for it."""
    monkeypatch.setenv("AUDIT_DATABASE_URL", url)
    database.append(engine, [record(number) for number in range(1, 11)])
    return engine


@pytest.mark.usefixtures("log")
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
        ("UPDATE audit_log SET recorded_at = '2020' WHERE seq = 4", "row 4 was changed"),
        ("DELETE FROM audit_log WHERE seq = 4", "row 4 is missing"),
        ("DELETE FROM audit_log WHERE seq IN (1, 2)", "rows 1 to 2 are missing"),
    ],
)
def test_the_first_broken_row_is_named(log: sa.Engine, tamper: Tamper, statement: str, what: str) -> None:
    """Whatever was changed or taken away is found where it is, with exit code 1."""
    tamper(log, statement)
    result = runner.invoke(app, ["verify"])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == what


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE audit_log SET actor = x'41' WHERE seq = 4", "row 4 was changed"),
        ("UPDATE audit_log SET payload = x'ff' WHERE seq = 4", "row 4 was changed"),
        ("UPDATE audit_log SET payload = CAST(x'ff' AS TEXT) WHERE seq = 4", "row 4's payload was changed"),
    ],
)
def test_what_is_no_text_is_found_like_any_other_change(
    log: sa.Engine, tamper: Tamper, tmp_path: Path, statement: str, what: str
) -> None:
    """SQLite takes bytes in any column: they neither stop the command nor hide in an export."""
    if log.dialect.name != "sqlite":
        pytest.skip("PostgreSQL keeps nothing but text in a column of text")
    tamper(log, statement)
    assert runner.invoke(app, ["verify"]).stdout.splitlines()[0] == what
    runner.invoke(app, ["export", "--to", str(tmp_path / "x")])
    assert "row 4" in runner.invoke(app, ["verify", "--file", str(tmp_path / "x")]).stdout.splitlines()[0]


def test_a_row_before_the_first_is_found(log: sa.Engine, tamper: Tamper) -> None:
    """A forged row has no place to hide, whatever its number."""
    tamper(log, "INSERT INTO audit_log VALUES (-7, 'forged', '', '', '', '', '', '', '', '', '', '', '', '')")
    result = runner.invoke(app, ["verify"])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "row -7 is there twice or out of order"


def test_a_row_rewritten_with_its_hash_breaks_the_link_after_it(log: sa.Engine, tamper: Tamper) -> None:
    """Whoever changes a row and computes its hash anew is found at the next row."""
    tamper(log, "UPDATE audit_log SET hash = 'another' WHERE seq = 4")
    result = runner.invoke(app, ["verify"])
    assert result.stdout.splitlines()[:2] == ["row 4 was changed", "row 5 does not follow the row before it"]


def test_a_cut_tail_shows_against_a_noted_head(log: sa.Engine, tamper: Tamper) -> None:
    """The chain cannot see that its end is gone; the head noted before can."""
    noted = runner.invoke(app, ["head"]).stdout.strip()
    assert runner.invoke(app, ["verify", "--expect-head", noted]).exit_code == 0
    tamper(log, "DELETE FROM audit_log WHERE seq > 7")
    assert runner.invoke(app, ["verify"]).exit_code == 0
    result = runner.invoke(app, ["verify", "--expect-head", noted])
    assert result.exit_code == 1
    assert "the tail is cut: the log ends at row 7, expected 10 at least" in result.stdout


@pytest.mark.usefixtures("log")
def test_another_history_of_the_same_length_shows_against_a_noted_head() -> None:
    """A chain rewritten from its start is whole in itself, and not the one whose head was noted."""
    result = runner.invoke(app, ["verify", "--expect-head", f"9:{'0' * 64}"])
    assert result.stdout.splitlines()[0] == "row 9 is not the one that was the head"


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], list(range(1, 11))),
        (["--type", "work_order.completed"], [2, 4, 6, 8, 10]),
        (["--type", "Work Order Completed"], [2, 4, 6, 8, 10]),
        (["--subject", "act_3"], [3]),
        (["--since", "2026-11-03T09:03+00:00", "--until", "2026-11-03T09:05+00:00"], [3, 4]),
        (["--since", "2026-11-03T10:09+01:00", "--type", "action.created"], [9]),
        (["--until", "2026-11-03"], []),
        (["--delivery", "no-such"], []),
    ],
)
def test_export_writes_the_rows_asked_for(filters: list[str], expected: list[int]) -> None:
    """One JSON object a line, in order, filtered by time, type and subject."""
    result = runner.invoke(app, ["export", *filters])
    assert [json.loads(line)["seq"] for line in result.stdout.splitlines()] == expected


def test_an_export_verifies_like_the_log_itself(log: sa.Engine, tmp_path: Path) -> None:
    """An auditor needs the file and nothing else; a changed line in it is found."""
    file = tmp_path / "export.jsonl"
    assert json.loads(runner.invoke(app, ["export", "--to", str(file), "--json"]).stdout)["rows"] == 10
    log.dispose()
    assert runner.invoke(app, ["verify", "--file", str(file)]).exit_code == 0
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole.replace("usr_1", "usr_2", 1), encoding="utf-8")
    assert runner.invoke(app, ["verify", "--file", str(file)]).stdout.splitlines()[0] == "row 1 was changed"
    file.write_text(whole + whole, encoding="utf-8")
    again = runner.invoke(app, ["verify", "--file", str(file)])
    assert again.stdout.splitlines()[0] == "row 1 is there twice or out of order"


@pytest.mark.usefixtures("log")
def test_json_is_for_programs() -> None:
    """`--json` says the same in one object."""
    verified = json.loads(runner.invoke(app, ["verify", "--json"]).stdout)
    head = json.loads(runner.invoke(app, ["head", "--json"]).stdout)
    assert verified == {
        "intact": True,
        "rows": 10,
        "head": f"10:{head['hash']}",
        "problem_count": 0,
        "problems": [],
        "unguarded": [],
        "proves": Report().proves(),
    }


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["verify", "--expect-head", "ten"], "expected SEQ:HASH, as `head` prints it"),
        (["verify", "--anchors", "no such file"], "--anchors: cannot read no such file: No such file or directory"),
        (["verify", "--anchors", __file__], "has no head in it; expected SEQ:HASH somewhere, as `head` prints it"),
        (["verify", "--file", "no such file"], "--file: cannot read no such file: No such file or directory"),
        (["verify", "--file", __file__], "is not a row that `export` wrote"),
        (["export", "--since", "yesterday"], "expected a time such as 2026-11-03"),
        (["export", "--to", "/proc/none/x"], "--to: cannot write /proc/none/x: No such file or directory"),
        (["export", "--to", "/dev/full"], "--to: cannot write /dev/full: No space left on device"),
    ],
)
def test_what_goes_wrong_is_one_clear_line(
    arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake says what was expected, with exit code 2."""
    monkeypatch.setenv("COLUMNS", "200")
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert expected in result.stderr


def test_reading_makes_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped path is said, and no empty database appears there."""
    monkeypatch.setenv("AUDIT_DATABASE_URL", f"sqlite:///{tmp_path}/none.db")
    result = runner.invoke(app, ["head"])
    assert result.exit_code == 2
    assert result.stderr == f"AUDIT_DATABASE_URL: there is no audit log at {tmp_path}/none.db yet\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"seq": "3"}, (2, "line 3 of")),
        ({"payload": 5}, (1, "row 3 was changed")),
        ({"hash": None}, (1, "row 3 was changed")),
        ({"payload": "\ud800"}, (1, "row 3's payload was changed")),
        ({"actor": "\ud800"}, (1, "row 3 was changed")),
    ],
)
@pytest.mark.usefixtures("log")
def test_an_export_with_anything_in_it_is_read(
    tmp_path: Path, row: dict[str, object], expected: tuple[int, str]
) -> None:
    """A file can hold whatever JSON can: it is a change, or a line that is no row."""
    file = tmp_path / "export.jsonl"
    runner.invoke(app, ["export", "--to", str(file)])
    lines = file.read_text(encoding="utf-8").splitlines()
    lines[2] = json.dumps(json.loads(lines[2]) | row)
    file.write_text("\n".join(lines), encoding="utf-8")
    result = runner.invoke(app, ["verify", "--file", str(file)])
    assert result.exit_code == expected[0]
    assert expected[1] in result.output.splitlines()[0]


@pytest.mark.usefixtures("log")
def test_rows_are_utf_8_and_a_reader_may_stop_early() -> None:
    """`export | head -1` ends without a traceback, and the terminal's encoding is no matter."""
    pipeline = f"PYTHONIOENCODING=ascii {sys.executable} -m examples.handlers.audit_log export | head -1"
    result = subprocess.run(["sh", "-c", pipeline], capture_output=True, encoding="utf-8", check=True)
    row = json.loads(result.stdout)
    assert (row["seq"], row["payload"]) == (1, '{"n": 1, "texto": "ação"}')
    assert result.stderr == ""


@pytest.mark.usefixtures("log")
def test_a_full_disk_behind_standard_output_is_one_clear_line() -> None:
    """`export > file` on a full disk says so, and not with exit code 0."""
    command = [sys.executable, "-m", "examples.handlers.audit_log", "export"]
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "--to: cannot write standard output: No space left on device\n"
