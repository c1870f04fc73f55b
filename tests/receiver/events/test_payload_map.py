"""One map says where a payload's fields are, in a file; a wrong file is one line that names the entry."""

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from receiver import events
from receiver.events import payload_file
from receiver.events.payload_file import SHIPPED, PayloadMapError, ours
from receiver.events.payload_map import PayloadMap
from tests.conftest import ROOT
from tests.theirs import CREATED
from worker import Action, WorkOrder

CUSTOMER = """
[event]
id = ["eventGuid"]
type = "webhookType"
time = ["triggeredAt", "at"]
time_zone = "Europe/Lisbon"

[types]
"work_order.completed" = ["WO_DONE"]

[work_order]
at = "data"
id = "workOrderId"
name = "workOrderName"
status = "state"
assignees = "assignedUsers[]"
site = "$.tenant"

[work_order.values]
status = { "2" = "Done", "true" = "In Progress" }
"""


def parsed(text: str) -> PayloadMap:
    return payload_file.parse(text, "payload.toml")


def test_a_customer_says_where_their_fields_are() -> None:
    """Id, type in their words or Glartek's, time in their zone, subject; what is not said is where the kit looks."""
    where = parsed(CUSTOMER)
    head = {"eventGuid": "g1", "webhookType": "wo done", "triggeredAt": "2026-07-20 14:03:11"}
    payload = head | {"data": {"workOrderId": 9}}
    assert (where.id_of(payload), where.type_of(payload)) == ("g1", "work_order.completed")
    assert where.type_of({"webhookType": "Action Can't Do"}) == "action.cant_do"
    assert where.type_of({"type": "action.created"}) == ""
    assert where.time_of(payload) == datetime(2026, 7, 20, 14, 3, 11, tzinfo=ZoneInfo("Europe/Lisbon"))
    assert where.subject(payload, "work_order.completed") == ("work_order", "9")
    assert where.subjects["action"] == ours().subjects["action"]


@pytest.mark.parametrize(
    ("data", "name", "value"),
    [
        ({"workOrderName": "Pump"}, "name", "Pump"),
        ({"name": "of the tenant"}, "name", None),
        ({"state": 2}, "status", "Done"),
        ({"state": True}, "status", "In Progress"),
        ({"state": "Open"}, "status", "Open"),
        ({"state": ["2"]}, "status", ["2"]),
        ({"assignedUsers": ["ana@example.com"]}, "assignees", ["ana@example.com"]),
        ({}, "site", {"id": 77}),
        ({"dueDate": "x"}, "due_date", "x"),
        ({"shift": "night"}, "shift", "night"),
    ],
)
def test_the_fields_of_a_subject_have_the_kits_names(data: dict[str, Any], name: str, value: object) -> None:
    """Each by its paths, in the subject or from the top, with the values' meaning; what no field is made of stays."""
    view = parsed(CUSTOMER).view({"data": data, "tenant": {"id": 77}}, "work_order")
    assert view is not None
    assert view.get(name) == value


@pytest.mark.parametrize(("kind", "view"), [("work_order", WorkOrder), ("action", Action)])
def test_the_shipped_file_has_every_field_of_the_views(kind: str, view: "type[WorkOrder | Action]") -> None:
    """No more and no less: what a handler can ask for, a customer can say where it is."""
    tables = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    assert set(tables[kind]) - {"at", "values"} == set(view.model_fields)


def test_the_shipped_file_as_a_customers_own_changes_nothing() -> None:
    """It can be copied and edited."""
    assert payload_file.read(SHIPPED) == ours()


def test_what_is_written_is_read_again() -> None:
    """Any field name comes through, quotes and all."""
    name = 'o"d\\d\x7fé'
    where = parsed(payload_file.as_toml({"id": [name]}, {"action": {"at": ["data"], "id": ["no"]}}))
    assert where.id == (name,)
    assert (where.subjects["action"].at, where.subjects["action"].id) == (("data",), ("no",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = ", "cannot be read: it is not TOML"),
        ("event = 1", "event: expected a table, [event]"),
        ("[evnt]", "evnt: no such table; did you mean event?"),
        ("[event]\nid = 1", "event.id: expected a dotted path"),
        ("[event]\nid = []", "event.id: expected a dotted path"),
        ('[event]\nids = "x"', "event.ids: no such entry; did you mean id?"),
        ('[event]\ntype = "events[.type"', "event.type: expected a dotted path or JMESPath, got 'events[.type'"),
        ('[event]\ntime_zone = "Lisbon"', "event.time_zone: expected the name of a time zone"),
        ('[event]\nbatch = "a[]"', "event.batch: expected the dotted path of a list"),
        ('[types]\n"wo.done" = "x"', "types: wo.done: no such event type; expected action.cant_do, "),
        ('[types]\n"action.created" = [1]', "types.action.created: expected the sender's words"),
        ('[types]\n"action.created" = "x"\n"action.solved" = "X"', "types.action.solved: expected 'X' for one type"),
        ("[action]\nat = 5", "action.at: expected a dotted path"),
        ('[action]\ntitel = "x"', "action.titel: no such field; did you mean title?"),
        ("[action.values]\npriority = 3", "action.values.priority: expected what each value means"),
        ("[action.values]\nprio = {}", "action.values.prio: no such field; did you mean priority?"),
    ],
)
def test_a_wrong_file_is_refused_with_the_entry(text: str, expected: str) -> None:
    """One line: the file, the entry, and what was expected."""
    with pytest.raises(PayloadMapError) as refused:
        parsed(text)
    assert str(refused.value).startswith(f"payload.toml: {expected}")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """By its name, with the system's reason."""
    with pytest.raises(PayloadMapError, match=r"none\.toml: cannot be read: No such file"):
        payload_file.read(tmp_path / "none.toml")


def test_words_from_outside_do_not_fill_the_memory() -> None:
    """A type of a megabyte is not compared with the customer's words, nor remembered."""
    assert parsed(CUSTOMER).named("x" * 500_000) == "x" * 500_000
    assert parsed(CUSTOMER).type_of({"webhookType": "x" * 500_000}) == "x" * events.LONGEST_NAME


def test_the_file_on_the_page_is_one() -> None:
    """docs/your-payload.md shows what learn writes, and it reads the payload that it speaks of."""
    page = (ROOT / "docs/your-payload.md").read_text(encoding="utf-8")
    where = parsed(page.partition("```toml\n")[2].partition("```")[0])
    assert where.subject(CREATED, where.type_of(CREATED)) == ("action", "A-12")
    view = where.view(CREATED, "action")
    assert view is not None
    assert view["priority"] == "High"
