"""Every event once, through the handler itself."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import LogCapture

from examples.handlers import audit_log
from examples.handlers.audit_log.verify import rows, verify
from receiver.settings import SettingsError
from worker import Context, Event

pytestmark = pytest.mark.anyio


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler configured for a fresh SQLite log."""
    monkeypatch.setenv("AUDIT_DATABASE_URL", f"sqlite:///{tmp_path}/new/folder/audit.db")
    audit_log.configure()


@pytest.mark.usefixtures("log")
async def test_every_event_is_written_once(context: Callable[..., Context], sample: Callable[..., Event]) -> None:
    """Repeats, one after the other and side by side, change nothing."""
    events = [(sample(name), context(key=f"audit:{name}")) for name in ("action.created", "work_order.completed")]
    for _ in range(2):
        await asyncio.gather(*(audit_log.append(event, ctx) for event, ctx in events * 5))
    written = list(rows(audit_log._engine()))
    assert sorted(row["event_type"] for row in written) == ["action.created", "work_order.completed"]
    assert verify(written).intact


@pytest.mark.usefixtures("log")
async def test_a_row_says_who_what_which_and_when(
    context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """The row holds the event's own words and the payload exactly as received."""
    event = sample()
    await audit_log.append(event, context(key="k"))
    [row] = rows(audit_log._engine())
    assert row["payload"] == event.raw
    assert row["event_id"] == "evt_01JBSAMPLE0008"
    assert row["actor"] == "usr_joao"
    assert (row["subject_type"], row["subject_id"]) == ("action", "act_90b1e4")
    assert row["occurred_at"] == "2026-11-03T09:01:12+00:00"
    assert row["received_at"] == "2026-11-03T09:01:13.000000+00:00"
    assert row["recorded_at"] > row["received_at"]


@pytest.mark.usefixtures("log")
async def test_another_payload_under_the_same_key_is_a_conflict(
    context: Callable[..., Context], sample: Callable[..., Event], logs: LogCapture
) -> None:
    """The first stays, and the second is said aloud."""
    await audit_log.append(sample(), context(key="k"))
    await audit_log.append(sample(title="Another"), context(key="k"))
    [row] = rows(audit_log._engine())
    assert "Another" not in row["payload"]
    assert logs.entries[-1] == {"event": "audit_conflict_first_kept", "seq": 1, "log_level": "warning"}


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "no url", "postgresql://"])
def test_a_wrong_url_stops_the_start(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Only SQLite files and PostgreSQL will do, and the line says how to write them."""
    monkeypatch.setenv("AUDIT_DATABASE_URL", url)
    with pytest.raises(SettingsError, match=r"^AUDIT_DATABASE_URL: expected sqlite:///path/to/file.db or postgresql"):
        audit_log.configure()


def test_a_folder_that_cannot_be_made_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unwritable place is one line with the cause."""
    monkeypatch.setenv("AUDIT_DATABASE_URL", "sqlite:////proc/audit.db")
    with pytest.raises(SettingsError, match=r"^AUDIT_DATABASE_URL: cannot open sqlite:////proc/audit.db: "):
        audit_log.configure()
