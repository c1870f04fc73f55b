"""What a handler does for an event does not grow with what somebody typed into one of its fields."""

import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest

from examples.handlers.audit_log import record
from examples.handlers.external_system import request
from examples.handlers.external_system.target import Unmappable
from examples.handlers.external_system.targets.generic_rest import TARGET
from examples.handlers.teams import card
from examples.handlers.teams.content import Look
from examples.handlers.teams.languages import PORTUGUESE
from receiver import events
from tests.examples.handlers.conftest import RECEIVED
from worker import Event
from worker.views import LONGEST_LIST

LOOK = Look(PORTUGUESE, "https://app.example.com/{id}", "https://app.example.com/{id}")
HANDLERS: dict[str, Callable[[Event], object]] = {
    "card": lambda event: card.build(event, LOOK),
    "record": lambda event: record.of_event(event, "key", RECEIVED),
    "request": lambda event: request.build(event, TARGET),
}
TEXTS = ["7", " ", "\n", ".", "\x9b", "\u202e", "\u0301", "\ud83d", "{{", "*", "https://x/", "🔧"]


def work(do: Callable[[], object]) -> int:
    """Lines of Python that are run, each turn of a loop counted: what a test can hold where seconds differ."""
    lines = 0

    def count(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        do()
    finally:
        sys.settrace(before)
    return lines


def payload(text: str, event_type: str) -> dict[str, Any]:
    """A sample event with this text wherever a text can be."""

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(part) for name, part in value.items()}
        return [filled(part) for part in value] if isinstance(value, list) else text

    kind = event_type.partition(".")[0]
    subject = filled(events.BY_NAME[event_type].sample()[kind]) | {"resolution": text}
    return {"type": event_type, "actor": {"name": text}, kind: subject}


def cost(handler: str, event: Event) -> int:
    def handle() -> None:
        with suppress(Unmappable):
            HANDLERS[handler](event)

    handle()  # what is done once in a process is not counted
    return work(handle)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("event_type", ["action.created", "work_order.completed"])
@pytest.mark.parametrize("handler", HANDLERS)
def test_a_text_of_any_length_costs_the_same(
    event_of: Callable[[dict[str, Any]], Event], handler: str, event_type: str, text: str
) -> None:
    """In every field at once, ten times as long a text is no more work: it is cut before it is cleaned."""
    long, longer = (event_of(payload(text * (size // len(text)), event_type)) for size in (40_000, 400_000))
    assert cost(handler, longer) <= min(cost(handler, long) + 1000, 500_000)  # and what the collector may run


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("handler", HANDLERS)
def test_a_megabyte_of_type_or_id_is_no_work(
    event_of: Callable[[dict[str, Any]], Event], handler: str, text: str
) -> None:
    """An event's own fields are short once it is read, whatever they were."""
    long = text * (500_000 // len(text))
    assert cost(handler, event_of({"type": long, "id": long, "occurred_at": long})) < 20_000


@pytest.mark.parametrize(
    ("event_type", "fields"),
    [
        ("work_order.completed", {"tasks": [{}] * 45_000}),
        ("work_order.completed", {"tasks": [{"response": {"photo": "https://x/."}}] * 20_000}),
        ("work_order.completed", {"assignees": [{"name": "Ana"}] * 40_000}),
        ("action.created", {"labels": ["x"] * 90_000}),
        ("action.created", {"attachments": [{"name": "x.jpg"}] * 40_000}),
    ],
    ids=["tasks", "photos", "assignees", "labels", "attachments"],
)
def test_a_list_of_any_length_is_walked_through_in_time(
    event_of: Callable[[dict[str, Any]], Event], event_type: str, fields: dict[str, Any]
) -> None:
    """As many items as an event may have: a card looks at those that a view holds, once."""
    event = event_of({"type": event_type, event_type.partition(".")[0]: {"id": "a", **fields}})
    assert cost("card", event) < 100 * LONGEST_LIST
