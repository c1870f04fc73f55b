"""What a card says about an event: title, rows that matter for its type, description, photo, link. Pure.

Texts in `rows` are ready for Teams' Markdown, everything else is as it came and is made safe where it is placed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from mimetypes import guess_type
from urllib.parse import quote, urlsplit

from examples.handlers.teams.languages import Language
from examples.handlers.teams.untrusted import markdown, plain
from worker import Action, Attachment, Event, Ref, WorkOrder

MAX_FACTS = 6
_VALUE, _URL = 160, 1000  # characters
_ASSIGNEES = 5  # shown

Rows = list[tuple[str, str | None]]


@dataclass(frozen=True, slots=True)
class Look:
    """What the customer chose: language, where buttons lead (URL templates with `{id}`), and photos or none."""

    words: Language
    action_url: str | None = None
    work_order_url: str | None = None
    photos: bool = True


@dataclass(frozen=True, slots=True)
class Content:
    title: str
    priority: str | None
    rows: Rows
    description: str
    photo: str | None
    url: str | None
    button: str


def of_event(event: Event, look: Look) -> Content:
    if (action := event.action) is not None:
        return Content(
            title=action.title or action.code or action.id or look.words.heading(event.type),
            priority=action.priority,
            rows=_action_rows(event, action, look.words),
            description=action.description or "",
            photo=_photo(action) if look.photos else None,
            url=_link(look.action_url, action.id),
            button=look.words.open_action,
        )
    work_order = event.work_order or WorkOrder()
    return Content(
        title=work_order.name or work_order.code or work_order.id or look.words.heading(event.type),
        priority=None,
        rows=_work_order_rows(event, work_order, look.words),
        description="",
        photo=_task_photo(work_order) if look.photos else None,
        url=_link(look.work_order_url, work_order.id),
        button=look.words.open_work_order,
    )


def _action_rows(event: Event, action: Action, words: Language) -> Rows:
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
            ("created_by", _name(action.created_by) if event.type == "action.created" else None),
            ("by", None if event.type == "action.created" and action.created_by else _name(event.actor)),
            ("site", _name(action.site)),
            ("element", _name(action.element)),
            ("work_order", _name(action.work_order)),
            ("assigned_to", _name(action.assigned_to)),
        ],
    )


def _work_order_rows(event: Event, work_order: WorkOrder, words: Language) -> Rows:
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
    names = [plain(_called(assignee) or "", _VALUE) for assignee in (work_order.assignees or ())[:_ASSIGNEES]]
    return _labelled(
        words,
        [
            *first.get(event.type, [("status", _text(work_order.status))]),
            ("assignees", _text(", ".join(filter(None, names)))),
            ("by", _name(event.actor)),
            ("site", _name(work_order.site)),
            ("element", _name(work_order.element)),
            ("code", _text(work_order.code)),
        ],
    )


def _labelled(words: Language, rows: Rows) -> Rows:
    seen = {label: value for label, value in reversed(rows) if value}
    order = dict.fromkeys(label for label, _ in rows if label in seen)
    return [(words.labels[label], seen[label]) for label in list(order)[:MAX_FACTS]]


def _photo(action: Action) -> str | None:
    urls = ((_https(attachment.url), attachment) for attachment in action.attachments or ())
    return next((url for url, attachment in urls if url and _is_image(attachment)), None)


def _is_image(attachment: Attachment) -> bool:
    """What it says it is; where it says nothing, what it is called."""
    name = attachment.name or (attachment.url or "").partition("?")[0].rpartition("/")[2]
    kind = attachment.content_type or guess_type(name[-_URL:])[0] or ""
    return kind.startswith("image/")


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
    if time is None:
        return None
    stamp = time.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
    return f"{{{{DATE({stamp}, SHORT)}}}} {{{{TIME({stamp})}}}}"


def _text(value: object) -> str | None:
    return markdown(value, _VALUE) or None if isinstance(value, str) else None


def _name(ref: Ref | None) -> str | None:
    return _text(_called(ref)) if ref is not None else None


def _called(ref: Ref) -> str | None:
    return ref.name or ref.title or ref.code or ref.id


def _progress(work_order: WorkOrder, words: Language) -> str | None:
    tasks = work_order.tasks or ()
    done = sum((task.status or "").casefold() in {"done", "completed"} for task in tasks)
    return words.tasks_done.format(done=done, all=len(tasks)) if tasks else None
