"""Where the fields are is found in samples, told with how sure it is and why, and asked where it cannot be told."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import events
from receiver.events import CATALOG, payload_file
from receiver.events.candidates import Candidate
from receiver.events.payload_file import ours
from receiver.events.payload_map import PayloadMap
from receiver.explain import told
from receiver.learn import learn, writing
from receiver.learn.learned import Learned
from receiver.learn.types import nearest_type
from tests.theirs import COMPLETED, CREATED, PAYLOAD_TOML


def nobody(_question: str, _candidates: Sequence[Candidate]) -> None:
    """Does not answer."""


def learned_from(*bodies: Any) -> Learned:
    return learn(bodies, ours(), {}, nobody)


def map_of(learned: Learned) -> PayloadMap:
    return payload_file.parse(writing.as_toml(learned, {}, None), "payload.toml")


def test_two_bodies_are_enough_for_their_map() -> None:
    """What a person wrote for them is what is found, but for what no payload says: the zone, and what numbers mean."""
    found, written = map_of(learned_from(COMPLETED, CREATED)), payload_file.parse(PAYLOAD_TOML, "payload.toml")
    for payload in (COMPLETED, CREATED):
        event_type = written.type_of(payload)
        assert found.type_of(payload) == event_type
        assert found.id_of(payload) == written.id_of(payload)
        assert found.subject(payload, event_type) == written.subject(payload, event_type)
    for name, field in told(written, COMPLETED)["fields"].items():
        assert told(found, COMPLETED)["fields"][name]["value"] == field["value"]
    assert learned_from(COMPLETED, CREATED).questions == [
        "[event] time_zone: triggeredAt has no offset",
        "[action.values] priority: what does 3 mean?",
    ]


def test_the_kits_own_samples_are_learned() -> None:
    """Each event says the same by the map that was found as by the shipped one, and nothing is a question."""
    samples = [event_type.sample() for event_type in CATALOG]
    learned = learned_from(*samples)
    found = map_of(learned)
    assert learned.questions == []
    for sample in samples:
        mine, theirs = told(found, sample), told(ours(), sample)
        assert {name: mine[name] for name in ("time", "subject_from")} == {
            name: theirs[name] for name in ("time", "subject_from")
        }
        assert found.id_of(sample) == sample["id"]
        assert {name: field["value"] for name, field in mine["fields"].items()} == {
            name: field["value"] for name, field in theirs["fields"].items()
        }


def test_a_payload_without_an_object_of_its_own_is_learned() -> None:
    """Its fields are at the top, beside the event's own."""
    flat = {"event": "action.created", "deliveryId": "d1", "actionId": 7, "actionTitle": "Leak", "severity": "High"}
    found = map_of(learned_from(flat, flat | {"deliveryId": "d2"}))
    assert found.subject(flat, "action.created") == ("action", "7")
    assert found.id_of(flat) == "d1"
    view = found.view(flat, "action")
    assert view is not None
    assert (view["title"], view["priority"]) == ("Leak", "High")


def test_two_that_are_as_likely_are_a_question() -> None:
    """Nobody answers: it stays open, as a comment with both; somebody does: it is the one that was chosen."""
    payload = {"type": "action.created", "messageId": "m1", "deliveryId": "d1", "action": {"id": 1}}
    bodies = [payload, payload | {"messageId": "m2", "deliveryId": "d2"}]
    learned = learned_from(*bodies)
    assert "[event] id: messageId or deliveryId?" in learned.questions
    text = writing.as_toml(learned, {}, None)
    assert '# id = ["messageId"]' in text
    assert '# id = ["deliveryId"]' in text
    chosen = learn(bodies, ours(), {}, lambda _, candidates: candidates[1])
    assert map_of(chosen).id == ("deliveryId",)


def test_what_is_the_same_in_two_events_is_no_id() -> None:
    """A tenant, a Work Order, a request: the same value in two payloads would drop the second."""
    bodies = [{"type": "action.created", "tenantId": "t", "eventId": f"e{number}"} for number in range(2)]
    assert map_of(learned_from(*bodies)).id == ("eventId",)


def test_an_id_is_found_by_its_value_where_its_name_is_of_another_language() -> None:
    """A UUID, another one in each payload; two payloads are a question, three are enough."""
    bodies = [{"type": "action.created", "kennung": str(UUID(int=number)), "ref": "R-7"} for number in range(3)]
    assert "[event] id: kennung?" in learned_from(*bodies[:2]).questions
    assert map_of(learned_from(*bodies)).id == ("kennung",)


def test_a_test_message_among_the_payloads_hides_nothing() -> None:
    """It names no type where most do, and is left out: their type, ids and subjects are found."""
    learned = learned_from(COMPLETED, CREATED, {"ping": True, "hello": "world"})
    assert (len(learned.events), learned.left_out) == (2, 1)
    assert map_of(learned) == map_of(learned_from(COMPLETED, CREATED))


def test_words_that_mean_no_type_are_told_with_the_nearest() -> None:
    """As a comment to take away the # of."""
    learned = learned_from({"type": "Action Created", "id": 1}, {"type": "WO_DONE", "id": 2})
    assert learned.words == {"WO_DONE": "work_order.completed"}
    assert '# "work_order.completed" = ["WO_DONE"]' in writing.as_toml(learned, {}, None)


@pytest.mark.parametrize(
    ("words", "name"),
    [("WO.CLOSED", None), ("wo-opened", "work_order.created"), ("ACTION_RESOLVED", "action.solved"), ("x", None)],
)
def test_a_type_is_guessed_by_its_subject_and_its_verb(words: str, name: str | None) -> None:
    """Nothing where either is missing: a Work Order is not solved."""
    assert nearest_type(words) == name


BATCH = [COMPLETED, CREATED]


@pytest.mark.parametrize(
    ("batch", "path"), [(BATCH, "@"), ({"sent": 1, "items": BATCH}, "items"), ({"a": {"b": BATCH}}, "a.b")]
)
def test_events_in_batches_are_learned_from(batch: Any, path: str) -> None:
    """And the file says where the list is."""
    learned = learned_from(batch)
    assert len(learned.events) == 2
    assert map_of(learned).batch == path
    assert map_of(learned).id == ("eventGuid",)


def test_events_are_parted_where_a_file_of_before_says_so() -> None:
    """As the receiver parts them: also where no event names a type of Glartek's, and one that comes alone stays."""
    first, second, alone = ({"art": "Auftrag fertig", "deliveryId": f"d{number}"} for number in range(3))
    text = '[event]\nbatch = "nachricht.ereignisse"\ntype = "art"\n'
    given = {"event": {"batch", "type"}}
    bodies = [{"nachricht": {"ereignisse": [first, second]}}, alone]
    learned = learn(bodies, payload_file.parse(text, "before"), given, nobody)
    assert learned.events == [first, second, alone]
    assert map_of(learned).id == ("deliveryId",)
    assert 'batch = "nachricht.ereignisse"' in writing.as_toml(learned, payload_file.tables(text), None)


def test_what_a_file_of_before_finds_is_kept() -> None:
    """With its words, values and zone; what it has and no sample has, too. What finds nothing is learned anew."""
    text = PAYLOAD_TOML.replace('"prio"', '"gone"') + '\n[types]\n"action.solved" = "ok"\n'
    tables = payload_file.tables(text)
    given = {name: set(table) for name, table in tables.items()}
    learned = learn([COMPLETED, CREATED], payload_file.parse(text, "before"), given, nobody)
    after = writing.as_toml(learned, tables, None)
    found = payload_file.parse(after, "after")
    assert 'assignees = ["assignedUsers[]"]  # as it was' in after  # a person's own: nothing here says how sure it is
    assert (found.zone, found.types) == (payload_file.parse(text, "before").zone, {"action.solved": ("ok",)})
    assert found.subjects["action"].fields["priority"].paths == ("prio",)
    assert found.subjects["action"].fields["priority"].values == {"3": "High"}
    assert learned.questions == []


def again(text: str, *bodies: Any) -> str:
    """What is written over a file of this text."""
    tables = payload_file.tables(text)
    given = {name: set(table) for name, table in tables.items()}
    return writing.as_toml(learn(bodies, payload_file.parse(text, "before"), given, nobody), tables, None)


@pytest.mark.parametrize(
    ("text", "bodies"),
    [
        ("", [COMPLETED, CREATED]),
        ("", [event_type.sample() for event_type in CATALOG]),
        (PAYLOAD_TOML, [COMPLETED, CREATED]),
        (payload_file.SHIPPED.read_text(encoding="utf-8"), [COMPLETED, events.BY_NAME["work_order.overdue"].sample()]),
    ],
)
def test_the_same_payloads_say_the_same_again(text: str, bodies: Sequence[Any]) -> None:
    """What the file has is as sure as the payloads make it: its own words of before are no proof."""
    first = again(text, *bodies)
    assert again(first, *bodies) == first


def test_what_is_kept_is_told_with_what_speaks_for_it() -> None:
    """Each path that the payloads speak for, and the least sure of them counts."""
    text = again('[work_order]\nname = ["name"]\nassignees = ["team", "assignedUsers"]\n', COMPLETED, CREATED)
    assert """assignees = ["team", "assignedUsers"]  # 0.80: 'assignedUsers' is often the name of assignees""" in text
    sample = events.BY_NAME["work_order.completed"].sample()
    mixed = '[event]\ntype = ["type", "webhookType"]\n[work_order]\nat = ["work_order", "data"]\nname = ["name"]\n'
    text = again(mixed, COMPLETED, sample)
    assert "# 0.95: name: 'name' is the name of name; workOrderName: 'workOrderName' is the name of name" in text


def test_what_numbers_mean_is_asked_until_somebody_has_said_it() -> None:
    """Also when it is learned again with the file that has the question; in the file and in the list of questions."""
    question = '# priority = { "3" = "?" }  # what do these numbers mean?'
    text = writing.as_toml(learned_from(COMPLETED, CREATED), {}, None)
    assert question in text
    for answered, is_asked in ((text, True), (text.replace(question, 'priority = { "3" = "High" }'), False)):
        tables = payload_file.tables(answered)
        given = {name: set(table) for name, table in tables.items()}
        learned = learn([COMPLETED, CREATED], payload_file.parse(answered, "before"), given, nobody)
        assert (question in writing.as_toml(learned, tables, None)) == is_asked
        assert ("[action.values] priority: what does 3 mean?" in learned.questions) == is_asked


def test_what_a_file_of_before_misses_in_some_payloads_is_added_to_it() -> None:
    """The kit's own samples beside real ones: both are understood by what is written."""
    text = payload_file.SHIPPED.read_text(encoding="utf-8")
    tables = payload_file.tables(text)
    given = {name: set(table) for name, table in tables.items()}
    sample = events.BY_NAME["work_order.overdue"].sample()
    learned = learn([COMPLETED, sample], payload_file.parse(text, "before"), given, nobody)
    found = payload_file.parse(writing.as_toml(learned, tables, None), "after")
    assert [found.subject(payload, "work_order.completed") for payload in (COMPLETED, sample)] == [
        ("work_order", "991"), ("work_order", sample["work_order"]["id"]),
    ]  # fmt: skip
    assert found.id[-1] == "eventGuid"
    assert found.subjects["work_order"].fields["name"].paths == ("name", "workOrderName")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.sampled_from(["id", "type", "data", "name", "action"]), inner, max_size=4)
    ),
)


@given(st.lists(anything | st.just({"type": "action.created"}), min_size=1, max_size=4))
def test_whatever_was_sent_the_file_can_be_read(bodies: list[Any]) -> None:
    """Names of fields with quotes, dots and line ends among them."""
    bodies = json.loads(json.dumps(bodies))
    map_of(learn(bodies, ours(), {}, lambda _, candidates: candidates[0]))
    map_of(learned_from(*bodies))
