"""The catalog and its samples say the same, and a type is recognised however its name is written."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import events
from receiver.events import BY_NAME, CATALOG, SAMPLES, EventType
from receiver.events.payload_file import ours

CONTRACT = {
    "work_order.created", "work_order.started", "work_order.overdue", "work_order.updated", "work_order.completed",
    "work_order.deleted", "work_order.assigned", "action.created", "action.in_progress", "action.solved",
    "action.cant_do",
}  # fmt: skip
any_type = pytest.mark.parametrize("event_type", CATALOG, ids=lambda event_type: event_type.name)


def test_the_catalog_has_glarteks_eleven_types() -> None:
    """All of Glartek's types are there, none twice and none invented."""
    assert len(CATALOG) == 11
    assert set(BY_NAME) == CONTRACT


def test_every_type_has_a_sample_and_every_sample_a_type() -> None:
    """Catalog and sample files are equal, both ways."""
    assert {path.stem for path in SAMPLES.iterdir()} == CONTRACT


def test_samples_do_not_share_an_event_id() -> None:
    """Samples sent one after the other are eleven events, not duplicates."""
    ids = [ours().id_of(event_type.sample()) for event_type in CATALOG]
    assert len(set(ids)) == 11
    assert None not in ids


@any_type
def test_a_sample_names_its_own_type(event_type: EventType) -> None:
    """The type in a sample leads back to the catalog's entry it belongs to."""
    assert ours().type_of(event_type.sample()) == event_type.name


@any_type
def test_a_sample_says_that_it_is_the_kits_own(event_type: EventType) -> None:
    """Nobody takes a sample for Glartek's documented schema: the file says so, the payload does not carry it."""
    text = (SAMPLES / f"{event_type.name}.json").read_text(encoding="utf-8")
    assert "not Glartek's" in json.loads(text)["$comment"]
    assert "$comment" not in event_type.sample()


@any_type
def test_a_sample_has_a_subject(event_type: EventType) -> None:
    """Every sample describes the Work Order or Action that its type is about."""
    kind = events.subject_kind(event_type.name)
    assert kind is not None
    fields = ours().view(event_type.sample(), kind)
    assert fields is not None
    assert fields["id"]


@pytest.mark.parametrize(
    "write",
    [
        str,
        str.upper,
        str.lower,
        str.title,
        lambda words: words.replace(" ", "_"),
        lambda words: words.replace(" ", "-").replace(".", "-"),
        lambda words: words.replace(" ", "").replace("_", ""),
        lambda words: words.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}"),
        lambda words: f"  {words}! ",
    ],
)
@any_type
def test_a_type_is_known_in_any_case_and_punctuation(event_type: EventType, write: "type[str]") -> None:
    """Name, title and aliases are all the same type, whatever their case and punctuation."""
    for words in (event_type.name, event_type.title, *event_type.aliases):
        assert events.canonical(write(words)) == event_type.name


def test_glarteks_own_misspelling_is_known() -> None:
    """Glartek's page says "Work Oder Assigned", so its sender may too."""
    assert events.canonical("Work Oder Assigned") == "work_order.assigned"


@pytest.mark.parametrize("words", ["", "???", "work_order", "work_order.exploded", "Work Order Created Twice"])
def test_an_unknown_type_keeps_the_senders_words(words: str) -> None:
    """What we do not know is passed on as it came, neither guessed nor cut."""
    assert events.canonical(words) == words


@given(st.text())
def test_any_words_are_a_known_type_or_themselves(words: str) -> None:
    """No text makes the lookup fail or invent a third answer."""
    assert events.canonical(words) in {words, *BY_NAME}


def test_long_words_are_not_remembered() -> None:
    """Senders cannot fill the receiver's memory with type names of a megabyte each."""
    tracemalloc.start()
    for number in range(20):
        assert events.canonical(f"{number:0500000}").endswith(str(number))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2_000_000


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        ({"id": "a"}, "a"),
        ({"id": " a "}, "a"),
        ({"id": 0}, "0"),
        ({"id": 10**40}, str(10**40)),
        ({"id": ""}, None),
        ({"id": "  "}, None),
        ({"id": None}, None),
        ({"id": True}, None),
        ({"id": False}, None),
        ({"id": []}, None),
        ({"id": {"id": "a"}}, None),
        ({}, None),
        ([], None),
        ("id", None),
        (None, None),
    ],
)
def test_a_missing_or_empty_field_is_none(payload: object, found: str | None) -> None:
    """Only a text or a whole number counts; an empty field never becomes a key that unrelated events share."""
    assert events.first_text(payload, ["id"]) == found


def test_the_first_path_that_has_a_value_wins() -> None:
    """Paths are tried in order, past those that are missing or empty."""
    payload = {"id": "outer", "event": {"id": "inner"}, "event_id": ""}
    assert ours().id_of(payload) == "inner"


@given(st.text(st.characters(exclude_categories=()), min_size=1).filter(str.strip))
def test_every_text_found_has_a_utf8_form(text: str) -> None:
    """A lone surrogate, which JSON can escape, never reaches Redis or a log."""
    found = events.first_text({"id": text}, ["id"])
    assert found
    assert found.encode()


@pytest.mark.parametrize("text", ["a", "é" * 180, "\N{WRENCH}"])
def test_an_id_is_kept_as_it_is(text: str) -> None:
    """Nearly every id is short."""
    assert events.identifier(text) == text


@given(st.text(min_size=181), st.text(min_size=181))
def test_a_long_id_is_shortened_and_stays_its_own(one: str, other: str) -> None:
    """Equal ids stay equal and different ones different, so that a line or a record is never shared."""
    short = events.identifier(one)
    assert len(short) <= 180
    assert short.startswith(one[:160])
    assert (short == events.identifier(other)) == (one == other)
    assert short != events.identifier(one + "x")


def test_a_type_is_ours_the_senders_or_none() -> None:
    """The name from the catalog, at most a hundred characters of the sender's own, or nothing."""
    assert ours().type_of({"type": "Work Order Completed"}) == "work_order.completed"
    assert ours().type_of({"type": "x" * 500_000}) == "x" * 100
    assert ours().type_of({}) == ""
