"""Our handlers, without Redis and without sending anything. .venv/bin/pytest acme runs them."""

import pytest

from worker.testing import make_event, run

from .handlers import page, report, settings


@pytest.fixture(autouse=True)
def _configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_PAGER_URL", "https://pager.example.com/call")
    monkeypatch.setenv("ACME_REPORTS_URL", "https://reports.example.com/orders")
    settings.cache_clear()


async def test_an_urgent_action_pages_somebody() -> None:
    """One request, with the Action's title."""
    result = await run(page, make_event("action.created", {"action.priority": "High", "action.title": "Oil leak"}))
    assert result.state == "done"
    [sent] = result.requests
    assert (sent.method, sent.url) == ("POST", "https://pager.example.com/call")
    assert sent.json == {"text": "Oil leak"}


async def test_other_actions_page_nobody() -> None:
    """Skipped, and nothing is sent."""
    result = await run(page, make_event("action.created", {"action.priority": "Low"}))
    assert (result.state, result.requests) == ("skipped", [])


@pytest.mark.parametrize(("status", "state"), [(429, "retry"), (500, "retry"), (400, "dead")])
async def test_what_follows_when_the_pager_fails(status: int, state: str) -> None:
    """It is asked again, unless it refuses the text itself."""
    result = await run(page, make_event("action.created", {"action.priority": "High"}), answer=status)
    assert result.state == state


async def test_a_finished_work_order_is_reported() -> None:
    """Its id goes with it."""
    result = await run(report, make_event("work_order.completed", {"work_order.id": "WO-7"}))
    assert result.requests[0].json["id"] == "WO-7"
