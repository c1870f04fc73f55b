from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from examples.sender import payload_map
from examples.sender.payload_map import OURS, Subject
from examples.sender.terminal import Refusal

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
status = "state"
"""


def test_a_customer_says_where_their_fields_are(tmp_path: Path) -> None:
    """Id, type in their words or Glartek's, time in their zone, subject; what is not said is where the kit looks."""
    (tmp_path / "payload.toml").write_text(CUSTOMER)
    where = payload_map.from_file(tmp_path / "payload.toml")
    head = {"eventGuid": "g1", "webhookType": "wo done", "triggeredAt": "2026-07-20 14:03:11"}
    payload = head | {"data": {"workOrderId": 9}}
    assert (where.id_of(payload), where.type_of(payload)) == ("g1", "work_order.completed")
    assert where.type_of({"webhookType": "Action Can't Do"}) == "action.cant_do"
    assert where.type_of({"type": "action.created"}) is None
    assert where.time_of(payload) == datetime(2026, 7, 20, 14, 3, 11, tzinfo=ZoneInfo("Europe/Lisbon"))
    assert next(iter(where.subjects_of(payload))) == ({"workOrderId": 9}, ["workOrderId"])
    assert where.subjects["action"] == OURS.subjects["action"]


def test_unix_times_are_understood() -> None:
    """Seconds or milliseconds; what is no time is None."""
    moment = datetime(2026, 11, 20, 14, tzinfo=UTC)
    assert (
        OURS.time_of({"timestamp": moment.timestamp()})
        == OURS.time_of({"timestamp": moment.timestamp() * 1000})
        == moment
    )
    assert [OURS.time_of({"timestamp": odd}) for odd in (True, None, "soon", 10**300)] == [None] * 4


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Any field name comes through, quotes and all."""
    name = 'o"d\\d\x7fé'
    (tmp_path / "p.toml").write_text(payload_map.as_toml({"id": [name]}, {"action": Subject(["data"], ["no"])}))
    where = payload_map.from_file(tmp_path / "p.toml")
    assert where.id == [name]
    assert where.subjects["action"] == Subject(["data"], ["no"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = ", "cannot be read"),
        ("event = 1", "event: expected a table"),
        ("[event]\nid = 1", "event.id: expected a dotted path"),
        ("[event]\nid = []", "event.id: expected a dotted path"),
        ('[event]\ntype = "events[0].type"', "event.type: expected a dotted path"),
        ('[event]\ntime_zone = "Lisbon"', "event.time_zone: expected the name of a time zone"),
        ('[types]\n"wo.done" = "x"', "types: there is no event type 'wo.done'"),
        ('[types]\n"action.created" = [1]', "types.action.created: expected the sender's words"),
        ("[action]\nat = 5", "action.at: expected a dotted path"),
    ],
)
def test_a_wrong_file_is_refused_with_the_entry(tmp_path: Path, text: str, expected: str) -> None:
    """One line: the file, the entry, and what was expected."""
    (tmp_path / "payload.toml").write_text(text)
    with pytest.raises(Refusal) as refusal:
        payload_map.from_file(tmp_path / "payload.toml")
    assert f"{tmp_path}/payload.toml: {expected}" in str(refusal.value)
    assert "\n" not in str(refusal.value)
