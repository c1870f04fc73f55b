"""A system with a REST API for Work Orders, for the target `generic_rest`."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.stand_ins.orders import Orders


@dataclass
class Erp:
    """Applies an update once per idempotency key; a repeated request gets the first answer again."""

    work_orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    orders: Orders = field(default_factory=Orders)
    answers: dict[str, int] = field(default_factory=dict)

    @property
    def routes(self) -> list[Route]:
        return [Route("/api/work-orders/{work_order}", self.handle, methods=["GET", "PATCH", "PUT", "POST"])]

    def recorded(self) -> dict[str, Any]:
        return {"work_orders": self.work_orders, "requests": self.requests}

    def forget(self) -> None:
        for kept in (self.work_orders, self.requests, self.answers):
            kept.clear()

    async def handle(self, request: Request) -> Response:
        work_order, body = request.path_params["work_order"], await request.body()
        if request.method == "GET":
            found = self.work_orders.get(work_order)
            return JSONResponse(found) if found else _error(404, "NotFound", "no such Work Order")
        key = request.headers.get("idempotency-key")
        failure = await self.orders.next_failure(request.method)
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


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
