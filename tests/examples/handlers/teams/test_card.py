"""The card of an event: pure, valid, readable, and never too large."""

import importlib.resources
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.handlers.teams import card
from examples.handlers.teams.content import MAX_FACTS, Look
from examples.handlers.teams.languages import ENGLISH, LANGUAGES, PORTUGUESE, Language, priority_name
from receiver import events
from worker import Event

LOOK = Look(ENGLISH, "https://app.example.com/actions/{id}", "https://app.example.com/work-orders/{id}")
TYPES = sorted(events.BY_NAME)


Check = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="session")
def check() -> Check:
    """Microsoft's schema of Adaptive Cards 1.5; what is Teams' own is not in it."""
    text = importlib.resources.files("adaptive_cards").joinpath("schemas/schema-1.5.json").read_text(encoding="utf-8")
    schema = jsonschema.Draft6Validator(json.loads(text))
    return lambda content: schema.validate(_without_teams(content))


def _without_teams(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_teams(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    return {name: _without_teams(value) for name, value in node.items() if name.casefold() != "msteams"}


def _content(message: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = message["attachments"][0]["content"]
    return content


def _elements(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from _elements(inner)


def _facts(message: dict[str, Any]) -> dict[str, str]:
    return {fact["title"]: fact["value"] for e in _elements(message) for fact in e.get("facts", ())}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("event_type", TYPES)
def test_every_type_has_a_card(sample: Callable[..., Event], check: Check, event_type: str, language: str) -> None:
    """All eleven, in both languages: valid by Microsoft's schema, with a heading, facts and a way in."""
    look = replace(LOOK, words=LANGUAGES[language])
    content = _content(card.build(sample(event_type), look))
    check(content)
    assert content["version"] == "1.5"
    assert content["fallbackText"].startswith(LANGUAGES[language].headings[event_type])
    assert 3 <= len(_facts(content)) <= MAX_FACTS
    assert content["actions"][0]["url"].startswith("https://app.example.com/")
    assert all(element["wrap"] for element in _elements(content) if element.get("type") == "TextBlock")


def test_a_card_says_what_matters(sample: Callable[..., Event]) -> None:
    """Priority in words and colour, title as a heading, due date in the viewer's zone, the photo, the button."""
    content = _content(card.build(sample(), LOOK))
    header = content["body"][0]
    texts = [element["text"] for element in _elements(header) if element.get("type") == "TextBlock"]
    assert header["style"] == "attention"
    assert texts == ["New Action", "Fuga de óleo no compressor C-12", "High priority"]
    assert _facts(content) == {
        "Due": "{{DATE(2026-11-05T17:00:00Z, SHORT)}} {{TIME(2026-11-05T17:00:00Z)}}",
        "Assigned to": "Equipa de Mecânica",
        "Created by": "João Simões",
        "Site": "Fábrica de Setúbal",
        "Element": "Compressor C-12",
        "Work Order": "Inspeção mensal do compressor C-12",
    }
    assert content["body"][3] == {
        "type": "Image",
        "url": "https://files.example.com/act_90b1e4/fuga.jpg",
        "altText": "Photo: Fuga de óleo no compressor C-12",
        "width": "280px",
        "spacing": "Medium",
        "msTeams": {"allowExpand": True},
    }
    assert content["actions"] == [
        {"type": "Action.OpenUrl", "title": "Open the Action", "url": "https://app.example.com/actions/act_90b1e4"}
    ]


def test_portuguese(sample: Callable[..., Event]) -> None:
    """The first users' language, labels and priority included."""
    content = _content(card.build(sample(), replace(LOOK, words=PORTUGUESE)))
    assert content["lang"] == "pt"
    assert "Prioridade alta" in json.dumps(content, ensure_ascii=False)
    assert list(_facts(content))[:2] == ["Prazo", "Atribuída a"]


@pytest.mark.parametrize("words", LANGUAGES.values())
def test_a_language_is_complete(words: Language) -> None:
    """Every type has a heading, every label of one language is in the other."""
    assert sorted(words.headings) == TYPES
    assert set(words.labels) == set(ENGLISH.labels)
    assert set(words.priorities) == set(ENGLISH.priorities)


@pytest.mark.parametrize(
    ("text", "name"),
    [("High", "high"), ("ALTA", "high"), ("média", "medium"), ("Crítica", "critical"), ("P1", None), ("", None)],
)
def test_priorities(text: str, name: str | None) -> None:
    """Known in both languages and any case; others are shown as they are."""
    assert priority_name(text) == name


def test_a_priority_without_a_word_is_shown_as_it_is(sample: Callable[..., Event]) -> None:
    """What Glartek may add tomorrow is on the card, escaped, without a colour that we would only guess."""
    header = _content(card.build(sample(priority="P*1"), LOOK))["body"][0]
    assert header["style"] == "emphasis"
    assert r"P\*1 priority" in [element.get("text") for element in _elements(header)]


@pytest.mark.parametrize(
    ("event_type", "priority", "tone"),
    [
        ("action.created", "Critical", "attention"),
        ("action.created", "média", "warning"),
        ("action.in_progress", "Low", "good"),
        ("action.solved", "High", "good"),
        ("action.cant_do", "Low", "attention"),
        ("work_order.overdue", None, "attention"),
        ("work_order.completed", None, "good"),
        ("work_order.created", None, "accent"),
        ("work_order.deleted", None, "emphasis"),
    ],
)
def test_colour_tells_good_news_from_bad(
    sample: Callable[..., Event], event_type: str, priority: str | None, tone: str
) -> None:
    """An Action that cannot be done is never green, however low its priority."""
    assert _content(card.build(sample(event_type, priority=priority), LOOK))["body"][0]["style"] == tone


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        ("2026-11-05T18:00:00+01:00", "{{DATE(2026-11-05T17:00:00Z, SHORT)}} {{TIME(2026-11-05T17:00:00Z)}}"),
        (1793898000.5, "{{DATE(2026-11-05T17:00:00Z, SHORT)}} {{TIME(2026-11-05T17:00:00Z)}}"),
        ("2026-11-05T18:00:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("soon", None),
    ],
)
def test_times_are_the_viewers_where_they_can_be(sample: Callable[..., Event], time: Any, shown: str | None) -> None:
    """A time is filled in by Teams; one without an offset (and PAYLOAD_TIMEZONE), and what is none, is left out."""
    assert _facts(card.build(sample(due_date=time), LOOK)).get("Due") == shown


def test_what_is_empty_is_left_out(event_of: Callable[..., Event], check: Check) -> None:
    """An event with next to nothing in it is a card all the same."""
    content = _content(card.build(event_of({"type": "action.created", "action": {}}), LOOK))
    check(content)
    assert len(content["body"]) == 1
    assert content["actions"] == []


def test_a_work_order_without_an_id_has_a_work_orders_card(event_of: Callable[..., Event]) -> None:
    """The type says whose card it is, not the fields that happen to be there."""
    event = event_of({"type": "work_order.completed", "data": {"title": "x", "code": "WO-1", "priority": "High"}})
    content = _content(card.build(event, LOOK))
    assert _facts(content) == {"Code": "WO-1"}
    assert content["fallbackText"] == "Work Order completed: WO-1"


def test_a_type_not_known_yet_has_a_card(event_of: Callable[..., Event]) -> None:
    """It says its own name."""
    content = _content(card.build(event_of({"type": "asset.moved", "id": 1}), LOOK))
    assert content["fallbackText"] == "asset.moved: asset.moved"


@pytest.mark.parametrize(
    "url",
    [
        "http://files.example.com/x.jpg",
        "javascript:alert(1)",
        "https://",
        "https://[",
        "https://x/ y",
        "data:image/png,x",
        "https://x/" + "a" * 2000,
    ],
)
def test_only_https_photos_are_shown(sample: Callable[..., Event], url: str) -> None:
    """Anything but a plain https URL is no photo."""
    event = sample(attachments=[{"content_type": "image/png", "url": url}])
    assert not [e for e in _elements(card.build(event, LOOK)) if e.get("type") == "Image"]


@pytest.mark.parametrize(
    ("attachment", "is_photo"),
    [
        ({"content_type": "image/png", "name": "x"}, True),
        ({"name": "leak.JPG"}, True),
        ({}, True),
        ({"name": "report.pdf"}, False),
        ({"content_type": "application/pdf", "name": "x.jpg"}, False),
    ],
)
def test_an_attachment_without_a_type_is_known_by_its_name(
    sample: Callable[..., Event], attachment: dict[str, str], *, is_photo: bool
) -> None:
    """Nobody has documented attachments: what it says it is, else what it is called."""
    event = sample(attachments=[{"url": "https://files.example.com/leak.jpg?v=2", **attachment}])
    images = [e for e in _elements(card.build(event, LOOK)) if e.get("type") == "Image"]
    assert len(images) == int(is_photo)


def test_photos_can_be_turned_off(sample: Callable[..., Event]) -> None:
    """TEAMS_PHOTOS=false keeps Teams from fetching anything."""
    assert not [e for e in _elements(card.build(sample(), replace(LOOK, photos=False))) if e.get("type") == "Image"]


def test_an_id_cannot_leave_its_place_in_a_link(sample: Callable[..., Event]) -> None:
    """The button leads where the customer said, whatever the id is."""
    content = _content(card.build(sample(id="../../evil?x=#y"), LOOK))
    assert content["actions"][0]["url"] == "https://app.example.com/actions/..%2F..%2Fevil%3Fx%3D%23y"


def test_nothing_of_an_event_becomes_a_mention(event_of: Callable[..., Event]) -> None:
    """`msteams` in a payload stays in the payload."""
    event = event_of({"type": "action.created", "msteams": {"entities": [1]}, "action": {"title": "<at>Ana</at>"}})
    content = _content(card.build(event, LOOK))
    assert content["msteams"] == {"width": "Full"}
    assert "entities" not in json.dumps(content)


def test_right_to_left_text_reads_from_the_right(sample: Callable[..., Event]) -> None:
    """Arabic and Hebrew set the direction of their own part of the card."""
    content = _content(card.build(sample(title="تسرب زيت", description="زيت على الأرض"), LOOK))
    assert [element.get("rtl") for element in content["body"]][:3] == [True, None, True]


@pytest.mark.parametrize("text", ["á" * 10_000, "👩‍🔧" * 4_000, '"\\' * 6_000, "x\n" * 5_000, "[" * 10_000])
def test_a_long_description_is_cut_with_an_ellipsis(sample: Callable[..., Event], text: str) -> None:
    """Ten thousand characters of anything stay under the limit, and the cut shows."""
    message = card.build(sample(description=text), LOOK)
    assert card.size(message) < card.MAX_BYTES
    assert json.dumps(message, ensure_ascii=False).count("…") >= 1


@pytest.mark.parametrize("text", ["\\" * 300, '\\"' * 150])
@pytest.mark.parametrize("event_type", ["action.cant_do", "work_order.completed", "asset.moved"])
def test_rows_that_do_not_fit_are_left_out(event_of: Callable[..., Event], event_type: str, text: str) -> None:
    """Where every field is made of what is escaped twice, the rows that matter least go, and the title stays."""
    filled: dict[str, Any] = dict.fromkeys(
        ("title", "name", "code", "status", "priority", "resolution", "due_date"), text
    )
    filled |= {name: {"name": text} for name in ("site", "element", "assigned_to", "created_by", "work_order")}
    filled |= {"assignees": [{"name": text}] * 9, "id": text, "attachments": [{"url": "https://x/y.png"}]}
    kind = "work_order" if event_type.startswith("work_order") else "action"
    message = card.build(event_of({"type": event_type, "actor": {"name": text}, kind: filled}), LOOK)
    assert card.size(message) < card.MAX_BYTES
    assert 2 <= len(_facts(message)) < MAX_FACTS


@pytest.mark.parametrize("text", ['"' * 6000, "\\" * 6000, "漢" * 6000, "x" * 6000])
def test_a_card_is_under_the_limit_as_teams_measures_it(sample: Callable[..., Event], text: str) -> None:
    """Teams keeps the card as JSON text in its message and counts UTF-16: what is sent may be half of that."""
    message = card.build(sample(description=text), LOOK)
    (attachment,) = message["attachments"]
    nested = {**attachment, "content": json.dumps(attachment["content"], ensure_ascii=False, separators=(",", ":"))}
    kept = json.dumps({**message, "attachments": [nested]}, ensure_ascii=False, separators=(",", ":"))
    assert len(kept.encode()) < card.MAX_BYTES
    assert len(kept.encode("utf-16-le")) < card.MAX_BYTES
    assert len(card.encode(message)) <= card.size(message)


@pytest.mark.parametrize("text", [" " * 1000, "\n" * 1000, "\x9b" * 1000, "\u202e\n" * 1000])
def test_a_long_description_of_nothing_is_left_out(sample: Callable[..., Event], check: Check, text: str) -> None:
    """White space and characters that are taken away make no empty paragraph, and no failure."""
    content = _content(card.build(sample(description=text, attachments=[]), LOOK))
    check(content)
    assert [element["type"] for element in content["body"]] == ["Container", "FactSet"]


def test_a_wall_of_text_is_a_click_away(sample: Callable[..., Event], check: Check) -> None:
    """A long description shows its beginning, and a button that puts the whole in its place."""
    text = "Óleo no chão. " * 100
    content = _content(card.build(sample(description=text, attachments=[]), LOOK))
    check(content)
    beginning, whole = content["body"][-2:]
    assert beginning["items"][0]["inlines"][0]["text"] == text[:499] + "…"
    assert whole["items"][0]["inlines"][0]["text"] == text.strip()
    assert (beginning.get("isVisible", True), whole["isVisible"]) == (True, False)
    assert content["actions"][-1] == {
        "type": "Action.ToggleVisibility",
        "title": "Full text",
        "targetElements": [beginning["id"], whole["id"]],
    }


_TEXT = st.text(max_size=300) | st.sampled_from(["\\" * 700, "😀" * 700, "{{" * 700, "[" * 700, "\ud800" * 9])
_LONG = st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=9), st.integers(1, 3000))
_REF = st.fixed_dictionaries({"id": _TEXT, "name": _TEXT})
_FIELDS = {
    "id": _TEXT, "title": _TEXT, "name": _TEXT, "code": _TEXT, "description": _TEXT | _LONG,
    "status": _TEXT, "priority": _TEXT,
    "site": _REF, "element": _REF, "assigned_to": _REF, "created_by": _REF, "work_order": _REF, "resolution": _TEXT,
    "assignees": st.lists(_REF, max_size=5), "due_date": st.datetimes().map(lambda t: f"{t}Z"),
    "attachments": st.lists(st.fixed_dictionaries({"content_type": st.just("image/png"), "url": _TEXT}), max_size=2),
}  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=50, deadline=None)
@given(fields=st.fixed_dictionaries({}, optional=_FIELDS), actor=_REF, event_type=st.sampled_from([*TYPES, "new.type"]))
def test_every_card_is_valid_and_under_the_limit(
    event_of: Callable[..., Event],
    check: Check,
    fields: dict[str, Any],
    actor: dict[str, Any],
    event_type: str,
) -> None:
    """Whatever an event holds: under 20 000 bytes, valid, and without a date function that is not ours."""
    subject = event_type.partition(".")[0]
    message = card.build(event_of({"id": "e", "type": event_type, "actor": actor, subject: fields}), LOOK)
    assert card.size(message) < card.MAX_BYTES
    content = _content(message)
    check(content)
