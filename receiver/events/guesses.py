"""Which of the kit's fields a sender's field may be, told by its name and its value: for `explain` and `learn`."""

import difflib
import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any, NamedTuple

from receiver.events import normalised, times
from receiver.events.payload_file import ours

CALLED, OFTEN, ALIKE = 0.95, 0.8, 0.5
"""How sure a guess is: by the kit's own name, by one that is often used for it, by one that looks like it."""
_ALIKE_FROM = 0.8  # of difflib's ratio
_TIMES = frozenset(
    {"planned_start", "due_date", "created_at", "started_at", "finished_at", "finish_date", "last_update"}
)
_LISTS = frozenset({"assignees", "labels", "tasks", "attachments"})
_THINGS = frozenset({"site", "element", "created_by", "assigned_to", "work_order", "task"})
_PREFIXES = {"work_order": ("workorder", "order", "wo"), "action": ("action", "issue")}
_ACTORS = frozenset({"actor", "user", "triggeredby", "performedby", "initiator", "by"})
_ID = re.compile(r"(^|[._-])id$|[a-z]I[dD]$|uid$|uuid|guid|key$|ulid$", re.IGNORECASE)
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
"""Tells an id in whatever language its field is named."""
_TIME = re.compile(r"time|date|stamp|_at$|[a-z]At$|when|^at$|_on$|[a-z]On$", re.IGNORECASE)
_HAPPENED = re.compile("trigger|occur|happen|event|fired|created")
_OFTEN: Mapping[str, Mapping[str, str]] = {
    "work_order": {
        "id": "uuid guid",
        "code": "number no reference ref externalid",
        "name": "title subject summary",
        "template": "templatename form procedure",
        "folder": "foldername category",
        "status": "state statusname",
        "site": "sitename location plant facility",
        "element": "elementname asset assetname equipment machine",
        "assignees": "assignee assigned assignedto assignedusers users teams technicians responsible",
        "labels": "tags",
        "planned_start": "plannedstartdate startdate scheduledstart scheduledfor plannedat",
        "due_date": "due dueat dueon deadline",
        "created_by": "openedby reportedby raisedby requestedby author creator",
        "created_at": "createdon creationdate datecreated openedat",
        "started_at": "startedon actualstart startat begunat",
        "finished_at": "doneat completedat closedat endedat finishedon completedon completiondate finishdate",
        "tasks": "steps checklist items questions",
    },
    "action": {
        "id": "uuid guid",
        "code": "number no reference ref externalid",
        "title": "name subject summary",
        "description": "details text notes",
        "status": "state statusname",
        "priority": "prio severity urgency",
        "site": "sitename location plant facility",
        "element": "elementname asset assetname equipment machine",
        "assigned_to": "assignee assigned assignees assignedusers assignedtouser responsible owner",
        "created_by": "openedby reportedby raisedby requestedby author creator",
        "created_at": "createdon creationdate datecreated openedat",
        "due_date": "due dueat dueon deadline",
        "finish_date": "finishedat solvedat resolvedat closedat completedat doneat",
        "last_update": "updatedat updatedon modifiedat lastmodified",
        "labels": "tags",
        "attachments": "files photos images",
        "work_order": "workorderid parentworkorder workorderref",
        "task": "taskid",
    },
}


class Guess(NamedTuple):
    """A field, how sure it is (0 to 1), and why."""

    field: str
    confidence: float
    reason: str


def guess(kind: str, name: str, value: Any) -> Guess | None:
    """The likeliest field of a Work Order or Action for a sender's field of this name and value."""
    bare, fields = _bare(kind, name), ours().subjects[kind].fields
    if not bare:
        return None
    names = {normalised(field): field for field in fields}
    often = {word: field for field, words in _OFTEN[kind].items() for word in words.split()}
    found = None
    for word in dict.fromkeys((normalised(name), bare)):
        if field := names.get(word):
            found = Guess(field, CALLED, f"{name!r} is the name of {field}")
        elif field := often.get(word):
            found = Guess(field, OFTEN, f"{name!r} is often the name of {field}")
        if found and fits(found.field, value):
            return found
    near = difflib.get_close_matches(bare, [*names, *often], n=1, cutoff=_ALIKE_FROM)
    field = names.get(near[0]) or often.get(near[0]) if near else None
    return Guess(field, ALIKE, f"{name!r} looks like {near[0]!r}") if field and fits(field, value) else None


def event_guess(name: str, value: Any) -> Guess | None:
    """The likeliest entry of [event] for a field beside the subject: `id`, `time` or `actor`."""
    word = normalised(name)
    if word in _ACTORS and isinstance(value, dict | str):
        return Guess("actor", OFTEN, f"{name!r} is often who did it")
    if _ID.search(name) and isinstance(value, str | int) and not isinstance(value, bool) and times.read(value) is None:
        sure = any(part in word for part in ("event", "delivery", "message", "notification", "webhook")) or word == "id"
        return Guess("id", OFTEN if sure else ALIKE, f"{name!r} is named like an id")
    if isinstance(value, str) and UUID.fullmatch(value):
        return Guess("id", ALIKE, f"{name!r} holds a UUID")
    if _TIME.search(name) and times.read(value, UTC) is not None:
        return Guess("time", OFTEN if _HAPPENED.search(word) else ALIKE, f"{name!r} holds a time")
    return None


def path_for(field: str, path: str, value: Any) -> str:
    """The path to write for a field: a list of things is made of one thing or a list of lists, too."""
    return f"[{path}]" if field in _LISTS and not isinstance(value, list) else path


def fits(field: str, value: Any) -> bool:
    """Whether a value can be one of this field."""
    if value is None:
        return True
    if field in _TIMES:
        return times.read(value, UTC) is not None
    if field in _LISTS:
        return isinstance(value, list | str | dict)
    if field in _THINGS:
        return isinstance(value, dict | str)
    if field == "allow_submission_after_due_date":
        return isinstance(value, bool)
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _bare(kind: str, name: str) -> str:
    """The name without that of its subject: `workOrderName` is `name`."""
    word = normalised(name)
    for prefix in _PREFIXES[kind]:
        if word.startswith(prefix) and len(word) > len(prefix):
            return word.removeprefix(prefix)
    return word
