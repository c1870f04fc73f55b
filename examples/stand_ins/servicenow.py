"""ServiceNow's Table API, for the target `servicenow`."""

import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.stand_ins.orders import Orders


@dataclass
class ServiceNow:
    """OAuth2 tokens that expire, records by sys_id, and a limit on requests per hour.

    `orders` apply to the Table API, where a hibernating instance answers with HTML pages. `expires_in` is the value in
    the token endpoint's answer; None for a token without expiry.
    """

    client_id: str = "client"
    client_secret: str = "demo"  # noqa: S105 - a stand-in's
    records: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"9d385017c611228701d22104cc95c371": {"number": "WO0012", "state": "3"}}
    )
    expires_in: int | None = 1799
    tokens: set[str] = field(default_factory=set)
    issued: int = 0
    left: int = 1000
    says_retry_after: bool = True
    requests: list[dict[str, Any]] = field(default_factory=list)
    orders: Orders = field(default_factory=Orders)

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/oauth_token.do", self.token, methods=["POST"]),
            Route("/api/now/table/wm_order", self.table),
            Route("/api/now/table/wm_order/{sys_id}", self.table, methods=["PATCH"]),
        ]

    @property
    def seen(self) -> list[tuple[str, int]]:
        """Method and status of every request to the Table API."""
        return [(request["method"], request["status"]) for request in self.requests]

    def recorded(self) -> dict[str, Any]:
        return {"records": self.records, "requests": self.requests}

    def forget(self) -> None:
        self.requests.clear()

    async def token(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        expected = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
        }
        if form != {name: [value] for name, value in expected.items()}:
            return JSONResponse({"error": "access_denied"}, 401)
        self.issued += 1
        self.tokens.add(f"token-{self.issued}")
        return JSONResponse(
            {"access_token": f"token-{self.issued}", "token_type": "Bearer", "expires_in": self.expires_in}
        )

    async def table(self, request: Request) -> Response:
        answer = await self.orders.answer(request, self._find if request.method == "GET" else self._patch)
        self.requests.append({"method": request.method, "path": request.url.path, "status": answer.status_code})
        return answer

    async def _find(self, request: Request) -> Response:
        numbers = request.query_params.get("number", "").split("^ORnumber=")  # "^OR" is a query operator
        found = [{"sys_id": sys_id} for sys_id, record in self.records.items() if record["number"] in numbers]
        return self._refused(request) or JSONResponse({"result": found})

    async def _patch(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        record = self.records.get(request.path_params["sys_id"])
        if record is None:
            return JSONResponse({"error": {"message": "No Record found"}}, 404)
        update = await request.json()
        journal = {name: record.get(name, "") + value for name, value in update.items() if name == "work_notes"}
        record |= update | journal
        return JSONResponse({"result": record})

    def _refused(self, request: Request) -> Response | None:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return JSONResponse({"error": {"message": "User Not Authenticated"}}, 401)
        self.left -= 1
        if self.left >= 0:
            return None
        headers = {"x-ratelimit-limit": "1000", "x-ratelimit-reset": str(int(time.time()) + 1200)}
        if self.says_retry_after:
            headers["retry-after"] = "1200"
        return JSONResponse({"error": {"message": "Rate limit exceeded"}}, 429, headers)
