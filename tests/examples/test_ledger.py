from typing import Any

import pytest

from examples import ledger


def handler(state: str, attempts: int, *failures: str) -> dict[str, Any]:
    return {"state": state, "attempts": attempts, "failures": [{"error": failure} for failure in failures]}


@pytest.mark.parametrize(
    ("story", "times"),
    [
        (None, 0),
        ({"open": True, "handlers": {"a.b": handler("done", 1)}}, 0),
        ({"open": False, "handlers": {"a.b": handler("done", 1), "c.d": handler("dead", 5, *"abcde")}}, 1),
        ({"open": False, "handlers": {"a.b": handler("done", 3, "timed out", "the channel takes no card now")}}, 1),
        ({"open": False, "handlers": {"a.b": handler("done", 2), "c.d": handler("done", 1)}}, 2),
        ({"open": False, "handlers": {}}, 0),
    ],
)
def test_an_event_was_handled_as_often_as_a_handler_came_to_its_end(story: dict[str, Any] | None, times: int) -> None:
    """Failed tries and waits do not count, and nothing does while work is open."""
    assert ledger.times(story) == times
