"""`python -m worker try`: a handler run on events that are kept, with nothing sent and nothing written.

`ctx.http` records its requests and answers them; `ctx.redis` is an empty server of its own. Any other connection that
Python makes is refused, and so are databases and processes: what was not recorded must not happen. Files are written.
"""

import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from arq.connections import ArqRedis

from receiver.content import Unreadable
from receiver.delivery import Delivery
from receiver.environment import SettingsError
from receiver.queue.connection import connect
from receiver.queue.jobs import unpack
from receiver.queue.valkey import ServerError, embedded
from worker import importing, trial
from worker.dead_letters import Operator
from worker.event import parse
from worker.handler import Context, Handler, name_of
from worker.letter import Filter
from worker.routes import RouteTable
from worker.same_error import same_error
from worker.settings import WorkerSettings

KEPT = 20
"""Kept payloads read at a time: each may have a megabyte."""
_UNSEEN = {"psycopg", "psycopg2", "pyodbc", "pymssql", "oracledb", "MySQLdb", "grpc", "confluent_kafka", "pycurl"}
"""Libraries whose connections Python cannot see."""
_PROCESSES = {"subprocess.Popen", "os.system", "os.posix_spawn", "os.exec"}
_alone_with: str | None = None


class RefusedError(Exception):
    """What a handler wanted to do past its context while it was only tried."""


async def last_kept(operator: Operator, last: int, event_type: str | None) -> list[Delivery]:
    """The last deliveries whose payload is kept, finished or dead, oldest first; of one type if that is given."""
    found: dict[str, Delivery] = {}
    async for job in _kept_payloads(operator):
        _add(found, job, event_type)
        if len(found) >= last:
            break
    which = Filter(type=event_type, kind="dead")
    for letter in [letter async for letter in operator.letters(which)][-last:]:
        _add(found, (await operator.with_payload(letter)).job, event_type)
    return sorted(found.values(), key=lambda delivery: delivery.received_us)[-last:]


async def _kept_payloads(operator: Operator) -> AsyncIterator[bytes]:
    """The jobs of finished deliveries that are kept for a replay, newest first, read a page at a time."""
    end = -1
    while entries := await operator.redis.execute_command("LRANGE", operator.keys.kept, end - KEPT + 1, end):
        names = [entry.decode().partition(" ")[0] for entry in reversed(entries)]
        for job in await operator.redis.mget([operator.keys.payload(name) for name in names]):
            if job:
                yield job
        end -= KEPT


def _add(found: dict[str, Delivery], job: bytes, event_type: str | None) -> None:
    if job:
        delivery = Delivery.from_job(unpack(job)["a"][0])
        if event_type in {None, delivery.event_type}:
            found[delivery.id] = delivery


@contextmanager
def alone() -> Iterator[str]:
    """The URL of an empty Redis, the one thing that this process reaches as long as the block runs.

    What a handler prints there goes to stderr: stdout is the report's.
    Raises `SettingsError` where no server can be started.
    """
    global _alone_with  # noqa: PLW0603 - an audit hook cannot be taken away, only told to do nothing
    try:
        with tempfile.TemporaryDirectory(prefix="glartek-") as folder, embedded(Path(folder)) as url:
            sys.addaudithook(_refuse)
            _alone_with = url.removeprefix("unix://")
            try:
                with redirect_stdout(sys.stderr):
                    yield url
            finally:
                _alone_with = None
    except ServerError as error:
        raise SettingsError(str(error)) from None


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if _alone_with is None:
        return
    match event, arguments:
        case (("socket.connect" | "socket.sendto"), (_, address)) if address != _alone_with:
            what = f"a connection of its own to {address!r}: only ctx.http is recorded"
        case "sqlite3.connect", (database,) if database != ":memory:":
            what = f"the database {database!r}"
        case "import", (str(module), *_) if module.partition(".")[0] in _UNSEEN:
            what = f"{module}, whose connections cannot be seen: try it in a test, with a database of the test's own"
        case _, _ if event in _PROCESSES:
            what = "to start a process"
        case _:
            return
    raise RefusedError(f"it wants {what}")


def find_handler(spec: str, handlers: str) -> Handler:
    """The handler at `module:name`, or the one of this name in HANDLERS. Raises `SettingsError`."""
    if ":" in spec:
        module, name = importing.imported(spec, "HANDLER: expected module:name, such as acme.handlers:page")
        handler: Handler | None = getattr(module, name, None)
    else:
        handler = importing.read(handlers).by_name.get(spec)
    if handler is None:
        raise SettingsError(f"HANDLER: no handler {spec!r}; expected module:name, or a name in HANDLERS")
    importing.configure(RouteTable({"*": [handler]}))
    return handler


async def run_all(
    handler: Handler, deliveries: Sequence[Delivery], settings: WorkerSettings, redis_url: str, status: int
) -> list[dict[str, Any]]:
    """What the handler would have done to each delivery, every request of it answered with this status."""
    redis = connect(redis_url)
    try:
        return [await _run_one(handler, delivery, settings, redis, status) for delivery in deliveries]
    finally:
        await redis.aclose()


async def as_it_failed(
    handler: Handler, delivery: Delivery, settings: WorkerSettings, redis_url: str, answers: Sequence[int], reason: str
) -> dict[str, Any] | None:
    """How the handler fails for a delivery as it did for this `reason`; None where it does not.

    Its requests are answered by one status after the other, `answer` of what is returned being the one that did it.
    With the first one any failure counts: the others are guesses, and a handler may well fail for a 500.
    """
    otherwise = None
    for status in answers:
        [told] = await run_all(handler, [delivery], settings, redis_url, status)
        if told["state"] in {"done", "skipped"}:
            continue
        is_alike = same_error(reason).startswith(same_error(told["reason"]))  # which budget is used up stands behind it
        failed = {**told, "answer": status, "as_it_was": is_alike}
        if is_alike:
            return failed
        otherwise = failed if status == answers[0] else otherwise
    return otherwise


async def _run_one(
    handler: Handler, delivery: Delivery, settings: WorkerSettings, redis: ArqRedis, status: int
) -> dict[str, Any]:
    about = {"delivery": delivery.id, "key": delivery.key, "type": delivery.event_type}
    try:
        event = parse(delivery.body, settings, delivery.headers)
    except Unreadable as error:
        return about | {"state": "unreadable", "reason": str(error), "seconds": None, "at": None, "requests": []}
    async with trial.answering(status) as http:
        ctx = Context(
            delivery_id=delivery.id,
            attempt=1,
            idempotency_key=f"{name_of(handler)}:{delivery.id}",
            received_at=datetime.fromtimestamp(delivery.received_us / 1_000_000, tz=UTC),
            http=http,
            redis=redis,
            prefix=settings.key_prefix,
            about={"delivery": delivery.id},
        )
        result = await trial.run(handler, event, ctx, limit=settings.handler_timeout)
    requests = [_shown(sent) for sent in result.requests]
    told = {"state": result.state, "reason": result.reason, "seconds": result.seconds, "at": result.at or None}
    return about | told | {"requests": requests}


def _shown(sent: trial.Sent) -> dict[str, Any]:
    """A request without what may be a credential: its query, and all headers but two."""
    url, query, _ = sent.url.partition("?")
    headers = {name: sent.headers[name] for name in ("content-type", "idempotency-key") if name in sent.headers}
    try:
        body = sent.json
    except ValueError:
        body = sent.body.decode("utf-8", "backslashreplace")
    return {"method": sent.method, "url": f"{url}?…" if query else url, "headers": headers, "body": body}
