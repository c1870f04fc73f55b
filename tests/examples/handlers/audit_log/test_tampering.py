"""What someone does who has the database in hand, and what shows it: the table in the package's README, tried.

Each takes the triggers away, changes rows, computes all hashes anew as far as it can, and puts the triggers back.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from examples.handlers import audit_log
from examples.handlers.audit_log import database
from examples.handlers.audit_log.__main__ import app
from examples.handlers.audit_log.record import Head, Record, hashed_text
from examples.handlers.audit_log.schema import TABLE, Refused
from examples.handlers.audit_log.seal import Seal, sha256
from receiver.environment import SettingsError

KEY, OLDER_KEY = "a" * 32, "b" * 32
BOTH_KEYS = f"{KEY}, {OLDER_KEY}"
Row = dict[str, Any]


def seal(keys: str) -> Seal:
    return Seal(*(key.strip().encode() for key in keys.split(",") if key))


def rechained(rows: Sequence[Row], after: Row | None, made_with: Seal) -> list[Row]:
    """The rows as a chain that goes on after another row, made with the keys that the attacker has."""
    last = Head(after["seq"], after["hash"]) if after else Head()
    done = []
    for row in rows:
        new = {**row, "seq": last.seq + 1, "payload_sha256": sha256(row["payload"]), "prev_hash": last.hash}
        new["hash"] = made_with.hash(hashed_text(new))
        last = Head(new["seq"], new["hash"])
        done.append(new)
    return done


def change_a_row(rows: list[Row], has: Seal) -> list[Row]:
    return rows[:3] + rechained([{**rows[3], "actor": "nobody"}, *rows[4:]], rows[2], has)


def append_a_row(rows: list[Row], has: Seal) -> list[Row]:
    return rows + rechained([{**rows[-1], "event_key": "forged", "payload": "{}"}], rows[-1], has)


def cut_the_end(rows: list[Row], _has: Seal) -> list[Row]:
    return rows[:7]


def replace_all(rows: list[Row], has: Seal) -> list[Row]:
    return rechained([{**row, "payload": "{}"} for row in rows], None, has)


def keep_the_hash(rows: list[Row], _has: Seal) -> list[Row]:
    return [{**row, "actor": "nobody"} if row["seq"] == 4 else row for row in rows]


@pytest.fixture
def attack(engine: sa.Engine, tamper: Callable[..., None]) -> Callable[..., None]:
    """Put into the log what an attack makes of its rows."""

    def do(change: Callable[[list[Row], Seal], list[Row]], has: str = "") -> None:
        rows = change([dict(row) for row in database.rows(engine)], seal(has))
        tamper(engine, "DELETE FROM audit_log")
        with engine.execution_options(writes=True).begin() as connection:
            connection.execute(TABLE.insert(), rows)

    return do


@pytest.fixture
def verified(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[str]]:
    """What `verify` prints with these keys and anchors; its exit code is 1 where it is not intact."""

    def lines(keys: str, anchor: Head | None = None) -> list[str]:
        monkeypatch.setenv("AUDIT_DATABASE_URL", url)
        monkeypatch.setenv("AUDIT_KEY", keys)
        arguments = []
        if anchor is not None:
            (tmp_path / "anchors").write_text(f'{{"head": "{anchor}"}}\n', encoding="utf-8")
            arguments = ["--anchors", str(tmp_path / "anchors")]
        result = CliRunner().invoke(app, ["verify", *arguments])
        assert result.exit_code == (0 if result.stdout.startswith("intact") else 1), result.output
        return result.stdout.splitlines()

    return lines


def append(engine: sa.Engine, records: Sequence[Record], keys: str = "") -> Head:
    """What the worker does, with these keys; the head after it."""
    database.append(engine, records, seal(keys))
    return database.head(engine)


NOT_VOUCHED_FOR = "rows 1 to 10 are not under the newest AUDIT_KEY, and no anchor covers them"
NOT_THE_HEAD = "row 10 is not the one that was the head"


@pytest.mark.parametrize(
    "case",
    [
        (keep_the_hash, "", False, "row 4 was changed"),
        (keep_the_hash, KEY, False, "row 4 was changed"),
        (change_a_row, "", False, "intact"),
        (change_a_row, KEY, False, "row 4 is under no key, unlike the row before it"),
        (change_a_row, "", True, NOT_THE_HEAD),
        (append_a_row, "", False, "intact"),
        (append_a_row, KEY, False, "row 11 is under no key, unlike the row before it"),
        (append_a_row, "", True, "intact"),
        (cut_the_end, "", False, "intact"),
        (cut_the_end, KEY, False, "intact"),
        (cut_the_end, "", True, "the tail is cut: the log ends at row 7, expected 10 at least"),
        (replace_all, "", False, "intact"),
        (replace_all, KEY, False, NOT_VOUCHED_FOR),
        (replace_all, "", True, NOT_THE_HEAD),
    ],
)
def test_what_shows_an_attack(
    engine: sa.Engine,
    record: Callable[..., Record],
    attack: Callable[..., None],
    verified: Callable[..., list[str]],
    case: tuple[Callable[..., list[Row]], str, bool, str],
) -> None:
    """The chain alone shows carelessness; a key shows what is forged, an anchor what is gone or was rewritten."""
    change, keys, anchored, expected = case
    anchor = append(engine, [record(number) for number in range(10)], keys)
    attack(change)
    assert verified(keys, anchor if anchored else None)[0].startswith(expected)


def test_a_forged_row_stays_visible_when_the_worker_goes_on(
    engine: sa.Engine,
    record: Callable[..., Record],
    attack: Callable[..., None],
    verified: Callable[..., list[str]],
) -> None:
    """A worker with the key that goes on after rows of another's making does not vouch for them."""
    append(engine, [record(number) for number in range(10)], KEY)
    attack(replace_all)
    append(engine, [record(11)], KEY)
    assert verified(KEY)[0] == NOT_VOUCHED_FOR


def test_a_key_that_leaked_is_of_no_use_once_it_is_replaced(
    engine: sa.Engine,
    record: Callable[..., Record],
    attack: Callable[..., None],
    verified: Callable[..., list[str]],
) -> None:
    """What was written under it is vouched for by the head of the day on which the new one came."""
    anchor = append(engine, [record(number) for number in range(3)], OLDER_KEY)
    assert verified(OLDER_KEY)[0].startswith("intact: 3 rows")
    append(engine, [record(number) for number in range(3, 10)], BOTH_KEYS)
    assert verified(BOTH_KEYS, anchor)[0].startswith("intact: 10 rows")
    attack(append_a_row, OLDER_KEY)
    assert verified(BOTH_KEYS, anchor)[0] == "row 11 is under an older key, unlike the row before it"
    attack(replace_all, OLDER_KEY)
    assert verified(BOTH_KEYS)[0] == NOT_VOUCHED_FOR.replace("10", "11")
    assert verified(BOTH_KEYS, anchor)[0] == "row 3 is not the one that was the head"


def test_an_anchor_does_not_vouch_for_a_row_forged_before_it(
    engine: sa.Engine,
    record: Callable[..., Record],
    attack: Callable[..., None],
    verified: Callable[..., list[str]],
) -> None:
    """The worker cannot know, goes on, and anchors what it finds: the forged row shows all the same."""
    append(engine, [record(number) for number in range(10)], KEY)
    attack(append_a_row)
    anchor = append(engine, [record(12)], KEY)
    assert verified(KEY, anchor)[0] == "row 11 is under no key, unlike the row before it"


def test_a_log_from_before_the_key_needs_an_anchor(
    engine: sa.Engine, record: Callable[..., Record], verified: Callable[..., list[str]]
) -> None:
    """Rows under no key could be anybody's; the head of the day on which the key came vouches for them."""
    anchor = append(engine, [record(number) for number in range(10)])
    append(engine, [record(11), record(12)], KEY)
    assert verified(KEY)[0] == NOT_VOUCHED_FOR
    assert verified(KEY, anchor) == [
        f"intact: 12 rows, head {database.head(engine)}",
        "  every row was written by a holder of the newest AUDIT_KEY, or is covered by an anchor",
        "  up to row 10 it is what was anchored; of what came after, the end may be cut off",
    ]


def test_verify_says_what_it_proves_without_key_and_anchor(
    engine: sa.Engine, record: Callable[..., Record], verified: Callable[..., list[str]]
) -> None:
    """An intact chain is not a proof against who has the database."""
    head = append(engine, [record(1)])
    assert verified("") == [
        f"intact: 1 rows, head {head}",
        "  no AUDIT_KEY: whoever can write to the database can compute such a chain anew",
        "  no anchor: whether the end was cut off, or an older copy put in its place, does not show",
    ]


def test_a_log_under_a_key_that_is_not_given_cannot_be_checked(
    engine: sa.Engine, record: Callable[..., Record], verified: Callable[..., list[str]]
) -> None:
    """It says so once, with the key's id, instead of calling every row changed."""
    append(engine, [record(number) for number in range(10)], KEY)
    key = database.head(engine).hash.split(":")[1]
    for keys in ("", OLDER_KEY):
        found, state = verified(keys)
        assert found == f"row 1 is under key {key}, which AUDIT_KEY does not have: it cannot be checked"
        assert state.startswith("NOT intact: 10 rows")


def test_a_worker_without_the_key_does_not_go_on_with_the_log(
    engine: sa.Engine, record: Callable[..., Record], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows would look forged: it does not start, and one that runs stops writing."""
    append(engine, [record(1)], KEY)
    monkeypatch.setenv("AUDIT_DATABASE_URL", url)
    for keys in ("", OLDER_KEY):
        monkeypatch.setenv("AUDIT_KEY", keys)
        with pytest.raises(SettingsError, match=r"the log's last row is under key \w+, which AUDIT_KEY does not have"):
            audit_log.configure()
        with pytest.raises(Refused):
            append(engine, [record(2)], keys)
    append(engine, [record(2)], BOTH_KEYS)
    assert database.count(engine) == 2


GONE, CHANGED, FOREIGN = "is gone", "is not as the kit made it", "acts on the table, and the kit did not make it"


@pytest.mark.parametrize(
    ("dialect", "statements", "expected"),
    [
        ("sqlite", ["DROP TRIGGER audit_log_no_update"], f"the trigger audit_log_no_update {GONE}"),
        (
            "sqlite",
            [
                "DROP TRIGGER audit_log_no_delete",
                "CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log BEGIN SELECT 1; END",
            ],
            f"the trigger audit_log_no_delete {CHANGED}",
        ),
        ("sqlite", ["CREATE TRIGGER mine AFTER INSERT ON Audit_Log BEGIN SELECT 1; END"], f"mine {FOREIGN}"),
        (
            "postgresql",
            ["DROP TRIGGER audit_log_no_change ON audit_log"],
            f"the trigger audit_log_no_change {GONE}",
        ),
        (
            "postgresql",
            ["ALTER TABLE audit_log DISABLE TRIGGER audit_log_no_change"],
            f"the trigger audit_log_no_change {CHANGED}",
        ),
        (
            "postgresql",
            [
                """CREATE OR REPLACE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql
                AS 'BEGIN RETURN NULL; END'"""
            ],
            f"the trigger audit_log_no_change {CHANGED}",
        ),
        (
            "postgresql",
            [
                """CREATE OR REPLACE TRIGGER audit_log_no_change BEFORE UPDATE ON audit_log
                EXECUTE FUNCTION audit_log_refuse()"""
            ],
            f"the trigger audit_log_no_change {CHANGED}",
        ),
        ("postgresql", ["CREATE RULE mine AS ON INSERT TO audit_log DO INSTEAD NOTHING"], f"mine {FOREIGN}"),
        ("postgresql", ["ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY"], f"row level security {FOREIGN}"),
    ],
)
def test_triggers_that_are_gone_or_changed_are_found(
    engine: sa.Engine, verified: Callable[..., list[str]], dialect: str, statements: list[str], expected: str
) -> None:
    """A table that can be changed is said to be so before anything in it is."""
    if engine.dialect.name != dialect:
        pytest.skip("statements of the other database")
    assert verified("")[0].startswith("intact")
    with engine.execution_options(writes=True).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    found, state = verified("")
    assert found.startswith(expected)
    assert state.startswith("NOT intact")
