"""What handler tests share: a context as the worker builds it, samples, and servers on real sockets."""

import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
import structlog
import uvicorn
from pydantic import SecretStr
from redis.asyncio import Redis
from starlette.types import ASGIApp
from structlog.testing import LogCapture

from receiver import events
from receiver.client import Client
from receiver.environment import load
from receiver.queue.connection import connect
from receiver.settings import Settings
from worker import Context, Event
from worker.event import parse

RECEIVED = datetime(2026, 11, 3, 9, 1, 13, tzinfo=UTC)


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    """A client of an empty Valkey, which closes its connections with the test."""
    client = connect(valkey_url)
    await client.flushall()
    yield client
    await client.aclose(close_connection_pool=True)


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    """The client that the worker hands to handlers."""
    client = Client()
    yield client
    await client.end()


@pytest.fixture
def logs() -> Iterator[LogCapture]:
    """Every line logged while the test runs."""
    capture = LogCapture()
    before = structlog.get_config()["processors"]
    structlog.configure(processors=[capture], cache_logger_on_first_use=False)
    yield capture
    structlog.configure(processors=before)


MakeContext = Callable[..., Context]


@pytest.fixture
def context(redis: Redis, http: httpx2.AsyncClient, logs: LogCapture) -> MakeContext:
    """A context as the worker builds it; the key is the one thing that tells two events apart."""

    def make(key: str = "test:evt_1", received_at: datetime = RECEIVED, attempt: int = 1) -> Context:
        assert logs is not None
        return Context(
            delivery_id=f"delivery-{key}",
            attempt=attempt,
            idempotency_key=key,
            received_at=received_at,
            http=http,
            redis=redis,
            prefix="glartek:",
        )

    return make


@pytest.fixture(scope="session")
def event_of() -> Callable[[dict[str, Any]], Event]:
    """The event that the worker makes of a payload."""
    settings = load(Settings, redis_url=SecretStr("redis://127.0.0.1/0"))
    return lambda payload: parse(json.dumps(payload).encode(), settings)


@pytest.fixture(scope="session")
def sample(event_of: Callable[[dict[str, Any]], Event]) -> Callable[..., Event]:
    """The sample event of a type; `changes` are of its subject's fields."""

    def make(event_type: str = "action.created", **changes: Any) -> Event:
        payload = events.BY_NAME[event_type].sample()
        payload[event_type.partition(".")[0]] |= changes
        return event_of(payload)

    return make


@contextmanager
def _served(app: ASGIApp) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    # What a test left unanswered is given up: to wait for it would be for ever, and nothing could end that.
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


Serve = Callable[[ASGIApp], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve an application on a real socket until the test ends, and say where."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(_served(app))
