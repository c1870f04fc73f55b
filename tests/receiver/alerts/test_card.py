"""The card of alerts is one that Teams takes."""

import json
from typing import Any

import pytest

from receiver.alerts import card
from receiver.alerts.book import News
from receiver.alerts.troubles import KINDS


def texts(part: Any) -> list[str]:
    """Every text of a card."""
    match part:
        case {"type": "TextRun", "text": text}:
            return [text]
        case dict():
            return [text for value in part.values() for text in texts(value)]
        case list():
            return [text for value in part for text in texts(value)]
    return []


def test_a_card_says_what_where_and_what_to_type() -> None:
    """An alert, and the end of another."""
    news = [
        News("GlartekNoWorker", "", "No worker is alive.", is_over=False, at=0),
        News("GlartekDiskShort", "a_host", "It is over.", is_over=True, at=60),
    ]
    message = json.loads(card.encode(news, "plant-7"))
    content = message["attachments"][0]["content"]
    assert content["fallbackText"] == "plant-7: 1 alert, 1 over"
    assert [part.get("style") for part in content["body"]] == [None, "attention", "good"]
    assert texts(content) == [
        "plant-7: 1 alert, 1 over",
        "GlartekNoWorker",
        "No worker is alive.",
        "Look at: the worker's log: a wrong setting is one line.",
        "docker compose up --detach worker",
        "1970-01-01 00:00:00+00:00. docs/operations.md, GlartekNoWorker",
        "GlartekDiskShort (a_host) is over",
        "It is over.",
        "1970-01-01 00:01:00+00:00. docs/operations.md, GlartekDiskShort",
    ]


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600", "\x1b", "\u202e", '"', "\\"])
def test_the_largest_card_is_within_teams_limit(letter: str) -> None:
    """As the stand-in measures it, whatever a host or a finding is called."""
    sink = pytest.importorskip("examples.sink", reason="examples/ was deleted")
    news = [News(name, letter * 9000, letter * 9000, is_over=False, at=0) for name in KINDS][: card.MOST]
    message = card.encode(news, "plant")
    assert sink._size(json.loads(message)) < sink.MAX_TEAMS_BYTES
    assert b"\x1b" not in message


def test_teams_functions_are_not_run() -> None:
    """`{{DATE(…)}}` would be expanded in any text."""
    body = card.encode([News("GlartekUnsafe", "{{DATE(now)}}", "{{TIME(now)}}", is_over=False, at=0)], "p").decode()
    assert "{{" not in body
