"""What the handlers of HANDLERS would do with an event, before anything is done.

`python -m receiver explain` loads this module by its name, as the worker loads handlers: a receiver that is deployed
without a worker shows what it knows itself. A handler's module says what it would send with

    async def preview(event: Event, idempotency_key: str) -> object: ...

which does nothing, and returns what JSON can show, or raises for an event that the handler would not take.
"""

import sys
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from receiver.environment import SettingsError, load
from worker import importing
from worker.error_text import describe
from worker.event import Event, parse
from worker.handler import Handler, name_of
from worker.settings import WorkerSettings


async def what_follows(headers: Mapping[str, str], body: bytes, delivery_id: str) -> list[dict[str, Any]]:
    """Each handler of an event: its name, and what it would send, or why that cannot be shown.

    Raises `SettingsError` when there is no route table, and `receiver.content.Unreadable`.
    """
    config = load(WorkerSettings, redis_url=SecretStr("redis://unused"))
    event = parse(body, config, headers)
    return [await _would(one, event, delivery_id) for one in importing.read(config.handlers).handlers(event.type)]


async def _would(handler: Handler, event: Event, delivery_id: str) -> dict[str, Any]:
    name = name_of(handler)
    preview = getattr(sys.modules.get(handler.__module__), "preview", None)
    if preview is None:
        return {"handler": name, "sends": None, "why_not": "its module has no preview(event, idempotency_key)"}
    try:
        return {"handler": name, "sends": await preview(event, f"{name}:{delivery_id}"), "why_not": None}
    except SettingsError as error:
        return {"handler": name, "sends": None, "why_not": error.lines[0]}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it says of this event is what is to be shown
        return {"handler": name, "sends": None, "why_not": describe(error)}
