import json
from datetime import UTC, datetime
from typing import Any

import pytest

from examples.sender.http.recordings import Recorded
from examples.sender.http.redaction import Redaction
from receiver import events

AT = datetime(2026, 11, 24, tzinfo=UTC)
KEPT = {
    "id": "evt_5d2c81", "type": "Action Can't Do", "occurred_at": "2026-11-20T14:03:11.5+01:00",
    "status": "In Progress",
    "priority": "High", "workOrderId": 991, "code": "WO-2026-00481",
    "eventGuid": "3f0c2d3e-0000-4000-8000-000000000001",
    "open": True, "nothing": None, "value": 7.25, "webhookType": "Work Order Completed",
}  # fmt: skip
PRIVATE: dict[str, Any] = {
    "created_by": {"id": "usr_ana.silva", "type": "user", "name": "Ana Conceição"},
    "assignees": [{"id": "usr_joao", "name": "João"}],
    "assignedUsers": ["rui@example.org", "Rui Costa"],
    "openedBy": "rui@example.org",
    "technician": "Zoe",
    "description": "Leak at pump 7, call Ana Conceição on +351 912 345 678 or mail rui@example.org",
    "name": "Inspection", "phone": 351912345678, "latitude": 38.5243, "apiToken": "s3cr3tS3cr3t",
    "attachments": [{"url": "https://files.glartek.example/a/b.jpg?sig=SECRETSIG"}],
    "rui@example.org": 1,
}  # fmt: skip
WORDS = (
    "Ana", "Concei", "João", "joao", "silva", "rui@", "Rui", "Zoe", "Leak", "pump", "912", "351912345678", "Inspection",
    "38.5243", "s3cr3t", "SECRETSIG", "files.glartek", "T0pSecret", "10.1.2.3", "hunter2",
)  # fmt: skip


def redacted(payload: Any, **headers: str) -> Recorded:
    target = "/webhooks/glartek/T0pSecretTokenOfTheUrl?key=hunter2"
    body = json.dumps(payload, ensure_ascii=False).encode()
    return Redaction()(Recorded(AT, "POST", target, tuple(headers.items()), body, 200))


def test_people_mails_tokens_and_free_text_are_gone_and_structure_stays() -> None:
    """Ids, types, times, states and numbers are as they were; nothing else can be read."""
    request = redacted(
        KEPT | PRIVATE, Authorization="Bearer hunter2", cookie="hunter2", **{"X-Forwarded-For": "10.1.2.3"}
    )
    payload = json.loads(request.body)
    assert {name: payload[name] for name in KEPT} == KEPT
    told = f"{request.target} {request.headers} {request.body.decode()}"
    assert [word for word in WORDS if word in told] == []
    assert payload["created_by"]["type"] == "user"
    assert payload["created_by"]["id"].startswith("usr_")


def test_stand_ins_are_stable_and_cannot_be_guessed() -> None:
    """The same person or text is the same everywhere in one recording, and another one in the next."""
    redaction = Redaction()
    by, mail = {"created_by": {"name": "Ana"}}, {"openedBy": "ana@example.org", "cc": "Ana@Example.org"}
    first, again = (redaction.value(by, "") for _ in range(2))
    mails = redaction.value(mail, "")
    assert first == again != Redaction().value(by, "")
    assert mails["openedBy"] == mails["cc"]
    assert redaction.value({"created_by": {"name": "Rui"}}, "") != first


@pytest.mark.parametrize("event_type", events.BY_NAME)
def test_redacted_samples_are_still_events(event_type: str) -> None:
    """Each of the kit's samples keeps its type, its ids, its times and its shape."""
    sample = events.BY_NAME[event_type].sample()
    payload = json.loads(redacted(sample).body)
    kind = event_type.partition(".")[0]
    assert payload.keys() == sample.keys()
    assert {name: payload[name] for name in ("id", "type", "occurred_at")} == {
        name: sample[name] for name in ("id", "type", "occurred_at")
    }
    assert payload[kind]["id"] == sample[kind]["id"]
    assert payload[kind]["status"] == sample[kind]["status"]
    assert payload[kind].keys() == sample[kind].keys()


def test_what_is_no_json_is_replaced_whole() -> None:
    """Nobody knows what is in it."""
    request = Redaction()(Recorded(AT, "POST", "/", (), b"name=Ana", None))
    assert request.body == b"redacted: 8 bytes that are no JSON"
    assert Redaction()(Recorded(AT, "POST", "/", (), b"", None)).body == b""
