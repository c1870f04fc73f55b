"""Every Action created becomes a card in a Teams channel; any other type does too, a route is all it takes.

    event ─▶ card (pure) ─▶ POST to the channel's workflow ─▶ accepted, again later, or given up

In Teams: the channel's menu, Workflows, "Send webhook alerts to a channel"; its URL is TEAMS_WEBHOOK_URL. That URL is
a credential (its `sig`), so it is never logged and never part of an error.
"""

from functools import lru_cache
from typing import Annotated, Literal
from urllib.parse import urlsplit

import httpx2
import structlog
from pydantic import AfterValidator, Field, SecretStr

from examples.handlers import retry_after
from examples.handlers.teams import card
from examples.handlers.teams.words import LANGUAGES
from receiver.settings import EnvSettings, Seconds, load
from worker import Context, Event, GiveUp, RetryLater

_WORKFLOW_HOSTS = (".logic.azure.com", ".api.powerplatform.com", ".logic.azure.us", ".api.powerplatform.us")
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_TRANSIENT = {408, 425, 429}


class TeamsUnavailable(Exception):
    """The workflow could not be reached or failed for now: the worker tries again with its own back-off."""


def _workflow_url(value: SecretStr) -> SecretStr:
    try:
        url = urlsplit(value.get_secret_value())
        host = url.hostname or ""
    except ValueError:
        raise ValueError("expected the https:// URL of a Teams workflow") from None
    if host.endswith(".webhook.office.com") or host == "outlook.office.com":
        raise ValueError(
            "is an Office 365 connector, which Microsoft retired in May 2026; make the workflow "
            "'Send webhook alerts to a channel' in Teams and use its URL"
        )
    if not host or not (url.scheme == "https" or (url.scheme == "http" and host in _LOOPBACK)):
        raise ValueError("expected the https:// URL of a Teams workflow (http only for 127.0.0.1)")
    return value


def _url_template(value: str | None) -> str | None:
    if value is not None and not (value.startswith("https://") and "{id}" in value):
        raise ValueError("expected an https:// URL with {id} where the id goes")
    return value


class TeamsSettings(EnvSettings):
    """Where cards go and how they look."""

    teams_webhook_url: Annotated[SecretStr, AfterValidator(_workflow_url)] = Field(
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
    teams_timeout: Seconds = Field(10.0, gt=0, le=25, description="longest wait for the workflow's answer")


@lru_cache(maxsize=1)
def _settings() -> TeamsSettings:
    return load(TeamsSettings)


def configure() -> None:
    """Read the settings once, at start. Raises `SettingsError` with one line for each mistake."""
    _settings.cache_clear()
    host = urlsplit(_settings().teams_webhook_url.get_secret_value()).hostname or ""
    if not host.endswith(_WORKFLOW_HOSTS) and host not in _LOOPBACK:
        # Microsoft has changed these hosts before, so a new one is worth a look and no reason to stop.
        structlog.get_logger().warning("teams_host_not_known", host=host, expected=_WORKFLOW_HOSTS)


async def notify(event: Event, ctx: Context) -> None:
    """Post the event's card to the channel.

    A time-out is ambiguous: the workflow may have taken the card, and the retry then posts it twice. A card twice is
    better than no card.
    """
    settings = _settings()
    look = card.Look(
        LANGUAGES[settings.teams_language],
        settings.teams_action_url,
        settings.teams_work_order_url,
        settings.teams_photos,
    )
    response = await _post(card.encode(card.build(event, look)), ctx.http, settings)
    _judge(response)
    ctx.log.info("teams_workflow_accepted_card", status=response.status_code)  # accepted: posting comes later


async def _post(body: bytes, http: httpx2.AsyncClient, settings: TeamsSettings) -> httpx2.Response:
    try:
        return await http.post(
            settings.teams_webhook_url.get_secret_value(),
            content=body,
            headers={"content-type": "application/json"},
            timeout=httpx2.Timeout(settings.teams_timeout, connect=min(3.0, settings.teams_timeout)),
            follow_redirects=False,
        )
    except httpx2.HTTPError as error:  # its text may hold the URL, so only its name is kept
        raise TeamsUnavailable(f"the Teams workflow could not be reached: {type(error).__name__}") from None


def _judge(response: httpx2.Response) -> None:
    """Nothing for any 2xx; otherwise the exception that says what the worker is to do."""
    status = response.status_code
    if response.is_success:
        return
    if status in _TRANSIENT or status >= httpx2.codes.INTERNAL_SERVER_ERROR:
        reason = f"the Teams workflow answered {status}"
        wait = retry_after.seconds(response)
        raise TeamsUnavailable(reason) if wait is None else RetryLater(wait, reason)
    advice = {
        401: "; in the workflow's trigger, 'Who can trigger the flow' must be 'Anyone'",
        403: "; in the workflow's trigger, 'Who can trigger the flow' must be 'Anyone'",
        404: "; the workflow was deleted or turned off: make it again and set TEAMS_WEBHOOK_URL",
    }.get(status, "")
    raise GiveUp(f"the Teams workflow refused the card with {status}{advice}")
