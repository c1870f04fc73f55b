import json
from datetime import UTC, datetime
from typing import Any

import pytest

from examples.sender.http.arrivals import Arrival
from examples.sender.profile import fields, reports
from examples.sender.profile.conclusions import profile
from examples.sender.profile.proposal import propose
from examples.sender.profile.sightings import Sighting


def arrival(number: int, payload: Any, **more: Any) -> Arrival:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    body = json.dumps(payload).encode()
    return Arrival(number, number, float(number), at, body=body, complete=True, ended=number + 0.5, **more)


def events(*payloads: Any) -> list[Sighting]:
    return [Sighting([arrival(number, payload)]) for number, payload in enumerate(payloads, 1)]


def test_types_are_found_in_whichever_field_names_them() -> None:
    """A field that nobody expected is where the types are, if it names them; a new type among them changes nothing."""
    seen = events(
        {"type": "webhook", "meta": {"kind": "Work Order Created"}},
        {"type": "webhook", "meta": {"kind": "Action Can't Do"}},
        {"type": "webhook", "meta": {"kind": "Action Reopened"}},
    )
    found = profile([sighting.arrivals[0] for sighting in seen], {}, "/")
    assert propose(seen).settings["EVENT_TYPE_PATHS"] == "meta.kind"
    assert found.types == ["work_order.created", "action.cant_do"]
    assert found.types_unknown == ["Action Reopened"]
    assert [told for told, _ in found.timeline] == ["work_order.created", "action.cant_do", "Action Reopened"]


HOSTILE = "\nREDIS_URL=redis://evil.example"


def test_no_name_of_a_field_is_a_setting_of_its_own() -> None:
    """A name with a line end is neither proposed nor a line of the report, wherever the profile would tell it."""

    def told(number: int) -> dict[str, Any]:
        subject = {f"id{HOSTILE}": f"a{number}"}
        at = f"2026-11-24T10:00:0{number}Z"
        return {f"event_id{HOSTILE}": f"e{number}", f"type{HOSTILE}": "action.created", f"time{HOSTILE}": at,
                "action": subject}  # fmt: skip

    def lines(seen: list[Sighting]) -> list[str]:
        proposal = propose(seen)
        parts = [proposal.env(), proposal.payload_toml, *proposal.reasons, *reports.never(proposal)]
        return "\n".join(parts).splitlines()

    changing = Sighting([arrival(number, told(number)) for number in (1, 2)])
    for seen in (events(told(1), told(2)), [changing]):
        assert not [line for line in lines(seen) if line.startswith("REDIS_URL")]
    assert "event_id\\nREDIS_URL" in "\n".join(lines([changing]))


@pytest.mark.parametrize("name", [f"event_id{HOSTILE}", "a,event_id", " event_id", "a..event_id", "event_id\u202e"])
def test_a_field_that_no_setting_can_name_is_not_proposed(name: str) -> None:
    """The kit would look for another one; what can be named is proposed in its place."""
    seen = events({name: "x1", "meta": {"id": "m1"}}, {name: "x2", "meta": {"id": "m2"}})
    assert propose(seen).settings["EVENT_ID_PATHS"] == "meta.id"


def test_a_sender_whose_types_are_all_new_has_them_told() -> None:
    """Where no field names a type of the catalog, the usual field is believed, and no path is proposed."""
    seen = events({"type": "wo.created.v2"}, {"type": "wo.done.v2"})
    assert profile([sighting.arrivals[0] for sighting in seen], {}, "/").types_unknown == [
        "wo.created.v2",
        "wo.done.v2",
    ]
    assert "EVENT_TYPE_PATHS" not in propose(seen).settings


@pytest.mark.parametrize(
    ("times", "late"),
    [
        (["2026-11-24T10:00:00+00:00", "2026-11-24T12:00:00+01:00", "2026-11-24T11:30:00Z"], 0),
        (["2026-11-24T10:00:00", "2026-11-24T09:00:00+00:00", "2026-11-24T09:30:00Z"], 2),
        ([1_700_000_000, 1_700_000_060.5, 1_700_000_030], 1),
        (["2026-11-24T10:00:00Z", "soon", None], None),
        ([True, False], None),
    ],
)
def test_order_is_judged_by_moments_not_by_their_spelling(times: list[Any], late: int | None) -> None:
    """Offsets are understood, numbers are seconds, and without two times nothing is said."""
    assert fields.out_of_order(events(*({"timestamp": time} for time in times))) == late


def test_a_reset_before_the_body_came_is_told_although_its_event_is_not_known() -> None:
    """The answer is in the report, and what followed it is said to be unknown."""
    unread = arrival(1, None)
    unread.complete = False
    whole = arrival(2, {"type": "action.created", "id": "e1"})
    found = profile([unread, whole], {1: "reset before reading", 2: "200"}, "/")
    assert [(one.answer, one.given, one.meaning) for one in found.reactions] == [
        ("reset before reading", 1, "cannot be told: the body had not come yet"),
        ("200", 1, "not sent again"),
    ]


def test_tls_http_and_the_tries_of_each_event_are_told() -> None:
    """Versions are counted as they came; each try has its time from the first request, its length and its answer."""
    payload = {"type": "action.created", "id": "e1", "n": 1}
    first = arrival(1, payload, tls="TLSv1.2", http_version="1.0", method="POST")
    again = arrival(3, payload, tls="TLSv1.3", http_version="1.1", method="POST")
    found = profile([first, again], {1: "500", 3: "then 200"}, "/")
    told = dict(reports.facts(found))
    assert told["TLS"] == "TLSv1.2, TLSv1.3"
    assert told["HTTP"] == "POST HTTP/1.0, POST HTTP/1.1"
    assert told["waits between tries"] == "1.5 s"
    assert told["order"].startswith("cannot be told")
    ((_, tries),) = found.timeline
    assert [(one.at, one.seconds, one.answer, one.good) for one in tries] == [
        (0.0, 0.5, "500", False), (2.0, 0.5, "then 200", True)
    ]  # fmt: skip
    html = reports.html(found, propose([]), {})
    assert html.count("<rect") == 2
    assert "500, open for 500 ms" in html
