"""`make demo`: the whole kit, sent to and checked, and a check that can fail."""

import json
from random import Random

from examples.demo import Row, problems, rows
from tests.conftest import Start


def test_the_demo_holds(start: Start) -> None:
    """Every event is stored once and handled once, by the demo's own check, within 20 seconds."""
    demo = start("-m", "examples.demo", "--json")
    assert demo.wait(timeout=20) == 0, demo.output
    report = json.loads(demo.output)
    assert len(report["events"]) == 13
    assert report["problems"] == []


def as_it_should_be() -> tuple[list[Row], dict[str, object]]:
    table = rows(Random(1))
    for row in table:
        row.answers = [200, 200]
        state = "dead" if row.label == "(not JSON)" else "done"
        at = {"state": state, "at": "2026-11-24T00:00:00+00:00"}
        row.story = {"duplicates": 1, "open": False, "handlers": dict.fromkeys(row.expected, at)}
    payloads = {row.label: json.loads(row.message.body) for row in table if row.message.id}
    arrived: dict[str, object] = {
        "cards": [payloads["action.created"]["action"]["title"]],
        "updates": [{"work_order": payloads["work_order.completed"]["work_order"]["id"]}],
        "audit": [row.message.id for row in table if row.message.id],
        "audit_intact": True,
    }
    return table, arrived


def test_the_demo_finds_nothing_wrong_where_nothing_is() -> None:
    """The check passes what is as it should be."""
    assert problems(*as_it_should_be()) == []


def test_the_demo_finds_a_lost_update_a_second_card_and_a_missing_outcome() -> None:
    """Each cell that does not hold is named with its event."""
    table, arrived = as_it_should_be()
    arrived["updates"] = []
    arrived["cards"] = ["a card", "another"]
    table[0].story["handlers"] = {}
    table[1].answers = [200, 503]
    found = "\n".join(problems(table, arrived))
    for label, what in [
        ("work_order.completed", "updated the external system once"),
        ("action.created", "made one card"),
        ("work_order.created", "is done for audit_log.append alone"),
        ("work_order.started", "was answered 200 twice"),
    ]:
        assert f"{label}: expected that it {what}" in found
