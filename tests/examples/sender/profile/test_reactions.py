"""What is concluded from requests and answers, and what is not: every case by hand."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from dotenv import dotenv_values

from examples.sender import payload_map
from examples.sender.http import wire
from examples.sender.http.arrivals import Arrival
from examples.sender.http.message import Message
from examples.sender.http.recording import Answer, RecordingReceiver
from examples.sender.profile.conclusions import profile
from examples.sender.profile.proposal import propose
from examples.sender.profile.reactions import Watched, reactions, tries
from examples.sender.profile.script import Script, scenes
from examples.sender.profile.sightings import Sighting, sightings

pytestmark = pytest.mark.anyio
H2C = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEAAEAAAAIAAAABAAMAAABk"}


def arrival(number: int, event: str, began: float, agent: str = "one", **more: Any) -> Arrival:
    body = json.dumps({"id": event, "type": "action.created", "a": 1, "b": 2, "c": 3}).encode()
    headers = (("User-Agent", agent), ("Content-Type", "application/json"))
    at = datetime(2026, 11, 24, tzinfo=UTC)
    given: dict[str, Any] = {
        "body": body,
        "complete": True,
        "ended": began + 0.1,
        "sent_headers": headers,
        "target": "/",
    }
    return Arrival(number, number, began, at, **(given | more))


def meanings(*events: list[Arrival], given: dict[int, str], until: float) -> dict[str, str]:
    watched = Watched([Sighting(arrivals) for arrivals in events], given, until)
    return {reaction.answer: reaction.meaning for reaction in reactions(watched, [])}


def test_an_event_s_last_try_is_no_evidence() -> None:
    """A sender that gives up after two tries sends nothing after the second, whatever the answer to it was."""
    first = [arrival(1, "a", 0.0), arrival(2, "a", 1.0)]
    other = [arrival(3, "b", 0.2), arrival(4, "b", 1.2)]
    told = meanings(first, other, given={1: "500", 2: "400", 3: "500", 4: "503"}, until=100.0)
    assert told["500"] == "sent again: taken for a failure"
    assert told["400"] == told["503"] == "cannot be told: it was given to no try but an event's last"


def test_what_ended_too_soon_is_no_evidence() -> None:
    """Waits of 10 s were seen, so that 5 s without another try prove nothing, and 50 s do."""
    seen = [arrival(1, "a", 0.0), arrival(2, "a", 10.1), arrival(3, "a", 20.2)], [arrival(4, "b", 60.0)]
    given = {1: "500", 2: "500", 3: "200", 4: "204"}
    assert meanings(*seen, given=given, until=65.0)["204"] == "cannot be told: the watch ended too soon after it"
    assert meanings(*seen, given=given, until=110.1)["204"] == "not sent again within 50.0 s"


@pytest.mark.parametrize(
    ("answers", "until", "expected"),
    [
        (["500", "500", "then 200"], 99.0, "at least 3 for one event: it was answered with success then"),
        (["500", "500"], 99.0, "2 for one event, then it gives up"),
        (["500", "500"], 2.0, "at least 2 for one event: the watch ended too soon to see more"),
        ([], 99.0, "not seen"),
    ],
)
def test_the_number_of_tries_is_the_sender_s_own_only_when_it_gave_up(
    answers: list[str], until: float, expected: str
) -> None:
    """When this tool answered 200 at last, or stopped watching, there may be more."""
    arrivals = [arrival(number, "a", float(number)) for number in range(1, len(answers) + 1)]
    watched = Watched([Sighting(arrivals)] if arrivals else [], dict(enumerate(answers, 1)), until)
    assert tries(watched) == expected


def test_two_senders_of_one_event_do_not_repeat_each_other() -> None:
    """Tries are counted by user agent, and the report says that there are several; the id is theirs together."""
    arrivals = [arrival(1, "a", 0.0), arrival(2, "a", 0.1, "two"), arrival(3, "b", 1.0), arrival(4, "b", 1.1, "two")]
    found = profile(arrivals, dict.fromkeys(range(1, 5), "200"), "/")
    assert (found.most_tries, found.repeats) == (1, 0)
    assert "several senders at once (one, two)" in found.doubts[0]
    proposal = propose(sightings(arrivals, by_sender=False))
    assert proposal.settings["EVENT_ID_PATHS"] == "id"
    assert proposal.replay
    assert (proposal.replay.events, proposal.replay.recognised) == (2, 2)


def test_repeats_that_the_proposal_would_miss_are_counted() -> None:
    """An id that is new on each try leaves nothing but bytes, which differ: each repeat would be handled twice."""
    first, again, third = (arrival(number, f"new{number}", float(number)) for number in (1, 2, 3))
    proposal = propose([Sighting([first, again]), Sighting([third])])
    assert proposal.settings["IDEMPOTENCY_SOURCES"] == "body"
    assert "id" in proposal.never
    assert proposal.replay
    assert (proposal.replay.recognised, proposal.replay.missed, proposal.replay.lost) == (0, 1, 0)


def test_what_is_proposed_survives_quoting(tmp_path: Path) -> None:
    """A field name with an apostrophe, a dollar and a backslash reaches `.env` and payload.toml as it is."""
    name = "it's$\\eventId"
    bodies = [json.dumps({name: f"x{number}", "a": number}).encode() for number in range(2)]
    proposal = propose([Sighting([arrival(number, "", 0.0, body=body)]) for number, body in enumerate(bodies)])
    (tmp_path / "env").write_text(proposal.env())
    (tmp_path / "payload.toml").write_text(proposal.payload_toml)
    assert dotenv_values(tmp_path / "env")["EVENT_ID_PATHS"] == name
    assert payload_map.from_file(tmp_path / "payload.toml").id == (name,)


def test_events_that_differ_in_nothing_but_their_id_are_two() -> None:
    """After a failure, too: only what also has another id, or a time, in common is one event with a new id."""
    arrivals = [arrival(1, "a", 0.0), arrival(2, "b", 1.0)]
    arrivals[0].abandoned, arrivals[0].answer = True, Answer(500)
    assert len(sightings(arrivals)) == 2
    for one in arrivals:
        one.body = one.body.replace(b"{", b'{"occurred_at": "2026-11-24T10:00:00Z", ')
    assert len(sightings(arrivals)) == 1


def test_tries_are_counted_and_an_id_is_found_whatever_their_fields_are_called() -> None:
    """A number that is one more after a failure counts tries, after a success events; a UUID is an id."""
    first, second = str(UUID(int=1)), str(UUID(int=2))
    sent = [(first, 1), (first, 2), (first, 3), (second, 1), (second, 2)]
    arrivals = []
    for number, (event, count) in enumerate(sent):
        body = {"kennung": event, "art": "Auftrag fertig", "ort": "Lisboa", "versuch": count}
        arrivals.append(arrival(number, "", number, body=json.dumps(body).encode(), answer=Answer(500)))
    seen = sightings(arrivals)
    assert [len(one.arrivals) for one in seen] == [3, 2]
    assert propose(seen).settings["EVENT_ID_PATHS"] == "kennung"
    for one in arrivals:
        one.answer = Answer(200)
    assert len(sightings(arrivals)) == len(arrivals)


async def test_a_sender_that_offers_http2_is_profiled_like_any_other() -> None:
    """Each answer is given to a whole event, and the report says what was offered."""
    script = Script(list(scenes("/", late=1).values())[:3], tries=1)
    async with RecordingReceiver(script.answer, at_headers=script.at_headers, path="/") as receiver:
        for number in range(3):
            message = Message.of({"id": f"e{number}", "type": "action.created"}).having(H2C)
            for lead in (None, 0.05):
                reply = await wire.post(receiver.url, message.body, message.headers, 2, lead=lead)
                assert reply.status == 200 + number or lead
        found = profile(receiver.arrivals, script.given, "/", receiver.malformed)
    assert (found.requests, found.events, found.malformed) == (6, 3, [])
    assert [reaction.given for reaction in found.reactions] == [1, 1, 1, 3]
    assert found.http == {"POST HTTP/1.1, offers an upgrade to h2c": 6}


async def test_what_is_not_http_is_no_request_and_no_answer() -> None:
    """HTTP/2 without TLS and TLS on a plain port are named; nothing is concluded, and no answer is used up."""
    script = Script(list(scenes("/", late=1).values()), tries=1)
    async with RecordingReceiver(script.answer, path="/") as receiver:
        for greeting in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"):
            connection = await wire.Connection(wire.Endpoint.of(receiver.url)).open(1)
            connection.writer.write(greeting)
            assert await connection.reader.read()
            connection.close()
        found = profile(receiver.arrivals, script.given, "/", receiver.malformed)
    assert (found.requests, found.events, script.given) == (0, 0, {})
    assert "HTTP/2 without TLS (1 times); TLS, on a port that speaks plain HTTP" in found.doubts[0]
    assert found.doubts[0].startswith("nothing can be concluded")
