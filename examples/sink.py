"""Stand-ins for Teams and external systems on loopback, with the real protocols; they record what arrives.

`python -m examples.sink --port 9000`, then TEAMS_WEBHOOK_URL=http://127.0.0.1:9000/workflows/demo/triggers/manual/\
paths/invoke?sig=demo and EXTERNAL_URL=http://127.0.0.1:9000. SAP takes EXTERNAL_USERNAME=glartek and
EXTERNAL_PASSWORD=demo and has order 4000123; ServiceNow takes EXTERNAL_CLIENT_ID=client and EXTERNAL_CLIENT_SECRET=demo
and has record WO0012. See what arrived with GET /recorded/teams, /recorded/external, /recorded/sap or
/recorded/servicenow. Order failures with POST /control/teams (or another) and {"answers": [503, 429], "retry_after": 2,
"delay": 1}; `examples.stand_ins.orders.Orders` has others, such as a login page or a lost answer.
"""

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

from examples.stand_ins.erp import Erp
from examples.stand_ins.orders import WANTED, Orders
from examples.stand_ins.sap import Sap
from examples.stand_ins.servicenow import ServiceNow

__all__ = ["Orders", "Teams", "create_app"]

MAX_TEAMS_BYTES = 28 * 1024  # Teams' limit, markup included, as measured by `_size`
_CARD = "application/vnd.microsoft.card.adaptive"


@dataclass
class Teams:
    """A channel's workflow: a signed URL, the message envelope, 28 KB, a rate limit, and 202 for accepted messages."""

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
        if _size(json.loads(body)) > MAX_TEAMS_BYTES:
            return _error(413, "RequestEntityTooLarge", f"the message is over {MAX_TEAMS_BYTES} bytes")
        return Response(status_code=202)

    def _over_rate(self, recent: deque[float]) -> float:
        """Seconds until this workflow accepts another card; 0 counts this one as accepted."""
        now = time.monotonic()
        while recent and recent[0] <= now - self.per_seconds:
            recent.popleft()
        if len(recent) >= self.rate:
            return recent[0] + self.per_seconds - now
        recent.append(now)
        return 0.0


def create_app(
    teams: Teams | None = None,
    external: Erp | None = None,
    sap: Sap | None = None,
    servicenow: ServiceNow | None = None,
) -> Starlette:
    """The application with all stand-ins, their recordings and their controls."""
    teams = teams or Teams()
    systems: dict[str, Erp | Sap | ServiceNow] = {
        "external": external or Erp(),
        "sap": sap or Sap(),
        "servicenow": servicenow or ServiceNow(),
    }

    async def recorded(request: Request) -> Response:
        name = request.path_params["system"]
        if name not in systems:
            return _error(404, "NotFound", f"expected teams, {', '.join(systems)}")
        return JSONResponse(systems[name].recorded())

    async def recorded_teams(_: Request) -> Response:
        return JSONResponse({"accepted": teams.accepted, "refused": teams.refused})

    async def forget(_: Request) -> Response:
        teams.accepted.clear()
        teams.refused.clear()
        for system in systems.values():
            system.forget()
        return Response(status_code=204)

    async def control(request: Request) -> Response:
        name = request.path_params["system"]
        try:
            orders = Orders.parse(await request.json())
            (teams if name == "teams" else systems[name]).orders = orders
        except (ValueError, TypeError, AttributeError, KeyError):
            return _error(400, "BadRequest", WANTED)
        return Response(status_code=204)

    return Starlette(
        routes=[
            Route("/workflows/{id}/triggers/manual/paths/invoke", teams.invoke, methods=["POST"]),
            Route(
                "/powerautomate/automations/direct/workflows/{id}/triggers/manual/paths/invoke",
                teams.invoke,
                methods=["POST"],
            ),
            *(route for system in systems.values() for route in system.routes),
            Route("/recorded/teams", recorded_teams),
            Route("/recorded/{system}", recorded),
            Route("/recorded", forget, methods=["DELETE"]),
            Route("/control/{system}", control, methods=["POST"]),
        ]
    )


def _wrong_message(request: Request, body: bytes) -> str | None:
    """What the workflow's trigger schema and its "post card" step would reject in a message; None if nothing."""
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


def _size(message: dict[str, Any]) -> int:
    """The size of a message as Teams stores it, with each card as JSON text: the larger of UTF-8 and UTF-16."""
    cards = [{**attachment, "content": _text(attachment["content"])} for attachment in message["attachments"]]
    text = _text({**message, "attachments": cards})
    return max(len(text.encode("utf-8", "surrogatepass")), len(text.encode("utf-16-le", "surrogatepass")))


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


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
    """Run stand-ins for Teams and external systems until Ctrl-C."""
    with _listening(port) as listener:
        typer.echo(f"sink on http://127.0.0.1:{listener.getsockname()[1]}")
        sys.stdout.flush()
        config = uvicorn.Config(create_app(Teams(rate=teams_rate)), log_level="warning", server_header=False)
        # uvicorn stops at these signals, then raises them again: ignore the second time
        for end in (signal.SIGINT, signal.SIGTERM):
            signal.signal(end, lambda *_: None)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    typer.run(main)
