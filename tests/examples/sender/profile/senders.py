"""Eight senders that behave differently: what each puts into a request, and what it does when that fails."""

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from examples.sender.http import wire
from examples.sender.http.reply import Reply
from receiver import events

EVENTS = 13  # one more than there are ways to answer
TYPES = tuple(events.BY_NAME)
Headers = Mapping[str, str]


def event(number: int, **more: Any) -> dict[str, Any]:
    """An event without any id of its own."""
    return {
        "type": TYPES[number % len(TYPES)],
        "occurred_at": f"2026-11-24T10:{number:02}:00+00:00",
        "work_order": {
            "id": f"wo_{number // 3}",
            "name": f"Inspection {number}",
            "status": "Pending",
            "site": "Lisbon",
        },
        **more,
    }


def label(_number: int, _attempt: int) -> Headers:
    return {"content-type": "application/json"}


@dataclass(frozen=True)
class Sender:
    """How it tells an event, and what it does with the answer."""

    body: Callable[[int, int], dict[str, Any]]
    headers: Callable[[int, int], Headers] = label
    waits: tuple[float, ...] = (0.03, 0.09)
    timeout: float = 0.25
    good: frozenset[int] = frozenset({200, 201})
    parallel: int = 1
    keeps_retry_after: bool = False
    address: Callable[[str], str] = field(default=str)

    async def send_all(self, url: str) -> None:
        """Every event to its end."""
        some = asyncio.Semaphore(self.parallel)

        async def send(number: int) -> None:
            async with some:
                await self.send(self.address(url), number)

        await asyncio.gather(*map(send, range(EVENTS)))

    async def send(self, url: str, number: int) -> None:
        """One event: tried, and tried again after each wait."""
        for attempt, wait in enumerate((*self.waits, None)):
            reply = await self.post(url, number, attempt)
            if reply.status in self.good or wait is None:
                return
            asked = float(reply.headers.get("retry-after", 0)) if self.keeps_retry_after else 0
            await asyncio.sleep(max(wait, asked))

    async def post(self, url: str, number: int, attempt: int) -> Reply:
        body = json.dumps(self.body(number, attempt)).encode()
        return await wire.post(url, body, self.headers(number, attempt), self.timeout)


class Follower(Sender):
    """Uses a client that follows redirects, on one connection."""

    async def send_all(self, url: str) -> None:
        async with httpx2.AsyncClient(follow_redirects=True, timeout=self.timeout, trust_env=False) as client:
            for number in range(EVENTS):
                for attempt, wait in enumerate((*self.waits, None)):
                    status = await self._post(client, url, number, attempt)
                    if status in self.good or wait is None:
                        break
                    await asyncio.sleep(wait)

    async def _post(self, client: httpx2.AsyncClient, url: str, number: int, attempt: int) -> int | None:
        try:
            headers = {**self.headers(number, attempt), "content-type": "application/json"}
            return (await client.post(url, content=json.dumps(self.body(number, attempt)), headers=headers)).status_code
        except httpx2.HTTPError:
            return None


def standard_webhooks(number: int, attempt: int) -> Headers:
    return {
        "content-type": "application/json",
        "webhook-id": f"msg_{number}",
        "webhook-timestamp": str(1_700_000_000 + 10 * number + attempt),
        "webhook-signature": f"v1,{number}{attempt}",
    }


def cloudevents(number: int, _attempt: int) -> Headers:
    return {"ce-id": f"{number:06}", "ce-source": "/glartek", "ce-specversion": "1.0"}


SENDERS: dict[str, Sender] = {
    "an id in the body, byte-identical": Sender(
        lambda number, _: event(number, id=f"evt_{number}", actor={"id": "u1"})
    ),
    "Standard Webhooks": Sender(
        lambda number, _: event(number), standard_webhooks, keeps_retry_after=True, waits=(0.02,)
    ),
    "CloudEvents, follows redirects": Follower(lambda number, _: event(number), cloudevents, waits=(0.02, 0.02)),
    "nothing but bytes": Sender(lambda number, _: event(number), good=frozenset({200, 201, 202, 204})),
    "tells each try anew": Sender(
        lambda number, attempt: event(
            number, meta={"eventUid": f"u-{number}", "sentAt": attempt, **({"attempt": attempt} if attempt else {})}
        )
    ),
    "its id is the Work Order's": Sender(
        lambda number, _: event(number, id=f"wo_{number // 3}"),
        lambda number, attempt: {"x-delivery": f"d{number}", "x-request-id": f"r{number}-{attempt}"},
    ),
    "a new id for each try": Sender(
        lambda number, _: event(number, id=str(uuid.uuid4()), event_key=f"k{number}"), parallel=1
    ),
    "never again, in a hurry": Sender(
        lambda number, _: event(EVENTS - number, eventId=number, type=events.CATALOG[number % 11].title.upper()),
        waits=(),
        timeout=0.1,
        parallel=4,
        address=lambda url: url.replace("%2F", "/"),
    ),
}
