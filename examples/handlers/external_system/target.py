"""What the module of a target has: a `TARGET`, made of two functions and of what is special about the system.

`targets/` has three to copy. What all targets need alike is around them: sessions, time-outs, retries, the circuit
breaker, and that no update goes backwards.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import httpx2

from examples.handlers.external_system.auth import MakeAuth, Secrets, api_key, basic, bearer, oauth2
from examples.handlers.external_system.session import Answer, Session, UrlPath, at
from worker import Event, GiveUp, WorkOrder

__all__ = [
    "Answer",
    "Json",
    "Session",
    "Target",
    "Unmappable",
    "api_key",
    "at",
    "basic",
    "bearer",
    "cut",
    "no_auth",
    "oauth2",
    "url",
]
_LONGEST_ID = 500  # characters
_NEVER = re.compile("[/\\\\\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd\uffff]")

Json = Mapping[str, Any]
"""A JSON object to be sent: what is None is left out, a datetime is written as ISO 8601."""


class Unmappable(GiveUp):
    """The event lacks what the target requires or has what it cannot take; names the field and never its value."""


def no_auth(_: Secrets) -> httpx2.Auth:
    return httpx2.Auth()


def json_or_nothing(answer: Answer) -> bool:
    """A 2xx with JSON or without a body: an HTML page with 200 is a proxy's or a login's, and no success."""
    return answer.response.is_success and (not answer.response.content or answer.json is not None)


@dataclass(frozen=True, kw_only=True)
class Target:
    """One external system.

    `name` begins its keys in Redis. `body` makes the update of an event, without asking anybody; it is checked before
    anything is sent: `required` fields, and the most UTF-16 units of a text in `longest` (`results.task` is a nested
    one). `update` makes the requests. `success` says which answers are a success, `anew` after which of the others all
    requests are made again in a new session, `busy` which statuses pass and say nothing of the system as a whole.
    """

    name: str
    body: Callable[[Event, WorkOrder], Json]
    update: Callable[[WorkOrder, Json, Session], Awaitable[None]]
    auth: MakeAuth = no_auth
    success: Callable[[Answer], bool] = json_or_nothing
    anew: Callable[[Answer], bool] = lambda _: False
    busy: Collection[int] = ()
    required: Collection[str] = ()
    longest: Mapping[str, int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=lambda: {"accept": "application/json"})

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9-]+", self.name):
            raise ValueError(f"expected a name such as acme-erp, got {self.name!r}")
        for name, value in self.headers.items():
            if not (name + value).isascii() or not (name + value).isprintable():
                raise ValueError(f"expected headers of printable ASCII, got {name!r}")


def url(template: str, **ids: str | None) -> UrlPath:
    """A path such as `/orders/{id}`, every id percent-encoded.

    Raises `Unmappable` for an id that is missing or that a server on the way could take for more than one segment:
    proxies decode a path, some more than once, and resolve `..` in what they find.
    """
    return UrlPath(template.format_map({name: quote(_segment(name, value), safe="") for name, value in ids.items()}))


def _segment(name: str, value: str | None) -> str:
    decoded = text = value or ""
    while (once_more := unquote(decoded)) != decoded:
        decoded = once_more
    is_dots = not decoded.partition(";")[0].strip(" .")  # Tomcat drops what follows the semicolon
    if is_dots or len(text) > _LONGEST_ID or _NEVER.search(decoded):
        raise Unmappable(
            f"the event's {name} is no id that the target's URL can take: expected 1 to {_LONGEST_ID} characters, "
            "no slash, no control, not only dots"
        )
    return text


def cut(text: str | None, most: int) -> str | None:
    """The text's beginning, of `most` UTF-16 units, as ABAP and Java count them; no character is halved."""
    return text and text.encode("utf-16-le", "surrogatepass")[: 2 * most].decode("utf-16-le", "ignore")
