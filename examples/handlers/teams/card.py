"""The card of an event: a pure function from its content to the JSON that a Teams workflow takes.

Adaptive Card 1.5 is as far as Teams goes. Everything that comes from the event passes through `untrusted`; times are
left to the viewer's own zone and format; what is empty is left out.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from examples.handlers.teams.content import Content, Look, Rows, of_event
from examples.handlers.teams.languages import Language, priority_name
from examples.handlers.teams.untrusted import markdown, paragraphs, plain, right_to_left
from worker import Event

MAX_BYTES = 20_000  # of `size`; Teams refuses at about 28 KB with its own markup, one library measured 21 KB
_TITLE, _DESCRIPTION, _PRIORITY = 200, 6000, 40  # characters
_GLANCE = 500  # characters of a description that show at once; the rest is a click away

Card = dict[str, Any]

_TONES = {"critical": "attention", "urgent": "attention", "high": "attention", "medium": "warning", "low": "good"}
_TONE_OF_TYPE = {
    "work_order.created": "accent",
    "work_order.started": "accent",
    "work_order.overdue": "attention",
    "work_order.updated": "accent",
    "work_order.completed": "good",
    "work_order.assigned": "accent",
    "action.solved": "good",
    "action.cant_do": "attention",
}


def build(event: Event, look: Look) -> Card:
    """The whole message for a Teams workflow, under `MAX_BYTES`: the description is cut, then rows are left out."""
    content = of_event(event, look)
    length = min(len(content.description), _DESCRIPTION)
    while (excess := size(message := _message(event, content, look, length)) - MAX_BYTES) >= 0:
        if length:
            share = _measured(_json(_json(content.description[:length])))
            length = max(length - excess * length // share - length // 20 - 1, length // 4)
        elif content.rows:
            content = replace(content, rows=content.rows[:-1])
        else:
            break
    return message


def size(message: Card) -> int:
    """Bytes as Teams counts them, which is at least as many as are sent.

    Teams keeps a card as JSON text inside its message, so that quotes and backslashes are escaped twice, and counts
    UTF-16 where we send UTF-8. Which of the two is longer depends on the script.
    """
    attachments = [{**attachment, "content": _json(attachment["content"])} for attachment in message["attachments"]]
    return _measured(_json({**message, "attachments": attachments}))


def _measured(text: str) -> int:
    return max(len(text.encode("utf-8", "surrogatepass")), len(text.encode("utf-16-le", "surrogatepass")))


def encode(message: Card) -> bytes:
    """The bytes that are sent: UTF-8 with accents as they are, because escapes would triple their size."""
    return _json(message).encode()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _message(event: Event, content: Content, look: Look, description_length: int) -> Card:
    words = look.words
    heading = words.heading(event.type)
    body = [
        _header(event, heading, content, words),
        *_facts(content.rows),
        *(description := _description(content.description, description_length)),
        *_image(content.photo, f"{words.photo}: {content.title}"),
    ]
    actions: list[Card] = []
    if content.url:
        actions.append({"type": "Action.OpenUrl", "title": content.button, "url": content.url})
    if len(description) > 1:  # the one shows where the other hides
        targets = [part["id"] for part in description]
        actions.append({"type": "Action.ToggleVisibility", "title": words.full_text, "targetElements": targets})
    return envelope(_card(words, f"{heading}: {content.title}", body, actions))


def _card(words: Language, summary: str, body: list[Card], actions: list[Card]) -> Card:
    return {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.5",
        "lang": words.lang,
        "fallbackText": plain(summary, _TITLE * 2),
        "msteams": {"width": "Full"},  # ours alone: never copied from an event, it could mention people
        "body": body,
        "actions": actions,
    }


def envelope(card: Card) -> Card:
    """What the Workflows template "Send webhook alerts to a channel" expects around a card."""
    return {
        "type": "message",
        "attachments": [
            {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        ],
    }


def _header(event: Event, heading: str, content: Content, words: Language) -> Card:
    title = [
        {"type": "TextBlock", "text": markdown(heading, _TITLE), "isSubtle": True, "size": "Small", "wrap": True},
        {
            "type": "TextBlock",
            "text": markdown(content.title, _TITLE),
            "style": "heading",
            "size": "Large",
            "weight": "Bolder",
            "wrap": True,
            "spacing": "None",
        },
    ]
    columns = [{"type": "Column", "width": "stretch", "items": title}]
    if content.priority:
        badge = {
            "type": "TextBlock",
            "text": _priority_words(markdown(content.priority, _PRIORITY), words),
            "weight": "Bolder",
            "wrap": True,
        }
        columns.append({"type": "Column", "width": "auto", "items": [badge]})
    return {
        "type": "Container",
        "style": _tone(event, content.priority),
        "bleed": True,
        **_direction(content.title),
        "items": [{"type": "ColumnSet", "columns": columns}],
    }


def _tone(event: Event, priority: str | None) -> str:
    """Colour says what the words beside it say too: solved is good news whatever the priority, can't do is bad."""
    return _TONE_OF_TYPE.get(event.type) or _TONES.get(priority_name(priority or "") or "", "emphasis")


def _priority_words(priority: str, words: Language) -> str:
    """The priority in the card's language; one that the kit has no word for is shown as it is."""
    name = priority_name(priority)
    return words.priority.format(words.priorities[name] if name else priority)


def _facts(rows: Rows) -> Iterable[Card]:
    if rows:
        yield {"type": "FactSet", "facts": [{"title": label, "value": value} for label, value in rows]}


def _description(text: str, length: int) -> list[Card]:
    """All of it; where that is a wall of text, its beginning, and all of it hidden."""
    whole = _paragraphs(text, length)
    if not whole or min(len(text), length) <= _GLANCE:
        return whole
    beginning = _paragraphs(text, _GLANCE)
    return [{**beginning[0], "id": "beginning"}, {**whole[0], "id": "whole", "isVisible": False}]


def _paragraphs(text: str, length: int) -> list[Card]:
    lines = paragraphs(text, length)
    # A TextRun is the one place where Teams reads no Markdown.
    runs = [
        {"type": "RichTextBlock", "spacing": "Small", "inlines": [{"type": "TextRun", "text": line}]} for line in lines
    ]
    return [{"type": "Container", "spacing": "Medium", **_direction(text), "items": runs}] if runs else []


def _image(url: str | None, alternative: str) -> Iterable[Card]:
    if url:
        yield {
            "type": "Image",
            "url": url,
            "altText": plain(alternative, _TITLE),
            "width": "280px",  # Teams' own "Large" is 100
            "spacing": "Medium",
            "msTeams": {"allowExpand": True},
        }


def _direction(text: str) -> Card:
    return {"rtl": True} if right_to_left(text) else {}
