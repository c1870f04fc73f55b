"""The table that a customer edits."""

from pathlib import Path

import pytest

from receiver.environment import SettingsError
from worker import importing
from worker.handler import name_of


def test_the_table_is_glarteks_three_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three uses that Glartek names are routed, under the names that logs and commands show."""
    monkeypatch.setenv("TEAMS_WEBHOOK_URL", "http://127.0.0.1:9000/workflows/1/triggers/manual/paths/invoke?sig=x")
    monkeypatch.setenv("EXTERNAL_URL", "http://127.0.0.1:9000")
    monkeypatch.setenv("AUDIT_DATABASE_URL", f"sqlite:///{tmp_path}/audit.db")
    table = importing.load("examples.handlers:ROUTES")
    assert set(table.by_name) == {"teams.notify", "external_system.update", "audit_log.append"}
    assert [name_of(handler) for handler in table.handlers("action.created")] == [
        "teams.notify",
        "audit_log.append",
    ]
    assert [name_of(handler) for handler in table.handlers("never.heard.of")] == ["audit_log.append"]


def test_every_missing_setting_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start without settings says all of what is missing, one line each."""
    monkeypatch.chdir(tmp_path)
    for name in ("TEAMS_WEBHOOK_URL", "EXTERNAL_URL", "AUDIT_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError) as refused:
        importing.load("examples.handlers:ROUTES")
    assert [line.partition(":")[0] for line in refused.value.lines] == ["TEAMS_WEBHOOK_URL", "EXTERNAL_URL"]
