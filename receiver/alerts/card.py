"""The card of some alerts. Every text is a TextRun, which Teams shows as it is: hosts and paths are no Markdown."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from receiver.alerts.book import News
from receiver.alerts.troubles import KINDS
from receiver.visible import visible

MOST = 4
"""Alerts of one card, so that it stays under Teams' 28 KB however long the texts; the next card has the others."""
_ABOUT, _LONGEST = 120, 300  # characters of whose an alert is, and of any text


def encode(news: Sequence[News], system: str) -> bytes:
    """The message for a Teams workflow; `system` says which system of several this is: its KEY_PREFIX."""
    title = f"{system}: {_title(news)}"
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.5",
        "lang": "en",
        "fallbackText": title,
        "msteams": {"width": "Full"},
        "body": [_text(title, weight="Bolder", size="Large"), *map(_alert, news)],
    }
    kind = "application/vnd.microsoft.card.adaptive"
    message = {
        "type": "message",
        "attachments": [{"contentType": kind, "contentUrl": None, "content": card}],
    }
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def _title(news: Sequence[News]) -> str:
    new, over = sum(not one.is_over for one in news), sum(one.is_over for one in news)
    parts = [f"{new} alert{'s' * (new != 1)}"] * bool(new) + [f"{over} over"] * bool(over)
    return ", ".join(parts)


def _alert(one: News) -> dict[str, Any]:
    kind = KINDS[one.name]
    at = datetime.fromtimestamp(one.at, tz=UTC).isoformat(sep=" ", timespec="seconds")
    about = f" ({_shown(one.about, _ABOUT)})" if one.about else ""
    lines = [_text(f"{one.name}{about}{' is over' * one.is_over}", weight="Bolder"), _text(one.text)]
    if not one.is_over:
        lines += [_text(f"Look at: {kind.look}."), _text(kind.command, fontType="Monospace")]
    lines.append(_text(f"{at}. docs/operations.md, {one.name}", isSubtle=True, size="Small"))
    return {
        "type": "Container",
        "style": "good" if one.is_over else "attention",
        "bleed": True,
        "spacing": "Medium",
        "items": lines,
    }


def _text(text: str, **look: Any) -> dict[str, Any]:
    shown = _shown(text, _LONGEST).replace("{{", "{\u2060{")  # or Teams would read a function of its own
    return {"type": "RichTextBlock", "spacing": "Small", "inlines": [{"type": "TextRun", "text": shown, **look}]}


def _shown(text: str, limit: int) -> str:
    return visible(visible(text, limit), limit)  # escapes are longer than what they stand for
