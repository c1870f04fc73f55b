"""The kit's own workers before one external system: one update of a Work Order at a time, in order, killed or not."""

import asyncio
import json
import random
import signal
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from arq.connections import ArqRedis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from examples.stand_ins.erp import Erp
from receiver.acceptance import accept_directly
from receiver.queue.keys import Keys
from tests.conftest import ROOT, Start, until
from tests.worker.conftest import body_of, delivery_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

pytestmark = pytest.mark.anyio
KEYS = Keys("glartek:")
ROUTES = """
from examples.handlers import external_system
from worker import in_order

ROUTES = {"work_order.completed": [in_order(external_system.update)]}
"""


class Slow(Erp):
    """Takes its time, fails now and then, and notes how many requests for one Work Order it has at once."""

    def __init__(self) -> None:
        super().__init__()
        self.chance, self.at_once, self.most = random.Random(7), Counter[str](), 0
        self.sent: defaultdict[str, list[str]] = defaultdict(list)

    async def handle(self, request: Request) -> Response:
        name = request.path_params["work_order"]
        status = json.loads(await request.body())["status"]
        if status not in self.sent[name]:
            self.sent[name].append(status)
        self.at_once[name] += 1
        self.most = max(self.most, self.at_once[name])
        try:
            await asyncio.sleep(self.chance.uniform(0, 0.02))
            answer = await super().handle(request)
            return answer if self.chance.random() < 0.8 else JSONResponse({}, 500)
        finally:
            self.at_once[name] -= 1


async def test_one_update_of_a_work_order_at_a_time_and_in_order(
    redis: ArqRedis, valkey_url: str, serve: "Callable[[ASGIApp], str]", start: Start, clean_environment: Path
) -> None:
    """Two workers, one of them killed, failures and lost answers: none is sent before the earlier one ended."""
    (clean_environment / "only_erp.py").write_text(ROUTES, encoding="utf-8")
    erp, names = Slow(), [f"wo_{number}" for number in range(5)]
    for minute in range(10):
        for name in names:
            time_of = f"2026-11-03T12:{minute:02}:00Z"
            work_order = {"id": name, "status": f"status {minute}"}
            body = body_of(f"{name} {minute}", "work_order.completed", occurred_at=time_of, work_order=work_order)
            await accept_directly(redis, KEYS, delivery_of(body))
    settings = {
        "PYTHONPATH": f"{clean_environment}:{ROOT}",
        "REDIS_URL": valkey_url,
        "HANDLERS": "only_erp:ROUTES",
        "EXTERNAL_URL": serve(Starlette(routes=erp.routes)),
        "EXTERNAL_BREAKER_FAILURES": "1000",
        "RETRY_BASE": "50ms",
        "LEASE": "1s",
    }
    killed, _ = [start("-m", "worker", **settings) for _ in range(2)]
    await until(lambda: _has(erp, 12), 20)
    killed.signal(signal.SIGKILL)
    await until(lambda: _is_idle(redis), 60)
    assert {name: state["status"] for name, state in erp.work_orders.items()} == dict.fromkeys(names, "status 9")
    assert erp.sent == {name: [f"status {minute}" for minute in range(10)] for name in names}
    assert erp.most == 1


async def _is_idle(redis: ArqRedis) -> bool:
    return not await redis.zunion([KEYS.queue, KEYS.leases])


async def _has(erp: Slow, requests: int) -> bool:
    return len(erp.requests) >= requests
