"""The card of an event: a pure function from event to the JSON that a Teams workflow takes.

Adaptive Card 1.5 is as far as Teams goes. Everything that comes from the event passes through `untrusted`; times are
left to the viewer's own zone and format; what is empty is left out.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from examples.handlers.teams.untrusted import markdown, paragraphs, plain, right_to_left
from examples.handlers.teams.words import Words, priority_name
from worker import Action, Event, WorkOrder

MAX_BYTES = 20_000  # Teams cuts off at about 28 KB with its own markup, one library measured 21 KB
MAX_FACTS = 6
_TITLE, _VALUE, _DESCRIPTION, _URL, _LINE = 200, 160, 6000, 1000, 100  # characters
_LINES = 25  # in a digest

Card = dict[str, Any]
Rows = list[tuple[str, str | None]]

_TONES = {"critical": "attention", "urgent": "attention", "high": "attention", "medium": "warning", "low": "good"}
_TONE_OF_TYPE = {"work_order.overdue": "attention", "work_order.completed": "good", "action.solved": "good"}


@dataclass(frozen=True, slots=True)
class Look:
    """What the customer chose: language, where buttons lead (URL templates with `{id}`), and photos or none."""

    words: Words
    action_url: str | None = None
    work_order_url: str | None = None
    photos: bool = True


@dataclass(frozen=True, slots=True)
class _Content:
    title: str
    priority: str | None
    rows: Rows
    description: str
    photo: str | None
    url: str | None
    button: str


def build(event: Event, look: Look) -> Card:
    """The whole message for a Teams workflow, under `MAX_BYTES`: a longer description is cut."""
    content = _content(event, look)
    length = _DESCRIPTION
    while size(message := _message(event, content, look, length)) >= MAX_BYTES:
        length = length * 4 // 5
    return message


def line(event: Event, look: Look) -> dict[str, str]:
    """The event in one line of a digest: what happened, to what, how urgent, and where to read on."""
    content = _content(event, look)
    return {
        "text": plain(f"{look.words.heading(event.type)}: {content.title}", _LINE),
        "priority": _priority_words(content.priority, look.words) if content.priority else "",
        "url": content.url or "",
    }


def digest(lines: Sequence[Mapping[str, str]], look: Look, seconds: float) -> Card:
    """One card, under `MAX_BYTES`, that lists events which came faster than a channel is read; the last are counted."""
    shown = _LINES
    while size(message := _digest(lines, look.words, seconds, shown)) >= MAX_BYTES:
        shown -= 1
    return message


def _digest(lines: Sequence[Mapping[str, str]], words: Words, seconds: float, shown: int) -> Card:
    title = words.digest.format(len(lines), _span(seconds))
    rest = [words.and_more.format(len(lines) - shown)] if len(lines) > shown else []
    body: list[Card] = [
        {"type": "TextBlock", "text": markdown(title, _TITLE), "style": "heading", "size": "Large", "wrap": True},
        *({"type": "RichTextBlock", "spacing": "Small", "inlines": _inlines(line)} for line in lines[:shown]),
        *({"type": "TextBlock", "text": text, "isSubtle": True, "wrap": True} for text in rest),
    ]
    return envelope(_card(words, title, body, []))


def _inlines(line: Mapping[str, str]) -> list[Card]:
    text: Card = {"type": "TextRun", "text": line["text"]}
    if line["url"]:
        text["selectAction"] = {"type": "Action.OpenUrl", "url": line["url"]}
    if not line["priority"]:
        return [text]
    return [{"type": "TextRun", "text": f"{line['priority']} · ", "weight": "Bolder"}, text]


def _span(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds % 60 == 0 else f"{seconds:g} s"


def size(message: Card) -> int:
    return len(encode(message))


def encode(message: Card) -> bytes:
    """The bytes that are sent: UTF-8 with accents as they are, because escapes would triple their size."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def _content(event: Event, look: Look) -> _Content:
    if (action := event.action) is not None:
        return _Content(
            title=action.title or action.code or action.id or look.words.heading(event.type),
            priority=action.priority,
            rows=_action_rows(event, action, look.words),
            description=action.description or "",
            photo=_photo(action) if look.photos else None,
            url=_link(look.action_url, action.id),
            button=look.words.open_action,
        )
    work_order = event.work_order or WorkOrder()
    return _Content(
        title=work_order.name or work_order.code or work_order.id or look.words.heading(event.type),
        priority=None,
        rows=_work_order_rows(event, work_order, look.words),
        description="",
        photo=_task_photo(work_order) if look.photos else None,
        url=_link(look.work_order_url, work_order.id),
        button=look.words.open_work_order,
    )


def _action_rows(event: Event, action: Action, words: Words) -> Rows:
    """What matters most first: only the first rows that have a value are shown."""
    extra = action.model_extra or {}
    first: Mapping[str, Rows] = {
        "action.created": [("due", _when(action.due_date)), ("assigned_to", _name(action.assigned_to))],
        "action.in_progress": [("assigned_to", _name(action.assigned_to)), ("due", _when(action.due_date))],
        "action.solved": [("finished", _when(action.finish_date)), ("resolution", _text(extra.get("resolution")))],
        "action.cant_do": [("resolution", _text(extra.get("resolution"))), ("due", _when(action.due_date))],
    }
    return _labelled(
        words,
        [
            *first.get(event.type, [("status", _text(action.status))]),
            ("by", _actor(event)),
            ("site", _name(action.site)),
            ("element", _name(action.element)),
            ("work_order", _name(action.work_order)),
            ("assigned_to", _name(action.assigned_to)),
        ],
    )


def _work_order_rows(event: Event, work_order: WorkOrder, words: Words) -> Rows:
    first: Mapping[str, Rows] = {
        "work_order.created": [("planned_start", _when(work_order.planned_start)), ("due", _when(work_order.due_date))],
        "work_order.started": [("started", _when(work_order.started_at)), ("due", _when(work_order.due_date))],
        "work_order.overdue": [
            ("planned_start", _when(work_order.planned_start)),
            ("due", _when(work_order.due_date)),
        ],
        "work_order.updated": [("tasks", _progress(work_order, words)), ("status", _text(work_order.status))],
        "work_order.completed": [
            ("finished", _when(work_order.finished_at)),
            ("tasks", _progress(work_order, words)),
        ],
        "work_order.deleted": [("status", _text(work_order.status))],
        "work_order.assigned": [("due", _when(work_order.due_date))],
    }
    names = [_name(assignee) for assignee in work_order.assignees or ()]
    return _labelled(
        words,
        [
            *first.get(event.type, [("status", _text(work_order.status))]),
            ("assignees", ", ".join(name for name in names[:5] if name) or None),
            ("by", _actor(event)),
            ("site", _name(work_order.site)),
            ("element", _name(work_order.element)),
            ("code", _text(work_order.code)),
        ],
    )


def _labelled(words: Words, rows: Rows) -> Rows:
    seen = {label: value for label, value in reversed(rows) if value}
    order = dict.fromkeys(label for label, _ in rows if label in seen)
    return [(words.labels[label], seen[label]) for label in list(order)[:MAX_FACTS]]


def _message(event: Event, content: _Content, look: Look, description_length: int) -> Card:
    words = look.words
    heading = words.heading(event.type)
    body = [
        _header(event, heading, content, words),
        *_facts(content.rows),
        *_description(content.description, description_length),
        *_image(content.photo, f"{words.photo}: {content.title}"),
    ]
    actions = [{"type": "Action.OpenUrl", "title": content.button, "url": content.url}] if content.url else []
    return envelope(_card(words, f"{heading}: {content.title}", body, actions))


def _card(words: Words, summary: str, body: list[Card], actions: list[Card]) -> Card:
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


def _header(event: Event, heading: str, content: _Content, words: Words) -> Card:
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
            "text": _priority_words(content.priority, words),
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
    """Colour says what the words beside it say too: solved and completed are good news whatever the priority."""
    return _TONE_OF_TYPE.get(event.type) or _TONES.get(priority_name(priority or "") or "", "emphasis")


def _priority_words(priority: str, words: Words) -> str:
    name = priority_name(priority)
    return words.priority.format(words.priorities[name] if name else markdown(priority, 40))


def _facts(rows: Rows) -> Iterable[Card]:
    if rows:
        yield {"type": "FactSet", "facts": [{"title": label, "value": value} for label, value in rows]}


def _description(text: str, length: int) -> Iterable[Card]:
    if lines := paragraphs(text, length):
        yield {
            "type": "Container",
            **_direction(text),
            "items": [
                # A TextRun is the one place where Teams reads no Markdown.
                {"type": "RichTextBlock", "spacing": "Small", "inlines": [{"type": "TextRun", "text": line}]}
                for line in lines
            ],
        }


def _image(url: str | None, alternative: str) -> Iterable[Card]:
    if url:
        yield {"type": "Image", "url": url, "altText": plain(alternative, _TITLE), "size": "Large"}


def _direction(text: str) -> Card:
    return {"rtl": True} if right_to_left(text) else {}


def _photo(action: Action) -> str | None:
    images = (a.url for a in action.attachments or () if (a.content_type or "").startswith("image/"))
    return next(filter(None, map(_https, images)), None)


def _task_photo(work_order: WorkOrder) -> str | None:
    photos = (task.response.photo for task in work_order.tasks or () if task.response)
    return next(filter(None, map(_https, photos)), None)


def _https(url: str | None) -> str | None:
    if not url or len(url) > _URL or not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme == "https" and parts.hostname else None


def _link(template: str | None, subject_id: str | None) -> str | None:
    if not template or not subject_id:
        return None
    link = template.replace("{id}", quote(plain(subject_id, 300), safe=""))
    return link if len(link) <= _URL else None


def _when(time: datetime | None) -> str | None:
    """A time in the viewer's zone and format: Teams itself fills `{{DATE}}`, from strict RFC 3339 only."""
    if time is None or time.tzinfo is None:
        return None
    try:
        stamp = time.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
    except OverflowError:
        return None
    return f"{{{{DATE({stamp}, SHORT)}}}} {{{{TIME({stamp})}}}}"


def _text(value: object) -> str | None:
    return markdown(value, _VALUE) or None if isinstance(value, str) else None


def _name(ref: Any) -> str | None:
    return _text(ref.name or ref.title or ref.code or ref.id) if ref is not None else None


def _actor(event: Event) -> str | None:
    actor = event.payload.get("actor")
    return _text(actor.get("name") or actor.get("id")) if isinstance(actor, dict) else None


def _progress(work_order: WorkOrder, words: Words) -> str | None:
    tasks = work_order.tasks or ()
    done = sum((task.status or "").casefold() in {"done", "completed"} for task in tasks)
    return words.tasks_done.format(done=done, all=len(tasks)) if tasks else None
