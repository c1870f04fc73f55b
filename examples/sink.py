"""Stand-ins for Teams and an external system, on loopback: they speak the real protocols and record what arrives.

`python -m examples.sink --port 9000`, then TEAMS_WEBHOOK_URL=http://127.0.0.1:9000/workflows/demo/triggers/manual/\
paths/invoke?sig=demo and EXTERNAL_URL=http://127.0.0.1:9000. What arrived: GET /recorded/teams, GET /recorded/external.
Failures to order: POST /control/teams or /control/external with {"answers": [503, 429], "retry_after": 2, "delay": 1},
with "applied": true if the external system is to apply an update and then fail.
"""

import asyncio
import json
import math
import os
import signal
import socket
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

MAX_TEAMS_BYTES = 28 * 1024  # what Teams takes, with markup
_CARD = "application/vnd.microsoft.card.adaptive"


@dataclass
class Orders:
    """Failures that someone ordered: the next answers' statuses, what they say of `Retry-After`, and a delay.

    With `applied` the external system does what it is asked before it fails: an answer that got lost.
    """

    answers: deque[int] = field(default_factory=deque)
    retry_after: str | None = None
    delay: float = 0.0
    applied: bool = False

    async def next_failure(self) -> Response | None:
        if self.delay:
            await asyncio.sleep(self.delay)
        if not self.answers:
            return None
        headers = {"retry-after": self.retry_after} if self.retry_after is not None else None
        return JSONResponse({"error": "as ordered"}, self.answers.popleft(), headers)


@dataclass
class Teams:
    """A channel's workflow: signed URL, message envelope, 28 KB, so many requests a second, 202 for what it queued."""

    rate: int = 4
    per_seconds: float = 1.0
    accepted: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    orders: Orders = field(default_factory=Orders)
    _recent: defaultdict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))

    async def invoke(self, request: Request) -> Response:
        body = await request.body()
        answer = await self.orders.next_failure() or self._judge(request, body)
        if answer.status_code == 202:  # noqa: PLR2004
            self.accepted.append({"at": time.time(), "bytes": len(body), "message": json.loads(body)})
        else:
            self.refused.append({"at": time.time(), "bytes": len(body), "status": answer.status_code})
        return answer

    def _judge(self, request: Request, body: bytes) -> Response:
        if not request.query_params.get("sig"):
            return _error(401, "DirectApiAuthorizationRequired", "the request must be signed")
        if (wait := self._over_rate(self._recent[request.path_params["id"]])) > 0:
            return _error(429, "TooManyRequests", "rate limit is exceeded", {"retry-after": str(math.ceil(wait))})
        if len(body) > MAX_TEAMS_BYTES:
            return _error(413, "RequestEntityTooLarge", f"the message is over {MAX_TEAMS_BYTES} bytes")
        if (wrong := _wrong_message(request, body)) is not None:
            return _error(400, "InvalidRequestContent", wrong)
        return Response(status_code=202)

    def _over_rate(self, recent: deque[float]) -> float:
        """Seconds until this workflow takes another card; it counts the ones that it took."""
        now = time.monotonic()
        while recent and recent[0] <= now - self.per_seconds:
            recent.popleft()
        if len(recent) >= self.rate:
            return recent[0] + self.per_seconds - now
        recent.append(now)
        return 0.0


@dataclass
class External:
    """A system with Work Orders: an update is applied once per idempotency key, whatever is repeated."""

    work_orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    orders: Orders = field(default_factory=Orders)
    answers: dict[str, int] = field(default_factory=dict)

    async def handle(self, request: Request) -> Response:
        work_order, body = request.path_params["work_order"], await request.body()
        if request.method == "GET":
            found = self.work_orders.get(work_order)
            return JSONResponse(found) if found else _error(404, "NotFound", "no such Work Order")
        key = request.headers.get("idempotency-key")
        failure = await self.orders.next_failure()
        answer, applied = failure or Response(), False
        if failure is None or self.orders.applied:
            answer, applied = self._apply(request.method, work_order, key, body)
        answer = failure or answer
        self.requests.append(
            {
                "at": time.time(),
                "method": request.method,
                "work_order": work_order,
                "idempotency_key": key,
                "status": answer.status_code,
                "applied": applied,
            }
        )
        return answer

    def _apply(self, method: str, work_order: str, key: str | None, body: bytes) -> tuple[Response, bool]:
        if key is not None and key in self.answers:
            return Response(status_code=self.answers[key]), False
        try:
            update = json.loads(body)
        except ValueError:
            return _error(400, "BadRequest", "the body is not JSON"), False
        if not isinstance(update, dict):
            return _error(422, "Unprocessable", "expected an object"), False
        kept = {} if method == "PUT" else self.work_orders.get(work_order, {})
        self.work_orders[work_order] = {**kept, **update}
        if key is not None:
            self.answers[key] = 200
        return Response(status_code=200), True


def create_app(teams: Teams | None = None, external: External | None = None) -> Starlette:
    """Both stand-ins, what they recorded, and their controls."""
    teams, external = teams or Teams(), external or External()

    async def recorded_teams(_: Request) -> Response:
        return JSONResponse({"accepted": teams.accepted, "refused": teams.refused})

    async def recorded_external(_: Request) -> Response:
        return JSONResponse({"work_orders": external.work_orders, "requests": external.requests})

    async def forget(_: Request) -> Response:
        for recorded in (teams.accepted, teams.refused, external.work_orders, external.requests, external.answers):
            recorded.clear()
        return Response(status_code=204)

    async def control(request: Request) -> Response:
        target: Teams | External = teams if request.url.path.endswith("/teams") else external
        try:
            target.orders = _orders(await request.json())
        except (ValueError, TypeError, AttributeError):
            wanted = 'expected {"answers": [503, …], "retry_after": 2, "delay": 0.5, "applied": false}, all optional'
            return _error(400, "BadRequest", wanted)
        return Response(status_code=204)

    return Starlette(
        routes=[
            Route("/workflows/{id}/triggers/manual/paths/invoke", teams.invoke, methods=["POST"]),
            Route(
                "/powerautomate/automations/direct/workflows/{id}/triggers/manual/paths/invoke",
                teams.invoke,
                methods=["POST"],
            ),
            Route("/api/work-orders/{work_order}", external.handle, methods=["GET", "PATCH", "PUT", "POST"]),
            Route("/recorded/teams", recorded_teams),
            Route("/recorded/external", recorded_external),
            Route("/recorded", forget, methods=["DELETE"]),
            Route("/control/teams", control, methods=["POST"]),
            Route("/control/external", control, methods=["POST"]),
        ]
    )


def _orders(wanted: Any) -> Orders:
    after = wanted.get("retry_after")
    return Orders(
        answers=deque(int(status) for status in wanted.get("answers", ())),
        retry_after=str(after) if after is not None else None,
        delay=float(wanted.get("delay", 0.0)),
        applied=bool(wanted.get("applied", False)),
    )


def _wrong_message(request: Request, body: bytes) -> str | None:
    """What is wrong with a message, as the workflow's trigger schema and its "post card" step would find it."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        return "expected Content-Type: application/json"
    try:
        message = json.loads(body)
        attachments = message["attachments"]
        cards = [attachment["content"] for attachment in attachments if attachment["contentType"] == _CARD]
        if message["type"] != "message" or len(cards) != len(attachments) or not cards:
            return "expected a message with Adaptive Cards attached"
        if any(card["type"] != "AdaptiveCard" or float(card["version"]) > 1.5 for card in cards):  # noqa: PLR2004
            return "expected an AdaptiveCard of version 1.5 at most"
    except (ValueError, TypeError, KeyError):
        return "expected a message with Adaptive Cards attached"
    return None


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "expected a port from 0 to 65535"
        typer.echo(f"cannot listen on 127.0.0.1:{port}: {reason}; choose another with --port", err=True)
        raise typer.Exit(2) from None
    with listener:
        yield listener


def main(
    port: Annotated[int, typer.Option(help="Where to listen; 0 takes a free port.")] = 9000,
    teams_rate: Annotated[int, typer.Option(min=1, help="Cards a second that the Teams stand-in takes.")] = 4,
) -> None:
    """Stand-ins for Teams and the external system, until Ctrl-C."""
    with _listening(port) as listener:
        typer.echo(f"sink on http://127.0.0.1:{listener.getsockname()[1]}")
        sys.stdout.flush()
        config = uvicorn.Config(create_app(Teams(rate=teams_rate)), log_level="warning", server_header=False)
        for end in (
            signal.SIGINT,
            signal.SIGTERM,
        ):  # uvicorn stops at either and then raises it again: stopped is enough
            signal.signal(end, lambda *_: None)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    typer.run(main)
