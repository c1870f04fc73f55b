"""listen: a receiver that shows, records and forwards what arrives."""

import asyncio
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from examples.sender import terminal
from examples.sender.commands import options
from examples.sender.commands.live import Live
from examples.sender.commands.options import Certificate, Headers, Host, Json, Key, Map, Port, Redact, Save, TimeOut
from examples.sender.http import delivery
from examples.sender.http.arrivals import Answer, Arrival
from examples.sender.http.recording import RecordingReceiver
from examples.sender.http.recordings import recorded
from examples.sender.http.reply import Reply
from examples.sender.play.replay import Again, ok
from examples.sender.terminal import Refusal

_BAD_GATEWAY = 502


def listen(
    *,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    path: Annotated[str, typer.Option(help="Path of the printed URL; any path is accepted.")] = "/webhooks",
    tls_cert: Certificate = None,
    tls_key: Key = None,
    forward_to: Annotated[
        str | None, typer.Option(help="Forward each request to this URL, and answer as it does.")
    ] = None,
    answer: Annotated[int, typer.Option(min=200, max=599, help="Status to answer with, unless forwarded.")] = 200,
    save: Save = None,
    redact: Redact = False,
    payload_map: Map = None,
    header: Headers = None,
    timeout: TimeOut = delivery.TIMEOUT,
    seconds: Annotated[float, typer.Option(min=0.1, help="End after so many seconds.")] = 86400.0,
    json: Json = False,
) -> int:
    """Show what arrives, as a live list on a terminal; record it with --save, forward it with --forward-to."""
    where = options.where(payload_map)
    again = Again(options.endpoint(forward_to), options.headers(header), None, timeout, where) if forward_to else None
    listening = Listening(again, answer)
    keep = options.saving(save, where, redact=redact)

    def ended(arrival: Arrival) -> None:
        keep(arrival)
        listening.ended(arrival)

    receiver = RecordingReceiver(
        listening.answer, host=host, port=port, path=path, tls=options.tls(tls_cert, tls_key), where=where, on_end=ended
    )
    is_live = not json and sys.stdin.isatty() and sys.stdout.isatty()
    show = Live(listening) if is_live else Lines(listening, json=json)
    asyncio.run(_watch(receiver, listening, show, seconds))
    kept = f", kept in {save}" if save else ""
    terminal.complain(f"{len(listening.seen)} requests{kept}")
    return 0


@dataclass(slots=True)
class Seen:
    """One request, and the answer to it."""

    arrival: Arrival
    reply: Reply | None = None
    """The answer of the URL that it was forwarded to."""
    is_again: bool = False
    """Whether the user sent it again."""

    @property
    def status(self) -> str:
        """The answer in a few words."""
        if self.reply:
            return self.reply.error or str(self.reply.status)
        if self.arrival.abandoned:
            return "gave up"
        return str(self.arrival.answer.status) if self.arrival.answer else "…"

    @property
    def seconds(self) -> float:
        return self.reply.seconds if self.reply else (self.arrival.ended or self.arrival.began) - self.arrival.began

    def as_dict(self) -> dict[str, Any]:
        """The request as JSON, with the body as text."""
        arrival, told = self.arrival, self.arrival.message
        answered = arrival.answer.status if arrival.answer and not arrival.abandoned else None
        reply = self.reply
        forwarded = reply and {
            "ok": ok(reply), "status": reply.status, "error": reply.error, "seconds": round(reply.seconds, 4),
            "body": reply.body.decode("utf-8", "replace"),
        }  # fmt: skip
        return {
            "number": arrival.number, "at": arrival.at.isoformat(), "method": arrival.method, "target": arrival.target,
            "type": told.type, "id": told.id, "headers": list(map(list, arrival.sent_headers)),
            "body": arrival.content.decode("utf-8", "replace"), "bytes": len(arrival.body), "answered": answered,
            "seconds": round(self.seconds, 4), "forwarded": forwarded, "sent_again": self.is_again,
        }  # fmt: skip


@dataclass
class Listening:
    """All requests, answered with `status`, or with the answer of the URL that they are forwarded to."""

    again: Again | None
    status: int
    seen: list[Seen] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: set[asyncio.Task[None]] = field(default_factory=set)

    async def answer(self, arrival: Arrival) -> Answer:
        """The answer to one request."""
        seen = Seen(arrival)
        self.seen.append(seen)
        self.changed.set()
        if not self.again:
            return Answer(self.status)
        # shielded, to show the receiver's answer even if the sender gives up
        reply = await asyncio.shield(asyncio.ensure_future(self._sent_on(seen, self.again)))
        kept = {
            name: value for name, value in reply.headers.items() if name in {"content-type", "retry-after", "location"}
        }
        return Answer(reply.status or _BAD_GATEWAY, kept, reply.body)

    def ended(self, _: Arrival) -> None:
        self.changed.set()

    def send_again(self, seen: Seen) -> str:
        """Forward a request again; returns a line that says so, or why not."""
        if not self.again:
            return "nothing to send it to: --forward-to URL is missing"
        once_more = Seen(seen.arrival, is_again=True)
        self.seen.append(once_more)
        task = asyncio.get_running_loop().create_task(self._shown(once_more, self.again))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return f"sent {seen.arrival.number} again"

    async def _shown(self, seen: Seen, again: Again) -> None:
        await self._sent_on(seen, again)

    async def _sent_on(self, seen: Seen, again: Again) -> Reply:
        seen.reply = await again.send(recorded(seen.arrival))
        self.changed.set()
        return seen.reply


class Lines:
    """Prints a line, or a JSON object, for each request after its answer."""

    def __init__(self, listening: Listening, *, json: bool) -> None:
        self.listening = listening
        self.json = json
        self._told = 0

    def show(self) -> None:
        """Print finished requests that were not printed yet, in order."""
        for seen in self.listening.seen[self._told :]:
            if seen.arrival.ended is None:
                return
            self._told += 1
            if self.json:
                terminal.json_line(seen.as_dict())
            else:
                arrival = seen.arrival
                parts = (
                    f"{arrival.at:%H:%M:%S}",
                    arrival.type,
                    arrival.id or "-",
                    seen.status,
                    f"{seen.seconds * 1000:.0f} ms",
                )
                terminal.say("  ".join(parts))
                sys.stdout.flush()


async def _watch(receiver: RecordingReceiver, listening: Listening, show: Live | Lines, seconds: float) -> None:
    """Serve and show until stopped, or for so many seconds. Raises `Refusal` if the port is taken."""
    stop = asyncio.Event()
    try:
        async with receiver:
            on = f", sent on to {terminal.without_secrets(listening.again.url)}" if listening.again else ""
            terminal.complain(f"listening at {receiver.url}{on}; stop with Ctrl-C")
            async with options.stopping(stop):
                if isinstance(show, Live):
                    await asyncio.wait_for(show.run(receiver.url, stop), seconds)
                    return
                ending = asyncio.get_running_loop().time() + seconds
                while not stop.is_set() and (left := ending - asyncio.get_running_loop().time()) > 0:
                    await _either(listening.changed, stop, left)
                    listening.changed.clear()
                    show.show()
    except TimeoutError:
        return
    except OSError as error:
        raise Refusal(f"cannot listen: {error.strerror}; choose another --host or --port") from None


async def _either(one: asyncio.Event, other: asyncio.Event, seconds: float) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in (one, other)]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
