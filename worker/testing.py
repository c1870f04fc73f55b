"""What the tests of your own handlers need: an event, a context, and a run that says what came of it.

    event = make_event("action.created", {"action.priority": "High"})
    result = await run(page, event, answer=429)
    assert result.state == "retry"

Nothing is sent and nothing is needed: neither Redis nor a worker. docs/first-handler.md has a whole example.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import httpx2
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from redis.asyncio import Redis

from receiver import events
from receiver.environment import EnvSettings, load
from receiver.payload_settings import PayloadSettings
from worker import trial
from worker.event import Event, parse
from worker.handler import Context, Handler, name_of
from worker.trial import Answer, Result, Sent

if TYPE_CHECKING:
    import pytest

__all__ = ["Answer", "Result", "Sent", "example_settings", "make_context", "make_event", "run"]
_EXAMPLES = ("https://example.com", "example", "1", "ana@example.com", "example-example-example-example")


def make_event(
    source: str | Path | Mapping[str, Any] | bytes,
    fields: Mapping[str, Any] | None = None,
    settings: PayloadSettings | None = None,
    *,
    payload_map: Path | None = None,
) -> Event:
    """The event as handlers get it, from a type's sample, a file, a payload or a body.

    `fields` are set in the payload by dotted path (`{"action.priority": "High"}`); None takes one out. `payload_map` is
    your payload.toml, because tests read no `.env`; `settings` say all of how the payload is read. Raises `LookupError`
    for a type that is none of the eleven, OSError for a file, `receiver.content.Unreadable` for what is no event.
    """
    body = _body(source)
    if fields:
        payload = json.loads(body)
        for path, value in fields.items():
            _set(payload, path, value)
        body = json.dumps(payload).encode()
    chosen: dict[str, Any] = {"payload_map": payload_map} if payload_map else {}
    return parse(body, settings or load(PayloadSettings, **chosen))


def make_context(
    handler: Handler | str = "tests.handler",
    *,
    http: httpx2.AsyncClient | None = None,
    answer: Answer | Sequence[Answer] = 200,
    redis: "Redis | None" = None,
    attempt: int = 1,
) -> Context:
    """What a handler is given beside the event: requests are recorded and get `answer`, or several in turn.

    With `http` they are sent: `make_context(http=httpx2.AsyncClient())`. A handler that uses `ctx.redis` needs a real
    one: the fixture `redis`.
    """
    name = handler if isinstance(handler, str) else name_of(handler)
    answers = answer if isinstance(answer, Sequence) else [answer]
    return Context(
        delivery_id="0123456789abcdef01234567",
        attempt=attempt,
        idempotency_key=f"{name}:0123456789abcdef01234567",
        received_at=datetime.now(UTC),
        http=http or trial.answering(*answers),
        redis=redis if redis is not None else _NoRedis(),
        prefix="test:",
    )


async def run(
    handler: Handler,
    event: Event,
    ctx: Context | None = None,
    *,
    answer: Answer | Sequence[Answer] = 200,
) -> Result:
    """Run a handler once and say what the worker would make of it: done, skipped, retry or dead.

    `result.requests` are its HTTP requests, `result.error` what it raised, `result.at` the line where it did.
    """
    return await trial.run(handler, event, ctx or make_context(handler, answer=answer))


def example_settings(monkeypatch: "pytest.MonkeyPatch", handler: Handler) -> None:
    """Set what the settings of the handler's module lack to an example, for this test; what is read once is read anew.

    Its settings are the `EnvSettings` that the module has or imports; a setting with a default keeps that.
    """
    found = list(vars(sys.modules[handler.__module__]).values())
    for own in found:
        if isinstance(own, type) and issubclass(own, EnvSettings):
            for name, field in own.model_fields.items():
                if (example := _example(field)) is not None:
                    monkeypatch.setenv(name.upper(), example)
    for one in found:
        if callable(clear := getattr(one, "cache_clear", None)):
            clear()


def _example(field: FieldInfo) -> str | None:
    """A value that a setting without one takes."""
    if not field.is_required() and field.default is not None:
        return None
    kind: Any = Annotated[field.annotation, *field.metadata, "an example"]
    for example in _EXAMPLES:
        try:
            TypeAdapter(kind).validate_python(example)
        except ValidationError:
            continue
        return example
    return None


class _NoRedis(Redis):
    """Stands for the connection in a context that was made without one."""

    def __init__(self) -> None: ...

    def __del__(self, *_: object) -> None: ...

    async def execute_command(self, *_: Any, **__: Any) -> NoReturn:
        raise AssertionError(_WANTED)

    def pipeline(self, *_: Any, **__: Any) -> NoReturn:
        raise AssertionError(_WANTED)


_WANTED = "this handler uses ctx.redis: give it one, make_context(redis=…), such as the fixture `redis`"


def _body(source: str | Path | Mapping[str, Any] | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, Mapping):
        return json.dumps(dict(source)).encode()
    if isinstance(source, str) and (known := events.BY_NAME.get(events.canonical(source))):
        return json.dumps(known.sample()).encode()
    if isinstance(source, str) and not source.endswith(".json"):
        raise LookupError(f"no event type {source!r}; expected one of {', '.join(events.BY_NAME)}, or a .json file")
    return Path(source).read_bytes()


def _set(payload: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for step in parents:
        payload = payload[int(step)] if isinstance(payload, list) else payload.setdefault(step, {})
    if value is None:
        payload.pop(last, None)
    elif isinstance(payload, list):
        payload[int(last)] = value
    else:
        payload[last] = value
