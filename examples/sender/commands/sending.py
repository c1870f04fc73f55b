"""Sends a list of messages one after another, and reports on each."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from examples.sender import terminal
from examples.sender.commands import options
from examples.sender.commands.options import STOPPED
from examples.sender.http import curl, delivery
from examples.sender.http.delivery import Attempt
from examples.sender.http.message import Message
from examples.sender.http.signing import Signer


@dataclass(frozen=True, slots=True)
class Sending:
    """Where to send, how often, and how to report."""

    url: str
    duplicates: int
    timeout: float
    signer: Signer | None
    json: bool
    curl: bool
    note: str
    """The origin of the payloads, for the report."""

    @property
    def _settings(self) -> dict[str, Any]:
        return {"timeout": self.timeout, "duplicates": self.duplicates, "signed": "yes" if self.signer else "no"}

    def run(self, messages: Sequence[Message]) -> int:
        """Send all messages in order and print the report; returns exit code 1 if a delivery failed."""
        planned = [message for message in messages for _ in range(1 + self.duplicates)]
        if self.curl:
            for message in planned:
                terminal.say(curl.line(self.url, self._signed(message)))
            return 0
        attempts: list[Attempt] = []
        stopped = options.until_stopped(self._deliver(planned, attempts))
        if self.json:
            terminal.as_json(self._report(planned, attempts))
        else:
            self._print(planned, attempts)
        return STOPPED if stopped else int(not all(attempt.ok for attempt in attempts))

    def _signed(self, message: Message) -> Message:
        return self.signer.signed(message) if self.signer else message

    async def _deliver(self, messages: Sequence[Message], attempts: list[Attempt]) -> None:
        with terminal.progress() as bar:
            task = bar.add_task("sending", total=len(messages))
            async with delivery.client() as client:
                for message in messages:
                    begun = time.perf_counter()
                    try:
                        attempts.append(await delivery.deliver(client, self.url, self._signed(message), self.timeout))
                    except asyncio.CancelledError:
                        attempts.append(Attempt(None, time.perf_counter() - begun, delivery.STOPPED))
                        raise
                    bar.advance(task)

    def _print(self, messages: Sequence[Message], attempts: Sequence[Attempt]) -> None:
        rows = [row(message, attempt) for message, attempt in zip(messages, attempts, strict=False)]
        failed = sum(not attempt.ok for attempt in attempts)
        unsent = f", {len(messages) - len(attempts)} not sent" if len(attempts) < len(messages) else ""
        terminal.table(("EVENT", "ID", "ANSWER", "TIME", "RESULT"), rows)
        to = terminal.without_secrets(self.url)
        terminal.say(f"{len(attempts) - failed} delivered, {failed} failed{unsent}, to {to}")
        terminal.settings(self._settings)

    def _report(self, messages: Sequence[Message], attempts: Sequence[Attempt]) -> dict[str, Any]:
        pairs = zip(messages, attempts, strict=False)  # fewer attempts if the run was stopped
        rows = [{"type": message.type, "id": message.id, **attempt.as_dict()} for message, attempt in pairs]
        return {
            "to": terminal.without_secrets(self.url),
            "note": self.note,
            "settings": self._settings,
            "not_sent": len(messages) - len(rows),
            "deliveries": rows,
        }


def row(message: Message, attempt: Attempt) -> tuple[str, ...]:
    """A delivery as a row of a table, with the start of the answer after a failure."""
    answer = str(attempt.status or "none")
    return message.type, message.id or "", answer, f"{attempt.seconds * 1000:.0f} ms", result(attempt)


def result(attempt: Attempt) -> str:
    """The result as text."""
    return "delivered" if attempt.ok else f"failed: {attempt.failure}"
