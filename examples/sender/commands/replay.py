"""replay DIR: sends recorded requests again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from examples.sender import terminal
from examples.sender.commands import options
from examples.sender.commands.options import STOPPED, Curl, Headers, Json, Map, Remove, Secret, Set, TimeOut, To
from examples.sender.http import curl as curl_line
from examples.sender.http import delivery, recordings
from examples.sender.http.message import Message
from examples.sender.http.recordings import Recorded
from examples.sender.http.reply import Reply
from examples.sender.play.replay import Again, edited, ok
from examples.sender.play.replay import replay as sent_again

Answers = Sequence[tuple[Recorded, Reply]]


def replay(
    *,
    recording: Annotated[Path, typer.Argument(metavar="DIR", help="What `listen --save` wrote, or one file of it.")],
    to: To = None,
    speed: Annotated[float, typer.Option(min=0, help="Times the recorded speed; 0 for no pauses.")] = 1.0,
    changes: Set = None,
    remove: Remove = None,
    payload_map: Map = None,
    header: Headers = None,
    secret: Secret = None,
    timeout: TimeOut = delivery.TIMEOUT,
    curl: Curl = False,
    json: Json = False,
) -> int:
    """Send recorded requests again, byte for byte, with their order, pauses and duplicates."""
    where = options.where(payload_map)
    again = Again(options.endpoint(to), options.headers(header), options.signer(secret), timeout, where)
    requests = edited(recordings.read(recording), changes, remove)
    if curl:
        for request in requests:
            message = Message(request.name, request.body, None, dict(again.headers(request)))
            terminal.say(curl_line.line(again.url, message))
        return 0
    answers: list[tuple[Recorded, Reply]] = []
    stopped = options.until_stopped(_watched(requests, again, speed, answers))
    _report(again, answers, len(requests), {"speed": speed, "timeout": timeout}, json=json)
    return STOPPED if stopped else int(not all(ok(reply) for _, reply in answers))


async def _watched(
    requests: Sequence[Recorded], again: Again, speed: float, answers: list[tuple[Recorded, Reply]]
) -> None:
    with terminal.progress() as bar:
        task = bar.add_task("sending again", total=len(requests))

        def tell(request: Recorded, reply: Reply) -> None:
            answers.append((request, reply))
            bar.advance(task)

        await sent_again(requests, again, speed, tell)


def _report(again: Again, answers: Answers, planned: int, used: dict[str, Any], *, json: bool) -> None:
    shown = [(request, Message.raw(request.body, again.where), reply) for request, reply in answers]
    to = terminal.without_secrets(again.url)
    if json:
        rows = [
            {
                "name": request.name, "type": message.type, "id": message.id, "ok": ok(reply), "status": reply.status,
                "seconds": round(reply.seconds, 4), "error": reply.error, "answer": _said(reply, request, again),
            }
            for request, message, reply in shown
        ]  # fmt: skip
        told = {"to": to, "settings": used, "not_sent": planned - len(rows)}
        terminal.as_json(told | {"deliveries": rows})
        return
    rows_shown = [
        (
            request.name,
            message.type,
            message.id or "",
            f"{reply.seconds * 1000:.0f} ms",
            _result(reply, _said(reply, request, again)),
        )
        for request, message, reply in shown
    ]
    terminal.table(("RECORDED", "EVENT", "ID", "TIME", "RESULT"), rows_shown)
    good = sum(ok(reply) for _, reply in answers)
    unsent = f", {planned - len(answers)} not sent" if len(answers) < planned else ""
    terminal.say(f"{good} delivered, {len(answers) - good} failed{unsent}, to {to}")
    terminal.settings(used)


def _result(reply: Reply, said: str) -> str:
    if ok(reply):
        return f"delivered: {reply.status}"
    return f"failed: {reply.error or f'{reply.status} is not 200 or 201'}" + (f": {said}" if said else "")


def _said(reply: Reply, request: Recorded, again: Again) -> str:
    """The start of the answer, if it was not a success."""
    return "" if ok(reply) else terminal.answer(reply.body, again.url, again.headers(request))
