"""Sends an event to every webhook with its type, with retries on a schedule, and reports by endpoint.

Glartek sends one request to each configured endpoint and may repeat it after a failure. It documents neither the
schedule nor whether the bytes are equal, so both are settings. Its statements on disabling a failing endpoint are
contradictory, so that is an option, off by default.
"""

import asyncio
import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from examples.sender.http import delivery
from examples.sender.http.delivery import Attempt
from examples.sender.http.message import Message
from examples.sender.http.signing import Signer
from examples.sender.play.webhooks import Webhook
from examples.sender.terminal import without_secrets


@dataclass(frozen=True, slots=True)
class Policy:
    """What Glartek does not document."""

    retries: tuple[float, ...] = (1.0, 5.0, 30.0)
    """Seconds before the second try, the third, …; empty for no retries."""
    byte_identical: bool = True
    """Whether a retry has the same bytes; otherwise its body has an `attempt` number."""
    disable_after: int = 0
    """Consecutive failed deliveries that disable an endpoint; 0 for never."""
    timeout: float = delivery.TIMEOUT
    at_once: int = 50
    """Requests to one endpoint at the same time."""


@dataclass(slots=True)
class Report:
    """What happened at one endpoint."""

    url: str
    delivered: int = 0
    failed: int = 0
    skipped: int = 0
    """Events that were not sent because the endpoint was disabled."""
    requests: int = 0
    ambiguous: int = 0
    """Requests without an answer in time: the receiver may have taken the event."""
    answers: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    disabled: bool = False
    last_failure: str = ""
    in_a_row: int = 0

    def as_dict(self) -> dict[str, Any]:
        told = dataclasses.asdict(self) | {"url": without_secrets(self.url), "slowest": round(self.slowest, 4)}
        told.pop("in_a_row")
        return told | {"answers": dict(self.answers)}


class Endpoint:
    """One webhook, and the report on its deliveries."""

    def __init__(self, webhook: Webhook, policy: Policy, signer: Signer | None = None) -> None:
        self.webhook = webhook
        self.policy = policy
        self.signer = signer
        self.report = Report(webhook.url)
        self._slots = asyncio.Semaphore(policy.at_once)

    async def deliver(self, client: httpx2.AsyncClient, message: Message) -> None:
        """Try until it succeeds or the schedule ends."""
        report = self.report
        for number, wait in enumerate((*self.policy.retries, None)):
            if report.disabled:
                report.skipped += 1
                return
            attempt = await self._try(client, message, number)
            if attempt.ok:
                report.delivered += 1
                report.in_a_row = 0
                return
            report.last_failure = attempt.failure
            if wait is not None:
                await asyncio.sleep(wait)
        report.failed += 1
        report.in_a_row += 1
        report.disabled = 0 < self.policy.disable_after <= report.in_a_row

    async def _try(self, client: httpx2.AsyncClient, message: Message, number: int) -> Attempt:
        told = message if self.policy.byte_identical or not number else _retold(message, number)
        async with self._slots:
            signed = self.signer.signed(told) if self.signer else told
            self.report.requests += 1
            try:
                attempt = await delivery.deliver(client, self.webhook.url, signed, self.policy.timeout)
            except asyncio.CancelledError:
                self.report.ambiguous += 1
                self.report.answers[delivery.STOPPED] += 1
                raise
        self.report.ambiguous += attempt.ambiguous
        self.report.answers[str(attempt.status) if attempt.error is None else attempt.error] += 1
        self.report.slowest = max(self.report.slowest, attempt.seconds)
        return attempt


def endpoints(webhooks: Sequence[Webhook], policy: Policy, signer: Signer | None = None) -> list[Endpoint]:
    return [Endpoint(webhook, policy, signer) for webhook in webhooks]


def _retold(message: Message, number: int) -> Message:
    payload = {**json.loads(message.body), "attempt": number + 1}
    return dataclasses.replace(message, body=Message.of(payload).body)  # type and id stay the same
