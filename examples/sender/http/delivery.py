"""One POST as Glartek makes it: 10 s, only 200 or 201 is success, redirects are not followed.

Source: Glartek's webhook page. Glartek neither reads nor stores the answer's headers and body. Here the body is read,
up to a limit, so that the connection can be reused; its start is kept to show the reason of a failure.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import httpx2

from examples.sender import terminal
from examples.sender.http.message import Message
from examples.sender.http.wire import reason, trusted

STOPPED = "stopped before an answer came; the receiver may have taken it"
"""The error of a request that was open when the sender was stopped."""
TIMEOUT = 10.0
"""Seconds that Glartek waits for the whole answer."""
SUCCESS = frozenset({200, 201})
"""The only success: 202, 204 and redirects are failures."""
_DRAINED = 64 * 1024


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of one POST: a status or an error text, and the seconds it took."""

    status: int | None
    seconds: float
    error: str | None = None
    answer: str = ""
    """The start of the answer's body, if it was not a success."""

    @property
    def ok(self) -> bool:
        return self.status in SUCCESS and self.error is None

    @property
    def ambiguous(self) -> bool:
        """Whether the receiver may have taken the event: it was sent, but no answer came."""
        return self.status is None and self.error is not None and not self.error.startswith("cannot connect")

    @property
    def failure(self) -> str:
        """Why it failed, with the start of the answer; "" if it did not."""
        if self.ok:
            return ""
        said = f": {self.answer}" if self.answer else ""
        return self.error or f"{self.status} is not 200 or 201{said}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "status": self.status,
            "seconds": round(self.seconds, 4),
            "error": self.error,
            "ambiguous": self.ambiguous,
            "answer": self.answer,
        }


async def deliver(client: httpx2.AsyncClient, url: str, message: Message, timeout: float = TIMEOUT) -> Attempt:
    """POST a message and return the result; never raises because of the network or the receiver."""
    begun = time.perf_counter()
    status, error, body = None, None, b""
    try:
        async with asyncio.timeout(timeout):
            status, body = await _post(client, url, message)
    except TimeoutError:
        error = f"no answer within {timeout:g} s; the receiver may have taken it"
    except httpx2.ConnectError as failure:
        error = f"cannot connect: {reason(_root(failure))}"
    except httpx2.HTTPError as failure:
        error = f"{type(failure).__name__}: {failure}".rstrip(": ")
    except httpx2.InvalidURL as failure:
        error = f"cannot connect: {failure}"
    seconds = time.perf_counter() - begun
    if error is not None:
        return Attempt(None, seconds, error)
    said = "" if status in SUCCESS else terminal.answer(body, url, message.headers.items())
    return Attempt(status, seconds, answer=said)


def client() -> httpx2.AsyncClient:
    """A client that leaves time-outs to `deliver`, follows no redirect and ignores proxy variables."""
    return httpx2.AsyncClient(timeout=None, follow_redirects=False, trust_env=False, verify=trusted())


def _root(error: Exception) -> Exception:
    """The innermost error, from the operating system."""
    cause = error.exceptions[0] if isinstance(error, ExceptionGroup) else error.__cause__ or error.__context__
    return _root(cause) if isinstance(cause, Exception) else error


async def _post(client: httpx2.AsyncClient, url: str, message: Message) -> tuple[int, bytes]:
    """The status, and the start of the body."""
    async with client.stream("POST", url, content=message.body, headers=dict(message.headers)) as response:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > _DRAINED:
                break
        return response.status_code, bytes(body[:_DRAINED])
