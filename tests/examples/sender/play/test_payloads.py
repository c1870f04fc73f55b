import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from examples.sender.http.message import Message
from examples.sender.payload_map import OURS, Subject
from examples.sender.play import edits
from examples.sender.play.payloads import Samples, Story, fresh, like
from examples.sender.terminal import Refusal
from receiver import events
from receiver.events.paths import Paths


@pytest.mark.parametrize("event_type", events.BY_NAME)
def test_every_event_has_an_id_of_its_own_and_keeps_its_sample_s_shape(event_type: str) -> None:
    """A fresh event has the fields of its sample, and another event id each time."""
    rng = Random(1)
    first, second = fresh(event_type, rng), fresh(event_type, rng)
    assert first.id != second.id
    assert first.type == event_type
    assert json.loads(first.body).keys() == events.BY_NAME[event_type].sample().keys()


def test_a_story_keeps_the_ids_of_what_it_tells_of() -> None:
    """Events of one story are about the same Work Order; an Action raised in it refers to it, URLs included."""
    story = Story(Random(2))
    created, updated, action = map(story.event, ("work_order.created", "work_order.updated", "action.created"))
    assert created["id"] != updated["id"]
    assert created["work_order"]["id"] == updated["work_order"]["id"] == action["action"]["work_order"]["id"]
    assert created["work_order"]["id"] != events.BY_NAME["work_order.created"].sample()["work_order"]["id"]
    assert action["action"]["id"] in action["action"]["attachments"][0]["url"]


def test_times_move_batcher() -> None:
    """`now` becomes the time of the event, and every other time keeps its distance from it."""
    now = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    sample, event = events.BY_NAME["work_order.completed"].sample(), Story(Random(3)).event("work_order.completed", now)
    assert event["occurred_at"] == "2030-01-02T03:04:05+00:00"
    started = datetime.fromisoformat(event["work_order"]["started_at"])
    expected = datetime.fromisoformat(sample["occurred_at"]) - datetime.fromisoformat(
        sample["work_order"]["started_at"]
    )
    assert now - started == expected


@pytest.mark.parametrize(
    ("value", "kept"),
    [("wo_5d2c81", "wo_"), ("WO-2026-00481", "WO-2026-"), ("1d6f7b7e-0c9f-4f7e-9d55-3a1f2b3c4d5e", ""), ("77", "")],
)
def test_a_fresh_id_looks_like_the_one_it_replaces(value: str, kept: str) -> None:
    """Prefix, length and kind of characters stay; the rest is new."""
    other = like(value, Random(4))
    assert other.startswith(kept)
    assert len(other) == len(value)
    assert other != value
    assert value[len(kept) :].isdecimal() <= other[len(kept) :].isdecimal()


def test_a_folder_of_real_samples_takes_the_place_of_ours(tmp_path: Path) -> None:
    """Files are found by the type in the payload or by their name, and get fresh ids at whichever path they use."""
    (tmp_path / "a.json").write_text('{"webhookType": "Action Created", "eventId": 17, "data": {"id": "5"}}')
    (tmp_path / "work_order.archived.json").write_text('{"hello": "5"}')
    samples = Samples.from_folder(tmp_path)
    assert set(samples.by_type) == {"action.created", "work_order.archived"}
    event = Story(Random(5), samples).event("Action Created")
    assert event["eventId"] != 17
    assert Story(Random(5), samples).event("work_order.archived") == {"hello": "5"}


def test_several_samples_of_a_type_come_in_turn(tmp_path: Path) -> None:
    """None of a type's samples is left out; after the last one the first comes again."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"type": "action.created", "id": "e_000001", "note": name}))
    samples = Samples.from_folder(tmp_path)
    assert [Story(Random(1), samples).event("action.created", index=index)["note"] for index in range(3)] == [
        "a",
        "b",
        "a",
    ]


def test_a_customer_s_payload_gets_new_ids_and_times_where_their_map_says(tmp_path: Path) -> None:
    """Numbers as ids, times without an offset or as Unix time: all are renewed in the form that they had."""
    data = Subject(Paths(["data"]), Paths(["orderId"]))
    where = replace(OURS, id=Paths(["guid"]), type=Paths(["kind"]), time=Paths(["at"]), subjects={"work_order": data})
    sample = {
        "kind": "Work Order Completed",
        "guid": "G-000001",
        "at": "2026-11-20 14:03:11",
        "data": {"orderId": 991, "n": 991},
    }
    (tmp_path / "done.json").write_text(json.dumps(sample))
    (tmp_path / "new.json").write_text(json.dumps(sample | {"kind": "Work Order Created", "at": 1_700_000_000_000}))
    story = Story(Random(3), Samples.from_folder(tmp_path, where))
    now = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    done, new = story.event("work_order.completed", now), story.event("work_order.created", now)
    assert done["guid"] != new["guid"] != "G-000001"
    assert done["data"]["orderId"] == new["data"]["orderId"] != 991
    assert done["data"]["n"] == 991  # the same number elsewhere means something else
    assert (done["at"], new["at"]) == ("2030-01-02 03:04:05", int(now.timestamp() * 1000))


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_a_file_that_is_no_payload_is_refused_by_name(tmp_path: Path, content: str) -> None:
    """A sample that is not a JSON object is refused with its file name; so is a folder without any."""
    with pytest.raises(Refusal, match=r"\*\.json"):
        Samples.from_folder(tmp_path)
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(Refusal, match=r"bad\.json: expected one JSON object"):
        Samples.from_folder(tmp_path)


def test_any_bytes_make_a_message() -> None:
    """Raw bytes go out unchanged; type and id are read from them where they can be."""
    assert Message.raw(b"\xff").type == "(raw)"
    assert Message.raw(b"[]").body == b"[]"
    assert Message.raw(b'{"type":"Action Solved","id":"e1"} ') == Message(
        "action.solved", b'{"type":"Action Solved","id":"e1"} ', "e1"
    )


def test_edits_reach_into_objects_and_lists() -> None:
    """`--set` makes what is missing, takes JSON or plain text; `--remove` takes away fields and list items."""
    payload = {"a": {"list": [1, {"b": 2}]}}
    for edit in ("a.list.1.b=x y", "a.new.deep=[true]", "n=3.5", 's="3"'):
        edits.assign(payload, edit)
    edits.remove(payload, "a.list.0")
    assert payload == {"a": {"list": [{"b": "x y"}], "new": {"deep": [True]}}, "n": 3.5, "s": "3"}


@pytest.mark.parametrize(
    ("edit", "expected"),
    [("a", "path=value"), ("=1", "path=value"), ("l.7=1", "number from 0 to 0"), ("t.x=1", "neither an object"),
     ("t.x.y=1", "has no 'x'")],
)  # fmt: skip
def test_an_edit_that_leads_nowhere_is_refused(edit: str, expected: str) -> None:
    """A wrong path is refused with what is there instead."""
    with pytest.raises(Refusal, match=expected):
        edits.assign({"l": [1], "t": "text"}, edit)


def test_edits_of_many_events_go_where_they_fit() -> None:
    """A field is set where its first step is, or everywhere when it is new; removed where it is; nowhere is refused."""
    order, action = {"work_order": {"tags": [1, 2]}}, {"action": {"name": "a"}}
    fitting = edits.Edits(["work_order.name=Pump", "new=1"], ["work_order.tags.1"], [order, action])
    fitting.apply(order)
    fitting.apply(action)
    assert order == {"work_order": {"tags": [1], "name": "Pump"}, "new": 1}
    assert action == {"action": {"name": "a"}, "new": 1}
    with pytest.raises(Refusal, match="it has tags, name"):
        edits.Edits([], ["work_order.tgas"], [order, action])


@pytest.mark.parametrize(("path", "expected"), [("a.c", "it has b"), ("x", "it has a"), ("a.b.c", "no fields")])
def test_removing_what_is_not_there_is_refused(path: str, expected: str) -> None:
    """`--remove` of a missing field names the fields that are there."""
    with pytest.raises(Refusal, match=expected):
        edits.remove({"a": {"b": 1}}, path)
