"""Sends recorded requests again: byte for byte, with their order, pauses and duplicates."""

import asyncio
import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from examples.sender.http import wire
from examples.sender.http.delivery import SUCCESS, TIMEOUT
from examples.sender.http.forwarding import sent_on
from examples.sender.http.message import Message
from examples.sender.http.recordings import Recorded
from examples.sender.http.reply import Reply
from examples.sender.http.signing import Signer
from examples.sender.payload_map import OURS, PayloadMap
from examples.sender.play.edits import Edits
from examples.sender.terminal import Refusal


@dataclass(frozen=True, slots=True)
class Again:
    """The target of recorded requests, and the changes that the user asked for."""

    url: str
    extra: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Headers that replace those of the same name."""
    signer: Signer | None = None
    """Makes a new signature; a recorded one is sent unchanged, and may be too old for the receiver."""
    timeout: float = TIMEOUT
    where: PayloadMap = OURS

    async def send(self, request: Recorded) -> Reply:
        """Send a request; never raises because of the receiver."""
        return await wire.post(self.url, request.body, self.headers(request), self.timeout, method=request.method)

    def headers(self, request: Recorded) -> list[tuple[str, str]]:
        """The headers to send, without those of the connection."""
        signature = self.signer.headers(Message.raw(request.body, self.where)) if self.signer else {}
        return sent_on(request.headers, {**signature, **self.extra})


def ok(reply: Reply) -> bool:
    return reply.error is None and reply.status in SUCCESS


async def replay(
    requests: Sequence[Recorded], again: Again, speed: float, tell: Callable[[Recorded, Reply], None]
) -> None:
    """Send all requests at `speed` times the recorded pace, whatever the answers; 0: one after another, no pauses.

    `tell` is called with each answer.
    """

    async def send(request: Recorded) -> None:
        tell(request, await again.send(request))

    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for request in requests:
            if not speed:
                await send(request)
                continue
            due = (request.at - requests[0].at).total_seconds() / speed
            await asyncio.sleep(max(due - (time.monotonic() - begun), 0.0))
            group.create_task(send(request))


def edited(
    requests: Sequence[Recorded], changes: Sequence[str] | None, removals: Sequence[str] | None
) -> list[Recorded]:
    """The requests with `--set` and `--remove` applied; without these, unchanged byte for byte.

    Raises `Refusal` if a body cannot be changed.
    """
    if not changes and not removals:
        return list(requests)
    payloads = [_payload(request) for request in requests]
    edits = Edits(changes, removals, payloads)
    for payload in payloads:
        edits.apply(payload)
    bodies = [Message.of(payload).body for payload in payloads]
    return [dataclasses.replace(request, body=body) for request, body in zip(requests, bodies, strict=True)]


def _payload(request: Recorded) -> dict[str, Any]:
    try:
        payload = json.loads(request.body)
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        raise Refusal(f"{request.name}: --set and --remove need a JSON object, and this body is none")
    return payload
