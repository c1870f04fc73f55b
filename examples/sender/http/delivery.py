"""One POST as Glartek makes it: 10 s, only 200 or 201 is success, redirects are not followed.

Source: Glartek's webhook page. It neither reads nor stores the answer's headers or body, so neither does this; the
body is only drained, up to a bound, so that the connection can serve again.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import httpx2

from examples.sender.http.message import Message
from examples.sender.http.wire import reason, trusted

STOPPED = "stopped before an answer came; the receiver may have taken it"
"""What came of a request that was open when the sender was told to stop."""
TIMEOUT = 10.0
"""Seconds that Glartek waits for the whole answer."""
SUCCESS = frozenset({200, 201})
"""The only success: 202, 204 and redirects are failures."""
_DRAINED = 64 * 1024


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one POST: a status or an error in words, and the seconds it took."""

    status: int | None
    seconds: float
    error: str | None = None

    @property
    def ok(self) -> bool:
        return self.status in SUCCESS and self.error is None

    @property
    def ambiguous(self) -> bool:
        """Whether the receiver may have taken the event all the same: it was sent and no answer came."""
        return self.status is None and self.error is not None and not self.error.startswith("cannot connect")

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "status": self.status,
            "seconds": round(self.seconds, 4),
            "error": self.error,
            "ambiguous": self.ambiguous,
        }


async def deliver(client: httpx2.AsyncClient, url: str, message: Message, timeout: float = TIMEOUT) -> Attempt:
    """POST a message and say what came of it; never raises for anything that the network or the receiver does."""
    begun = time.perf_counter()
    status, error = None, None
    try:
        async with asyncio.timeout(timeout):
            status = await _post(client, url, message)
    except TimeoutError:
        error = f"no answer within {timeout:g} s; the receiver may have taken it"
    except httpx2.ConnectError as failure:
        error = f"cannot connect: {reason(_root(failure))}"
    except httpx2.HTTPError as failure:
        error = f"{type(failure).__name__}: {failure}".rstrip(": ")
    except httpx2.InvalidURL as failure:
        error = f"cannot connect: {failure}"
    return Attempt(status if error is None else None, time.perf_counter() - begun, error)


def client() -> httpx2.AsyncClient:
    """A client that leaves time-outs to `deliver`, follows no redirect and ignores proxy variables."""
    return httpx2.AsyncClient(timeout=None, follow_redirects=False, trust_env=False, verify=trusted())


def _root(error: Exception) -> Exception:
    """What the operating system said, under the layers that passed it on."""
    cause = error.exceptions[0] if isinstance(error, ExceptionGroup) else error.__cause__ or error.__context__
    return _root(cause) if isinstance(cause, Exception) else error


async def _post(client: httpx2.AsyncClient, url: str, message: Message) -> int:
    async with client.stream("POST", url, content=message.body, headers=dict(message.headers)) as response:
        drained = 0
        async for chunk in response.aiter_raw():
            drained += len(chunk)
            if drained > _DRAINED:
                break
        return response.status_code
