"""Stand-ins that behave like SAP and ServiceNow where it hurts, and the handler configured for one of them."""

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.handlers import external_system

Configure = Callable[..., None]


@pytest.fixture
def configure(clean_environment: object, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Set EXTERNAL_… variables and read them, as the worker does at its start."""
    assert clean_environment

    def set_all(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"EXTERNAL_{name.upper()}", value)
        external_system.configure()

    return set_all


@dataclass
class Sap:
    """SAP's OData V2: basic authentication, CSRF token bound to a session cookie, ETag that a PATCH must match."""

    orders: dict[str, dict[str, Any]] = field(default_factory=lambda: {"4000123": {"MaintenanceOrderDesc": "old"}})
    versions: dict[str, int] = field(default_factory=lambda: {"4000123": 1})
    sessions: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, int]] = field(default_factory=list)
    after_read: list[Callable[[], None]] = field(default_factory=list)
    lost_answers: int = 0

    def app(self) -> Starlette:
        path = "/sap/opu/odata/sap/API_MAINTENANCEORDER/MaintenanceOrder('{order}')"
        return Starlette(routes=[Route(path, self.handle, methods=["GET", "PATCH"])])

    def change(self, order: str, **values: Any) -> None:
        """What a colleague in SAP does."""
        self.orders[order] |= values
        self.versions[order] += 1

    async def handle(self, request: Request) -> Response:
        answer = self._read(request) if request.method == "GET" else await self._patch(request)
        self.seen.append((request.method, answer.status_code))
        return answer

    def _read(self, request: Request) -> Response:
        order = request.path_params["order"]
        if not self._known(request):
            return Response(status_code=401)
        if order not in self.orders:
            return JSONResponse({"error": {"code": "NOT_FOUND", "message": {"value": "no such order"}}}, 404)
        answer = JSONResponse({"d": self.orders[order]}, headers={"etag": self._etag(order)})
        if request.headers.get("x-csrf-token", "").casefold() == "fetch":
            session = request.cookies.get("SAP_SESSIONID", "")
            if session not in self.sessions:
                session = f"s{len(self.sessions)}-{time.monotonic_ns()}"
                answer.set_cookie("SAP_SESSIONID", session, httponly=True)
            answer.headers["x-csrf-token"] = self.sessions.setdefault(session, f"token-of-{session}")
        if self.after_read:
            self.after_read.pop(0)()
        return answer

    async def _patch(self, request: Request) -> Response:
        order = request.path_params["order"]
        token = self.sessions.get(request.cookies.get("SAP_SESSIONID", ""))
        if token is None or request.headers.get("x-csrf-token") != token:
            return Response("CSRF token validation failed", 403, {"x-csrf-token": "Required"})
        if "if-match" not in request.headers:
            return Response(status_code=428)
        if request.headers["if-match"] != self._etag(order):
            return Response(status_code=412)
        self.change(order, **await request.json())
        if self.lost_answers:
            self.lost_answers -= 1
            return Response(status_code=502)
        return Response(status_code=204)

    def _etag(self, order: str) -> str:
        return f"W/\"'{self.versions[order]}'\""

    @staticmethod
    def _known(request: Request) -> bool:
        return request.headers.get("authorization") == "Basic " + base64.b64encode("glartek:pá$$".encode()).decode()


@dataclass
class ServiceNow:
    """ServiceNow's Table API: OAuth2 tokens that end, records by sys_id, so many requests an hour."""

    records: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"9d385017c611228701d22104cc95c371": {"number": "WO0012", "state": "3"}}
    )
    tokens: set[str] = field(default_factory=set)
    issued: int = 0
    left: int = 1000
    says_retry_after: bool = True
    lost_answers: int = 0
    seen: list[tuple[str, int]] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/oauth_token.do", self.token, methods=["POST"]),
                Route("/api/now/table/wm_order", self.find),
                Route("/api/now/table/wm_order/{sys_id}", self.patch, methods=["PATCH"]),
            ]
        )

    async def token(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        expected = {"grant_type": "client_credentials", "client_id": "client", "client_secret": "client-secret"}
        if form != {name: [value] for name, value in expected.items()}:
            return JSONResponse({"error": "access_denied"}, 401)
        self.issued += 1
        self.tokens.add(f"token-{self.issued}")
        return JSONResponse({"access_token": f"token-{self.issued}", "token_type": "Bearer", "expires_in": 1799})

    async def find(self, request: Request) -> Response:
        number = request.query_params.get("number")
        found = [{"sys_id": sys_id} for sys_id, record in self.records.items() if record["number"] == number]
        return self._refused(request) or self._answer(request, JSONResponse({"result": found}))

    async def patch(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        record = self.records.get(request.path_params["sys_id"])
        if record is None:
            return self._answer(request, JSONResponse({"error": {"message": "No Record found"}}, 404))
        update = await request.json()
        journal = {name: record.get(name, "") + value for name, value in update.items() if name == "work_notes"}
        record |= update | journal
        if self.lost_answers:
            self.lost_answers -= 1
            return self._answer(request, Response(status_code=502))
        return self._answer(request, JSONResponse({"result": record}))

    def _refused(self, request: Request) -> Response | None:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return self._answer(request, JSONResponse({"error": {"message": "User Not Authenticated"}}, 401))
        self.left -= 1
        if self.left < 0:
            headers = {"x-ratelimit-limit": "1000", "x-ratelimit-reset": str(int(time.time()) + 1200)}
            if self.says_retry_after:
                headers["retry-after"] = "1200"
            return self._answer(request, JSONResponse({"error": {"message": "Rate limit exceeded"}}, 429, headers))
        return None

    def _answer(self, request: Request, answer: Response) -> Response:
        self.seen.append((request.method, answer.status_code))
        return answer


@pytest.fixture
def sap(serve: Callable[[Starlette], str], configure: Configure) -> Sap:
    """An SAP system, and the handler configured for it."""
    sap = Sap()
    configure(url=serve(sap.app()), target="sap_maintenance_order", username="glartek", password="pá$$")
    return sap


@pytest.fixture
def servicenow(serve: Callable[[Starlette], str], configure: Configure) -> ServiceNow:
    """A ServiceNow instance, and the handler configured for it."""
    servicenow = ServiceNow()
    configure(url=serve(servicenow.app()), target="servicenow", client_id="client", client_secret="client-secret")
    return servicenow
