"""Deliveries on a real queue, and workers in this process or in their own."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgpack
import pytest
from arq.connections import ArqRedis
from arq.worker import Function, Worker, func
from pydantic import SecretStr

from receiver.acceptance import Acceptance, accept_directly
from receiver.delivery import Delivery
from receiver.environment import load
from receiver.idempotency import IdempotencyRule
from receiver.queue.connection import connect
from receiver.queue.jobs import pack, unpack
from receiver.queue.keys import Keys
from tests.conftest import until
from worker.app import create_worker
from worker.burying import bury_unchanged
from worker.dead_letters import Operator
from worker.error_text import describe
from worker.handler import Handler, Routes
from worker.lease.claims import Claim
from worker.lease.worker import LeasedWorker
from worker.letter import DeadLetter, Filter
from worker.loop_watch import Watch
from worker.routes import RouteTable
from worker.settings import WorkerSettings
from worker.story import story_of

KEYS = Keys("glartek:")
SOURCES = IdempotencyRule(("event-id", "body"))
Do = Callable[[int], Awaitable[None] | None]


def body_of(event_id: str, event_type: str = "action.created", **more: Any) -> bytes:
    return json.dumps({"id": event_id, "type": event_type, **more}).encode()


def delivery_of(body: bytes, **headers: str) -> Delivery:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return SOURCES.delivery(headers, body, time.time_ns() // 1000)


def make_handler(name: str, do: Do = lambda _: None) -> Handler:
    """A handler called `<this module>.<name>` that does what `do` says when it is given the attempt."""

    async def handler(event: Any, ctx: Any) -> None:  # noqa: ARG001 - a handler's signature
        doing = do(ctx.attempt)
        if doing is not None:
            await doing

    handler.__name__ = name
    handler.__module__ = "h"
    return handler


class Journal:
    """Functions for a worker, and what they did: every run, and every run that came to its end."""

    def __init__(self) -> None:
        self.starts: list[dict[str, Any]] = []
        self.ends: list[Any] = []

    def function(self, do: Any, **options: Any) -> Function:
        async def run(ctx: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            self.starts.append(ctx)
            result = await do(ctx, *args, **kwargs)
            self.ends.append(args)
            return result

        return function(run, **{"name": do.__name__} | options)


def function(do: Any, **options: Any) -> Function:
    """An arq function, called as the coroutine is."""
    return func(do, **{"name": do.__name__} | options)


def stock_worker(redis: ArqRedis, functions: Sequence[Function], **options: Any) -> Worker:
    """Arq's own worker on the kit's queue."""
    ours: dict[str, Any] = {"queue_name": KEYS.queue, "job_serializer": pack, "job_deserializer": unpack}
    return Worker(functions, redis_pool=redis, **{"poll_delay": 0.01, "handle_signals": False} | ours | options)


async def stopped(task: "asyncio.Task[None]", stop: Callable[[], object]) -> None:
    """Return when a stock worker has ended; told so again where redis-py swallowed it, as it may before Python 3.12."""
    while not task.done():
        stop()
        await asyncio.wait([task], timeout=0.2)


async def put(redis: ArqRedis, job_id: str, job: bytes) -> None:
    """A job on the queue, due at once."""
    await redis.set(f"arq:job:{job_id}", job)
    await redis.zadd(KEYS.queue, {job_id: 1})


async def asks_nothing(_: dict[str, Any]) -> None: ...


class Rig:
    """What these tests run on: a Valkey with deliveries on its queue, workers, and what an operator sees of them."""

    def __init__(self, url: str, redis: ArqRedis) -> None:
        self.url, self.redis, self.operator = url, redis, Operator(redis, KEYS)

    async def accept(self, delivery: Delivery) -> Delivery:
        assert await accept_directly(self.redis, KEYS, delivery) is Acceptance.STORED
        return delivery

    async def send(self, event_id: str, event_type: str = "action.created", **more: Any) -> Delivery:
        return await self.accept(delivery_of(body_of(event_id, event_type, **more)))

    async def story(self, delivery: Delivery) -> dict[str, Any]:
        story = await story_of(self.operator, delivery.id)
        assert story is not None
        return story

    async def states(self, delivery: Delivery) -> dict[str, str]:
        return {name: told["state"] for name, told in (await self.story(delivery))["handlers"].items()}

    async def closed(self, *deliveries: Delivery) -> None:
        """Return when nothing of these is open any more, and their jobs have ended: a new worker would run them."""

        async def is_open(one: Delivery) -> bool:
            return bool((await self.story(one))["open"]) or await self.redis.zscore(KEYS.leases, one.job_id) is not None

        async def all_closed() -> bool:
            return not any([await is_open(one) for one in deliveries])

        await until(all_closed)

    async def idle(self) -> None:
        """Return when no job is waiting or running."""

        async def nothing_left() -> bool:
            return not await self.redis.zunion([KEYS.queue, KEYS.leases])  # at once: a job moves from one to the other

        await until(nothing_left)

    async def letters(self) -> list[DeadLetter]:
        return [await self.operator.with_payload(letter) async for letter in self.operator.letters(Filter())]

    async def keys(self, pattern: str = "*") -> list[str]:
        return sorted(key.decode() for key in await self.redis.keys(pattern))

    def settings(self, **settings: Any) -> WorkerSettings:
        """The kit's settings, with short waits."""
        settings = {"retry_base": 0.02, "lease": 1.0, "shutdown_grace": 1.0} | settings
        return load(WorkerSettings, _env_file=None, redis_url=SecretStr(self.url), handlers="in:process", **settings)

    @asynccontextmanager
    async def working(self, routes: Routes, **settings: Any) -> AsyncIterator[LeasedWorker]:
        """The kit's worker in this process, with short waits."""
        config = self.settings(**settings)
        worker = create_worker(config, RouteTable(routes), lambda: connect(self.url), handle_signals=False)
        async with _running(worker):
            yield worker

    @asynccontextmanager
    async def leased(self, functions: Sequence[Function], **options: Any) -> AsyncIterator[LeasedWorker]:
        """A bare LeasedWorker; what it buries is a dead letter of kind job."""

        async def bury(claim: Claim, reason: str | BaseException) -> None:
            why = reason if isinstance(reason, str) else describe(reason)
            await bury_unchanged(self.redis, KEYS, claim.job_id, claim.data or b"", why)

        defaults: dict[str, Any] = {"connect": lambda: connect(self.url), "lease": 1.0, "handle_signals": False}
        worker = LeasedWorker(functions, keys=KEYS, bury=bury, watch=Watch, **defaults | options)
        async with _running(worker):
            yield worker


class Wire:
    """A Unix socket in front of Valkey on which the first message that has `word` is lost, or else its reply is."""

    def __init__(self, target: str, word: bytes, lost: str) -> None:
        self._target, self._word, self._lost = target, word, lost
        self.dropped = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        valkey, to_valkey = await asyncio.open_unix_connection(self._target)
        with suppress(OSError):
            while message := await reader.read(1 << 16):
                drop = self._word in message and not self.dropped
                self.dropped += drop
                if not (drop and self._lost == "message"):
                    to_valkey.write(message)
                    reply = await valkey.read(1 << 16)
                if drop:
                    break
                writer.write(reply)
        writer.close()
        to_valkey.close()


@asynccontextmanager
async def wire(url: str, path: Path, word: bytes, lost: str) -> AsyncIterator[ArqRedis]:
    """A client of the kit's whose first message with `word` is lost, or its reply."""
    cut = Wire(url.removeprefix("unix://"), word, lost)
    server = await asyncio.start_unix_server(cut.connected, path)
    client = connect(f"unix://{path}")
    client.job_serializer, client.default_queue_name = msgpack.packb, KEYS.queue
    yield client
    await client.aclose()
    server.close()
    assert cut.dropped == 1


@asynccontextmanager
async def _running(worker: LeasedWorker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.async_run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await worker.close()
        assert task.cancelled(), task


@pytest.fixture
async def rig(valkey_url: str, redis: ArqRedis) -> Rig:
    """An empty Valkey."""
    return Rig(valkey_url, redis)


@pytest.fixture
async def arq_redis(rig: Rig) -> AsyncIterator[ArqRedis]:
    """A client that enqueues as arq does, in msgpack."""
    client = connect(rig.url)
    client.job_serializer, client.job_deserializer = msgpack.packb, unpack
    client.default_queue_name = KEYS.queue
    yield client
    await client.aclose()


@pytest.fixture
def journal() -> Journal:
    return Journal()
