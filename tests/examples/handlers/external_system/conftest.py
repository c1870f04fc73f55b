"""The handler configured for a stand-in that behaves like SAP or ServiceNow where it hurts."""

import asyncio
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis
from starlette.applications import Starlette

from examples.handlers import external_system
from examples.stand_ins.erp import Erp
from examples.stand_ins.sap import Sap
from examples.stand_ins.servicenow import ServiceNow
from worker import Context, Event

Configure = Callable[..., None]
NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)


@pytest.fixture
def configure(clean_environment: object, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Set EXTERNAL_… variables and read them, as the worker does at its start."""
    assert clean_environment

    def set_all(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"EXTERNAL_{name.upper()}", value)
        external_system.configure()

    return set_all


@pytest.fixture
def context(context: Callable[..., Context]) -> Callable[..., Context]:
    """Events are received a while after they happened."""
    return partial(context, received_at=NOON + timedelta(minutes=10))


@pytest.fixture
def at(event_of: Callable[..., Event]) -> Callable[..., Event]:
    """An event of a Work Order at so many minutes past noon."""

    def make(minute: float, status: str = "Done", work_order: str = "wo_1") -> Event:
        time = (NOON + timedelta(minutes=minute)).isoformat()
        return event_of(
            {
                "id": f"evt_{work_order}_{minute}",
                "type": "work_order.completed",
                "occurred_at": time,
                "work_order": {"id": work_order, "status": status},
            }
        )

    return make


async def exists(redis: Redis, key: str) -> None:
    """Return once the key is there."""
    async with asyncio.timeout(5):
        while not await redis.exists(key):  # noqa: ASYNC110 - another process's key has no event to wait for
            await asyncio.sleep(0.005)


@pytest.fixture
def erp(serve: Callable[[Starlette], str], configure: Configure) -> Erp:
    """A REST API, and the handler configured for it."""
    erp = Erp()
    configure(url=serve(Starlette(routes=erp.routes)), timeout="10s", breaker_failures="3", breaker_open="1m")
    return erp


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a customer's own target, and give its name for EXTERNAL_TARGET."""
    monkeypatch.syspath_prepend(str(tmp_path))
    package = f"acme_{secrets.token_hex(4)}"

    def write(source: str, name: str = "target") -> str:
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / f"{name}.py").write_text(source)
        return f"{package}.{name}"

    return write


@pytest.fixture
def sap(serve: Callable[[Starlette], str], configure: Configure) -> Sap:
    """An SAP system, and the handler configured for it."""
    sap = Sap(password="pá$$")
    url = serve(Starlette(routes=sap.routes))
    configure(url=url, target="sap_maintenance_order", username="glartek", password="pá$$")
    return sap


@pytest.fixture
def servicenow(serve: Callable[[Starlette], str], configure: Configure) -> ServiceNow:
    """A ServiceNow instance, and the handler configured for it."""
    servicenow = ServiceNow()
    url = serve(Starlette(routes=servicenow.routes))
    configure(url=url, target="servicenow", client_id="client", client_secret="demo")
    return servicenow
