"""Every Action created becomes a card in a Teams channel; any other type does too, a route is all it takes.

    event ─▶ card (pure) ─▶ POST to the channel's workflow ─▶ accepted, later, or given up

Route it as `in_order(teams.notify, by="handler", rate="4/1s, 60/30s")`: all workers together are one line for the
channel, which takes no more cards than that.

In Teams: the channel's menu, Workflows, "Send webhook alerts to a channel"; its URL is TEAMS_WEBHOOK_URL. That URL is
a credential (its `sig`), so it is never logged and never part of an error.
"""

import asyncio
from functools import cached_property, lru_cache
from typing import Annotated, Literal
from urllib.parse import urlsplit

import httpx2
import structlog
from pydantic import AfterValidator, Field, SecretStr

from examples.handlers.teams import card
from examples.handlers.teams.content import Look
from examples.handlers.teams.languages import LANGUAGES
from worker import Context, EnvSettings, Event, GiveUp, RetryLater, Seconds, load, retry_after, teams_workflow

_TRANSIENT = {408, 425}
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_UNREACHED = "the Teams workflow could not be reached: "
_BELIEVED = 5  # attempts of a card at which a failure's `Retry-After` is followed
_LONGEST_PAUSE = 60.0  # seconds


class TeamsUnavailable(Exception):
    """The workflow did not answer or failed for now: the worker tries again with its own back-off."""


def _url_template(value: str | None) -> str | None:
    if value is not None and not (value.startswith("https://") and "{id}" in value):
        raise ValueError("expected an https:// URL with {id} where the id goes")
    return value


class TeamsSettings(EnvSettings):
    """Where cards go and how they look."""

    teams_webhook_url: Annotated[SecretStr, AfterValidator(teams_workflow.checked_url)] = Field(
        description="URL of the Teams workflow 'Send webhook alerts to a channel'; it holds a signature, keep it secret"
    )
    teams_language: Literal["pt", "en"] = Field("pt", description="language of the cards")
    teams_action_url: Annotated[str | None, AfterValidator(_url_template)] = Field(
        None, description="where a card's button leads, such as https://app.example.com/actions/{id}"
    )
    teams_work_order_url: Annotated[str | None, AfterValidator(_url_template)] = Field(
        None, description="the same for Work Orders"
    )
    teams_photos: bool = Field(True, description="whether a card shows the first photo, which Teams then fetches")
    teams_timeout: Seconds = Field(10.0, gt=0, le=15, description="longest wait for the workflow's answer")

    @cached_property
    def look(self) -> Look:
        return Look(LANGUAGES[self.teams_language], self.teams_action_url, self.teams_work_order_url, self.teams_photos)


@lru_cache(maxsize=1)
def _settings() -> TeamsSettings:
    return load(TeamsSettings)


def configure() -> None:
    """Read the settings once, at start. Raises `SettingsError` with one line for each mistake."""
    _settings.cache_clear()
    host = urlsplit(_settings().teams_webhook_url.get_secret_value()).hostname or ""
    if not host.endswith(teams_workflow.HOSTS) and host not in teams_workflow.LOOPBACK:
        # Microsoft has changed these hosts before, so a new one is worth a look and no reason to stop.
        structlog.get_logger().warning("teams: host not known", host=host, expected=teams_workflow.HOSTS)


async def notify(event: Event, ctx: Context) -> None:
    """Post the event's card to the channel.

    A time-out is ambiguous: the workflow may have taken the card, and the retry then posts it twice. A card twice is
    better than no card.
    """
    settings = _settings()
    response = await _post(card.encode(card.build(event, settings.look)), ctx, settings)
    _judge(response, ctx.attempt)
    ctx.log.info("teams: workflow accepted a card", status=response.status_code)  # 202: a flow was queued


async def preview(event: Event, idempotency_key: str) -> object:  # noqa: ARG001 - a card has no key
    """The card that `notify` would post."""
    unused = SecretStr("http://127.0.0.1/unused")  # the card does not depend on the URL
    return card.build(event, load(TeamsSettings, teams_webhook_url=unused).look)


async def _post(body: bytes, ctx: Context, settings: TeamsSettings) -> httpx2.Response:
    """The workflow's answer. An error's text may hold the URL, so only its name is kept."""
    try:
        async with asyncio.timeout(settings.teams_timeout):  # httpx2's own is for each step: the sum must end, too
            return await ctx.http.post(
                settings.teams_webhook_url.get_secret_value(),
                content=body,
                headers={"content-type": "application/json"},
                timeout=httpx2.Timeout(settings.teams_timeout, connect=min(5.0, settings.teams_timeout)),
                follow_redirects=False,
            )
    except _NOT_SENT as error:  # no fault of this card's: it keeps its place
        raise RetryLater(_pause(ctx.attempt), _UNREACHED + type(error).__name__) from None
    except (httpx2.HTTPError, TimeoutError) as error:
        raise TeamsUnavailable(_UNREACHED + type(error).__name__) from None


def _judge(response: httpx2.Response, attempt: int) -> None:
    """Nothing for any 2xx; otherwise the exception that says what becomes of the card."""
    status = response.status_code
    if response.is_success:
        return
    reason, wait = f"the Teams workflow answered {status}", retry_after.seconds(response)
    if status == httpx2.codes.TOO_MANY_REQUESTS:
        raise RetryLater(wait or _pause(attempt), reason)
    if status in _TRANSIENT or response.is_server_error:
        # A `Retry-After` is followed; but it may be this card that fails, which then lets the others pass.
        raise RetryLater(wait, reason) if wait and attempt <= _BELIEVED else TeamsUnavailable(reason)
    advice = {
        401: "; in the workflow's trigger, 'Who can trigger the flow' must be 'Anyone'",
        403: "; in the workflow's trigger, 'Who can trigger the flow' must be 'Anyone'",
        404: "; the workflow was deleted or turned off: make it again and set TEAMS_WEBHOOK_URL",
    }.get(status, "")
    raise GiveUp(f"the Teams workflow refused the card with {status}{advice}")


def _pause(attempt: int) -> float:
    """Seconds until the next attempt, where the workflow did not say."""
    return min(2.0**attempt, _LONGEST_PAUSE)
