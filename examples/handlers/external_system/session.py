"""The requests of one update, and what their answers mean."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NewType

import httpx2

from worker import GiveUp, RetryLater, retry_after

if TYPE_CHECKING:
    from examples.handlers.external_system.settings import ExternalSettings
    from examples.handlers.external_system.target import Target

_TRANSIENT = {408, 425, 429}
_SHOWN = 300  # characters of the target's answer that go into a dead letter
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)

UrlPath = NewType("UrlPath", str)
"""A path that `url` made, so that mypy finds an id that was put into one unchecked."""


class TargetUnavailable(Exception):
    """The target could not be reached or failed for now: the worker tries again with its own back-off."""


class Busy(TargetUnavailable):
    """The target works, but this record is not available at the moment."""


class Anew(Exception):
    """The record or the session changed meanwhile: make all requests again, in a new session."""


def at(document: Any, path: str) -> Any:
    """The value at a dotted path in JSON, numbers being places in a list; None when there is none."""
    for step in path.split("."):
        if isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        elif isinstance(document, dict):
            document = document.get(step)
        else:
            return None
    return document


@dataclass(frozen=True)
class Answer:
    """What the target answered to one request."""

    response: httpx2.Response

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def content_type(self) -> str:
        return self.response.headers.get("content-type", "").partition(";")[0].strip().lower()

    @cached_property
    def json(self) -> Any:
        """The body's JSON; None when it is something else, such as a login page."""
        try:
            return self.response.json() if self.content_type.endswith("json") else None
        except (ValueError, RecursionError):
            return None

    def at(self, path: str) -> Any:
        """The value at a dotted path in the JSON, such as `result.0.id`; None when there is none."""
        return at(self.json, path)

    def header(self, name: str) -> str:
        """A header that the target always sends. Raises `TargetUnavailable` when it is missing or empty."""
        if not (value := self.response.headers.get(name, "").strip()):
            raise TargetUnavailable(f"the external system's answer has no {name}")
        return value


@dataclass(frozen=True)
class Link:
    """The target as this process talks to it; `idle` are the cookies of sessions that no update uses just now."""

    target: "Target"
    settings: "ExternalSettings"
    auth: httpx2.Auth
    secrets: Collection[str]
    idle: list[httpx2.Cookies] = field(default_factory=list)


@dataclass
class Session:
    """One update's requests. `idempotency_key` is the same on every try.

    The cookies are its own: a CSRF token is good with the cookie that came with it and with no other, so that updates
    side by side must not share cookies as they share the client.
    """

    link: Link
    http: httpx2.AsyncClient
    idempotency_key: str
    cookies: httpx2.Cookies = field(default_factory=httpx2.Cookies)

    async def call(
        self,
        method: str,
        path: UrlPath,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and return its answer, if the target's `success` says that it is one.

        Raises what ends this try otherwise; a target's module need not catch it.
        """
        longest = self.link.settings.external_timeout
        request = self.http.build_request(
            method,
            self.link.settings.external_url + path,
            headers={**self.link.target.headers, **(headers or {})},
            json=body,
            timeout=httpx2.Timeout(longest, connect=min(5.0, longest)),
        )
        request.headers.pop("cookie", None)  # the client's
        self.cookies.set_cookie_header(request)
        return await self._answer(request)

    async def _answer(self, request: httpx2.Request) -> Answer:
        try:
            response = await self.http.send(request, auth=self.link.auth, follow_redirects=False)
        except httpx2.HTTPError as error:
            raise _unreached(error, request) from None
        self.cookies.extract_cookies(response)
        answer = Answer(response)
        if response.request is not request:
            raise self._failure(answer, f"the token endpoint answered {answer.status} and no token")
        if not self.link.target.success(answer):
            raise self._failure(answer, f"the external system answered {answer.status}")
        return answer

    def _failure(self, answer: Answer, said: str) -> Exception:
        """What follows from an answer that is no success."""
        status, target = answer.status, self.link.target
        if target.anew(answer):
            return Anew()
        if status in target.busy:
            return Busy(said)
        if status in _TRANSIENT or answer.response.is_server_error:
            wait = retry_after.seconds(answer.response)
            return TargetUnavailable(said) if wait is None else RetryLater(max(wait, 1.0), said)  # never at once
        if not answer.response.is_client_error:
            return TargetUnavailable(f"{said} with {answer.content_type or 'nothing'}, which is none of its answers")
        return GiveUp(f"{said}: {self._shown(answer.response)}")

    def _shown(self, response: httpx2.Response) -> str:
        """The beginning of an answer, without any of our secrets, should the target have repeated one."""
        text = response.text
        credentials = response.request.headers.get("authorization", "").partition(" ")[2]
        for secret in filter(None, (credentials, *self.link.secrets)):
            text = text.replace(secret, "***")
        return " ".join(text[: 4 * _SHOWN].split())[:_SHOWN]


def _unreached(error: httpx2.HTTPError, request: httpx2.Request) -> TargetUnavailable:
    if error.request is not request:
        return TargetUnavailable(f"the token endpoint could not be reached: {type(error).__name__}")
    if request.method == "GET" or isinstance(error, _NOT_SENT):
        return TargetUnavailable(f"the external system could not be reached: {type(error).__name__}")
    return TargetUnavailable(f"the external system did not answer: {type(error).__name__}")
