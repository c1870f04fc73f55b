"""The request on the wire: look the record up, fetch CSRF token and ETag where the target wants them, send, judge."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2

from examples.handlers import retry_after
from examples.handlers.external_system.auth import Authorizer, TokenRefused
from examples.handlers.external_system.order import Uncertain
from examples.handlers.external_system.request import Prepared, at
from examples.handlers.external_system.target import Target
from worker import GiveUp, RetryLater

_TRANSIENT = {408, 425, 429}
_ANSWER = 300  # characters of the target's answer that go into a dead letter
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class TargetUnavailable(Exception):
    """The external system could not be reached or failed for now: the worker tries again with its own back-off."""


class Unanswered(TargetUnavailable, Uncertain):
    """The request went out and no answer came: the target may have applied it, or be about to."""


class Changed(Exception):
    """The record was changed since its ETag was read (412): read it again, and see again whether we are stale."""


@dataclass(frozen=True, slots=True)
class Sender:
    """One target, as one process talks to it."""

    url: str
    target: Target
    authorizer: Authorizer
    timeout: float

    async def send(self, prepared: Prepared, http: httpx2.AsyncClient) -> int:
        """Send the update, and return the status of its success.

        Raises `GiveUp` for what no retry mends, `RetryLater` when the target said when, `Changed` for 412,
        `Unanswered` and `TargetUnavailable` for the rest.
        """
        path = prepared.path
        if prepared.lookup_path is not None:
            path = path.replace("{lookup}", await self._look_up(prepared.lookup_path, http))
        headers = {**prepared.headers, **await self._conditions(path, http)}
        response = await self._call(http, prepared.method, path, headers, prepared.body)
        if _csrf_expired(response):
            headers |= await self._conditions(path, http)
            response = await self._call(http, prepared.method, path, headers, prepared.body)
        self._judge(response)
        return response.status_code

    async def _look_up(self, path: str, http: httpx2.AsyncClient) -> str:
        """The target's own id of the record."""
        response = await self._call(http, "GET", path, self.target.headers)
        self._judge(response)
        try:
            found = at(response.json(), self.target.lookup.take) if self.target.lookup else None
        except ValueError:
            found = None
        if not isinstance(found, str) or not found.isalnum():
            raise GiveUp("the external system has no record for this Work Order")
        return found

    async def _conditions(self, path: str, http: httpx2.AsyncClient) -> dict[str, str]:
        """What a GET of the record tells: a CSRF token (its cookie stays in the client), and the ETag to match."""
        if not (self.target.csrf or self.target.if_match):
            return {}
        fetch = {"x-csrf-token": "Fetch"} if self.target.csrf else {}
        response = await self._call(http, "GET", path, {**self.target.headers, **fetch})
        self._judge(response)
        headers = {}
        if self.target.csrf:
            headers["x-csrf-token"] = response.headers.get("x-csrf-token", "")
        if self.target.if_match:
            headers["if-match"] = response.headers.get("etag", "*")
        return headers

    async def _call(
        self, http: httpx2.AsyncClient, method: str, path: str, headers: Mapping[str, str], body: Any = None
    ) -> httpx2.Response:
        """One request; an OAuth2 token that the target takes no longer is renewed once."""
        who = await self._who(http)
        response = await self._request(http, method, path, {**headers, **who}, body)
        if response.status_code == httpx2.codes.UNAUTHORIZED and self.authorizer.renewable:
            response = await self._request(http, method, path, {**headers, **await self._who(http, who)}, body)
        return response

    async def _who(self, http: httpx2.AsyncClient, refused: Mapping[str, str] | None = None) -> dict[str, str]:
        try:
            return await self.authorizer.headers(http, refused)
        except httpx2.HTTPError as error:
            raise TargetUnavailable(f"the token endpoint could not be reached: {type(error).__name__}") from None
        except TokenRefused as error:
            if not error.answer.is_client_error or _transient(error.answer.status_code):
                raise _for_now(error.answer, str(error)) from None
            raise GiveUp(str(error)) from None

    async def _request(
        self, http: httpx2.AsyncClient, method: str, path: str, headers: Mapping[str, str], body: Any
    ) -> httpx2.Response:
        try:
            return await http.request(
                method,
                self.url + path,
                headers=headers,
                json=body,
                timeout=httpx2.Timeout(self.timeout, connect=min(5.0, self.timeout)),
                follow_redirects=False,
            )
        except httpx2.HTTPError as error:
            sent = method != "GET" and not isinstance(error, _NOT_SENT)
            reason = f"the external system {'did not answer' if sent else 'could not be reached'}"
            raise (Unanswered if sent else TargetUnavailable)(f"{reason}: {type(error).__name__}") from None

    def _judge(self, response: httpx2.Response) -> None:
        """Nothing for any 2xx; otherwise the exception that says what is to be done."""
        status = response.status_code
        if response.is_success:
            return
        if status == httpx2.codes.PRECONDITION_FAILED and self.target.if_match:
            raise Changed
        if _transient(status):
            raise _for_now(response, f"the external system answered {status}")
        answer = " ".join(self.authorizer.hidden(response.text)[: 4 * _ANSWER].split())[:_ANSWER]
        raise GiveUp(f"the external system refused the update with {status}: {answer}")


def _transient(status: int) -> bool:
    return status in _TRANSIENT or status >= httpx2.codes.INTERNAL_SERVER_ERROR


def _for_now(response: httpx2.Response, reason: str) -> Exception:
    """Again when the target says, and not at once even if it does; with back-off when it does not say."""
    wait = retry_after.seconds(response)
    if wait is None and response.status_code == httpx2.codes.TOO_MANY_REQUESTS:
        wait = _until_reset(response)
    return TargetUnavailable(reason) if wait is None else RetryLater(max(wait, 1.0), reason)


def _csrf_expired(response: httpx2.Response) -> bool:
    """SAP's way to say that the session, and the token with it, is over."""
    return (
        response.status_code == httpx2.codes.FORBIDDEN
        and response.headers.get("x-csrf-token", "").casefold() == "required"
    )


def _until_reset(response: httpx2.Response) -> float | None:
    """Seconds until `X-RateLimit-Reset`, in Unix time as ServiceNow sends it; None when it does not say."""
    reset = response.headers.get("x-ratelimit-reset", "")
    if not (reset.isascii() and reset.isdigit()):
        return None
    return min(max(float(reset) - datetime.now(UTC).timestamp(), 1.0), retry_after.LONGEST)
