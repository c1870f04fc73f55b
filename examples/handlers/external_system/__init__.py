"""A finished Work Order updates the external system (an ERP, a maintenance system): once, with its data.

event ─▶ request (pure) ─▶ PATCH with an idempotency key ─▶ done, again later, or given up
"""

from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import httpx2
from pydantic import AfterValidator, Field, SecretStr

from examples.handlers import retry_after
from receiver.settings import EnvSettings, Seconds, load
from worker import Context, Event, GiveUp, RetryLater, WorkOrder

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_TRANSIENT = {408, 425, 429}
_ANSWER = 200  # characters of the target's answer that go into an error


class TargetUnavailable(Exception):
    """The external system could not be reached or failed for now: the worker tries again with its own back-off."""


def _base_url(value: str) -> str:
    try:
        url = urlsplit(value)
    except ValueError:
        raise ValueError("expected a URL such as https://erp.example.com") from None
    if not url.hostname or not (url.scheme == "https" or (url.scheme == "http" and url.hostname in _LOOPBACK)):
        raise ValueError("expected a URL such as https://erp.example.com (http only for 127.0.0.1)")
    return value.rstrip("/")


class ExternalSettings(EnvSettings):
    """Where the external system is and how we show who we are."""

    external_url: Annotated[str, AfterValidator(_base_url)] = Field(
        description="base URL of the external system, such as https://erp.example.com"
    )
    external_token: SecretStr | None = Field(None, description="bearer token for the external system")
    external_timeout: Seconds = Field(10.0, gt=0, le=25, description="longest wait for its answer")


@lru_cache(maxsize=1)
def _settings() -> ExternalSettings:
    return load(ExternalSettings)


def configure() -> None:
    """Read the settings once, at start. Raises `SettingsError` with one line for each mistake."""
    _settings.cache_clear()
    _settings()


async def update(event: Event, ctx: Context) -> None:
    """Send the Work Order's data to the external system. Every try carries the same idempotency key."""
    settings = _settings()
    work_order = event.work_order
    if work_order is None or work_order.id is None:
        raise GiveUp("the event names no Work Order, so there is nothing to update")
    response = await _send(work_order, event, ctx, settings)
    _judge(response)
    ctx.log.info("external_system_updated", work_order=work_order.id, status=response.status_code)


def body(event: Event, work_order: WorkOrder) -> dict[str, Any]:
    """What the external system is told about the Work Order."""
    return {
        "status": work_order.status,
        "finished_at": work_order.finished_at.isoformat() if work_order.finished_at else None,
        "results": [
            {"task": task.title, "status": task.status, "value": task.response.value if task.response else None}
            for task in work_order.tasks or ()
        ],
        "occurred_at": event.occurred_at.isoformat() if event.occurred_at else None,
    }


async def _send(work_order: WorkOrder, event: Event, ctx: Context, settings: ExternalSettings) -> httpx2.Response:
    headers = {"idempotency-key": ctx.idempotency_key}
    if settings.external_token:
        headers["authorization"] = f"Bearer {settings.external_token.get_secret_value()}"
    try:
        return await ctx.http.patch(
            f"{settings.external_url}/api/work-orders/{quote(work_order.id or '', safe='')}",
            json=body(event, work_order),
            headers=headers,
            timeout=httpx2.Timeout(settings.external_timeout, connect=3.0),
            follow_redirects=False,
        )
    except httpx2.HTTPError as error:
        raise TargetUnavailable(f"the external system could not be reached: {type(error).__name__}") from None


def _judge(response: httpx2.Response) -> None:
    status = response.status_code
    if response.is_success:
        return
    if status in _TRANSIENT or status >= httpx2.codes.INTERNAL_SERVER_ERROR:
        reason = f"the external system answered {status}"
        wait = retry_after.seconds(response)
        raise TargetUnavailable(reason) if wait is None else RetryLater(wait, reason)
    raise GiveUp(f"the external system refused the update with {status}: {response.text[:_ANSWER]!r}")
