"""pytest fixtures for both sides: `pytest_plugins = ["examples.sender.fixtures"]` in a conftest.py.

`recording_receiver` is a receiver for the sender under test; `glartek` sends like Glartek. Tests that use them are
coroutines run by AnyIO's plugin, which comes with Starlette: mark them with `pytest.mark.anyio`.
"""

from collections.abc import AsyncIterator, Mapping
from random import Random
from typing import Any

import httpx2
import pytest

from examples.sender.http import delivery
from examples.sender.http.delivery import Attempt
from examples.sender.http.message import Message
from examples.sender.http.recording import RecordingReceiver
from examples.sender.http.signing import Signer
from examples.sender.play import edits
from examples.sender.play.payloads import Story, randomness


class Glartek:
    """Sends events as Glartek would: all about one Work Order and one Action, each with its own id."""

    def __init__(self, client: httpx2.AsyncClient, timeout: float = delivery.TIMEOUT) -> None:
        self.client = client
        self.timeout = timeout
        self.story = Story(Random())
        self.sent: list[Message] = []

    async def send(
        self, url: str, event_type: str, changes: Mapping[str, Any] | None = None, secret: str | None = None
    ) -> Attempt:
        """Send an event of a type, with `changes` (by dotted path) to its sample; signed if a secret is given."""
        payload = self.story.event(event_type, randomness(None)[1])
        for path, value in (changes or {}).items():
            edits.put(payload, path, value)
        message = Message.of(payload, self.story.samples.where)
        return await self._deliver(url, Signer(secret).signed(message) if secret else message)

    async def send_again(self, url: str) -> Attempt:
        """Send the last event again, byte-identical, as Glartek may do."""
        return await self._deliver(url, self.sent[-1])

    async def _deliver(self, url: str, message: Message) -> Attempt:
        self.sent.append(message)
        return await delivery.deliver(self.client, url, message, self.timeout)


@pytest.fixture
async def recording_receiver() -> AsyncIterator[RecordingReceiver]:
    """A receiver on a free local port; answers 200 and keeps what arrives."""
    async with RecordingReceiver() as receiver:
        yield receiver


@pytest.fixture
async def glartek() -> AsyncIterator[Glartek]:
    """A sender like Glartek, for one test."""
    async with delivery.client() as client:
        yield Glartek(client)
