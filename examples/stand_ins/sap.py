"""SAP S/4HANA's maintenance orders over OData V2, for the target `sap_maintenance_order`."""

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from examples.stand_ins.orders import Orders

MAX_DESCRIPTION = 40  # UTF-16 units
_PATH = "/sap/opu/odata/sap/API_MAINTENANCEORDER/MaintenanceOrder('{order}')"


@dataclass
class Sap:
    """Basic authentication, a CSRF token for each session, and an ETag that a PATCH must match.

    A session is a cookie; a token of another or an ended session is refused. An order in `locked` is open on a user's
    screen. With `gives_tokens` off, answers lack the token, as behind a proxy that drops the header. No answer to a
    read ends before `bodies_wait_for` reads have begun.
    """

    username: str = "glartek"
    password: str = "demo"  # noqa: S105 - a stand-in's
    orders_kept: dict[str, dict[str, Any]] = field(default_factory=lambda: {"4000123": {"MaintenanceOrderDesc": "old"}})
    versions: dict[str, int] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)
    gives_tokens: bool = True
    reads: int = 0
    bodies_wait_for: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    orders: Orders = field(default_factory=Orders)
    after_read: list[Callable[[], None]] = field(default_factory=list)

    @property
    def routes(self) -> list[Route]:
        return [Route(_PATH, self.handle, methods=["GET", "PATCH"])]

    @property
    def seen(self) -> list[tuple[str, int]]:
        """Method and status of every request."""
        return [(request["method"], request["status"]) for request in self.requests]

    def recorded(self) -> dict[str, Any]:
        return {"orders": self.orders_kept, "requests": self.requests}

    def forget(self) -> None:
        self.requests.clear()

    def change(self, order: str, **values: Any) -> None:
        """Change an order as another SAP user would."""
        self.orders_kept[order] |= values
        self.versions[order] = self.versions.get(order, 1) + 1

    async def handle(self, request: Request) -> Response:
        answer = await self.orders.answer(request, self._read if request.method == "GET" else self._patch)
        self.requests.append(
            {"method": request.method, "order": request.path_params["order"], "status": answer.status_code}
        )
        return answer

    async def _read(self, request: Request) -> Response:
        order = request.path_params["order"]
        if not self._knows(request):
            return HTMLResponse("<title>Logon failed</title>", 401)
        if order not in self.orders_kept:
            return _error(404, "NOT_FOUND", "no such order")
        headers = {"etag": self._etag(order)}
        answer = StreamingResponse(self._body(order), headers=headers, media_type="application/json")
        if request.headers.get("x-csrf-token", "").casefold() == "fetch":
            answer.headers["x-csrf-token"] = self._token(request, answer)
        if self.after_read:
            self.after_read.pop(0)()
        return answer

    async def _body(self, order: str) -> AsyncIterator[bytes]:
        """Send the body in two parts, so that answers can overlap."""
        self.reads += 1
        yield b'{"d": '
        while self.reads < self.bodies_wait_for:  # noqa: ASYNC110 - a test sets it from another thread
            await asyncio.sleep(0.005)
        yield json.dumps(self.orders_kept[order]).encode() + b"}"

    def _token(self, request: Request, answer: Response) -> str:
        if not self.gives_tokens:
            return ""
        session = request.cookies.get("SAP_SESSIONID", "")
        if session not in self.sessions:
            session = secrets.token_hex(8)
            answer.set_cookie("SAP_SESSIONID", session, httponly=True)
        return self.sessions.setdefault(session, secrets.token_urlsafe(12))

    async def _patch(self, request: Request) -> Response:
        order, update = request.path_params["order"], await request.json()
        token = self.sessions.get(request.cookies.get("SAP_SESSIONID", ""))
        if token is None or request.headers.get("x-csrf-token") != token:
            return Response("CSRF token validation failed", 403, {"x-csrf-token": "Required"}, "text/plain")
        if "if-match" not in request.headers:
            return _error(428, "PRECONDITION_REQUIRED", "the request needs If-Match")
        if request.headers["if-match"] not in {"*", self._etag(order)}:
            return _error(412, "PRECONDITION_FAILED", "the order was changed")
        if order in self.locked:
            return _error(423, "LOCKED", f"order {order} is locked by user MMUSTER")
        if len(update.get("MaintenanceOrderDesc", "").encode("utf-16-le")) > 2 * MAX_DESCRIPTION:
            return _error(400, "TOO_LONG", f"MaintenanceOrderDesc is longer than {MAX_DESCRIPTION}")
        self.change(order, **update)
        return Response(status_code=204)

    def _etag(self, order: str) -> str:
        return f"W/\"'{self.versions.get(order, 1)}'\""

    def _knows(self, request: Request) -> bool:
        expected = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return request.headers.get("authorization") == f"Basic {expected}"


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": {"lang": "en", "value": message}}}, status)
