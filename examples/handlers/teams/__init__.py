"""Every Action created becomes a card in a Teams channel; any other type does too, a route is all it takes.

    event ─▶ card (pure) ─▶ outbox: order, rate ─▶ POST to the channel's workflow ─▶ accepted, later, or given up

In Teams: the channel's menu, Workflows, "Send webhook alerts to a channel"; its URL is TEAMS_WEBHOOK_URL. That URL is
a credential (its `sig`), so it is never logged and never part of an error.
"""

import asyncio
import hashlib
import time
from functools import cached_property, lru_cache
from typing import Annotated, Literal
from urllib.parse import urlsplit

import httpx2
import structlog
from pydantic import AfterValidator, Field, SecretStr, TypeAdapter

from examples.handlers import retry_after
from examples.handlers.teams import card
from examples.handlers.teams.content import Look
from examples.handlers.teams.outbox import FAILED, SENT, Later, Outbox, Outcome, Pace, Turn, Waiting
from examples.handlers.teams.words import LANGUAGES
from worker import Context, EnvSettings, Event, GiveUp, RetryLater, Seconds, Words, load

_WORKFLOW_HOSTS = (".logic.azure.com", ".api.powerplatform.com", ".logic.azure.us", ".api.powerplatform.us")
_RETIRED_HOSTS = (".webhook.office.com", ".outlook.office.com", ".outlook.office365.com")
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_TRANSIENT = {408, 425}
_STRETCH = 2.0  # seconds after which a run takes no further card, within the grace of a worker that stops
_MARGIN = 2.0  # seconds beyond the workflow's answer that a turn is held


class TeamsUnavailable(Exception):
    """The workflow could not be reached or failed for now; `seconds` is how long it asks to be left alone."""

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


class TeamsBusy(TeamsUnavailable):
    """The workflow takes no more cards for now, whichever they are."""


def _workflow_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
        httpx2.URL(text)  # what the client would refuse later
    except (ValueError, httpx2.InvalidURL):
        raise ValueError("expected the https:// URL of a Teams workflow") from None
    if f".{host}".endswith(_RETIRED_HOSTS):
        raise ValueError(
            "is an Office 365 connector, which Microsoft retired in May 2026; make the workflow "
            "'Send webhook alerts to a channel' in Teams and use its URL"
        )
    if not host or not (url.scheme == "https" or (url.scheme == "http" and host in _LOOPBACK)):
        raise ValueError("expected the https:// URL of a Teams workflow (http only for 127.0.0.1)")
    return value


def _rate(text: str) -> tuple[int, float]:
    count, _, seconds = text.partition("/")
    if not count.strip().isdecimal() or int(count) < 1 or not seconds.strip()[:1].isdigit():
        raise ValueError("expected limits such as 4/1s,60/30s: so many cards in so long")
    return int(count), float(TypeAdapter(Seconds).validate_python(seconds))


def _rates(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or any(seconds <= 0 for _, seconds in map(_rate, value)):
        raise ValueError("expected limits such as 4/1s,60/30s: so many cards in so long")
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
    teams_timeout: Seconds = Field(10.0, gt=0, le=15, description="longest wait for the workflow's answer")
    teams_rates: Annotated[Words, AfterValidator(_rates)] = Field(
        ("4/1s", "60/30s"), description="most cards in a time, for all workers together; every limit holds"
    )
    teams_settle: Seconds = Field(
        0.25, le=10, description="how long a card waits for an earlier one that another worker may just be handling"
    )
    teams_digest_above: int = Field(
        0, ge=0, description="cards in a window after which the rest of it becomes one card that lists them; 0 is never"
    )
    teams_digest_window: Seconds = Field(60.0, ge=1, description="that window")

    @cached_property
    def look(self) -> Look:
        return Look(LANGUAGES[self.teams_language], self.teams_action_url, self.teams_work_order_url, self.teams_photos)

    @cached_property
    def pace(self) -> Pace:
        return Pace(
            limits=[_rate(text) for text in self.teams_rates],
            settle=self.teams_settle,
            digest_above=self.teams_digest_above,
            digest_window=self.teams_digest_window,
            lease=self.teams_timeout + _MARGIN,
        )

    @cached_property
    def channel(self) -> str:
        """A name for the channel's keys in Redis that does not give its URL away."""
        return hashlib.sha256(self.teams_webhook_url.get_secret_value().encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def _settings() -> TeamsSettings:
    return load(TeamsSettings)


def configure() -> None:
    """Read the settings once, at start. Raises `SettingsError` with one line for each mistake."""
    _settings.cache_clear()
    host = urlsplit(_settings().teams_webhook_url.get_secret_value()).hostname or ""
    if not host.endswith(_WORKFLOW_HOSTS) and host not in _LOOPBACK:
        # Microsoft has changed these hosts before, so a new one is worth a look and no reason to stop.
        structlog.get_logger().warning("teams: host not known", host=host, expected=_WORKFLOW_HOSTS)


async def notify(event: Event, ctx: Context) -> None:
    """Post the event's card to the channel, in order of acceptance and within the channel's rate.

    A time-out is ambiguous: the workflow may have taken the card, and the retry then posts it twice. A card twice is
    better than no card.
    """
    settings = _settings()
    outbox = Outbox(ctx.redis, f"{ctx.prefix}teams:{settings.channel}:", settings.pace)
    entry = {"message": card.build(event, settings.look), "line": card.line(event, settings.look)}
    until = time.monotonic() + _STRETCH
    mine: Waiting | None = Waiting(ctx.idempotency_key, ctx.received_at, ctx.attempt, entry)
    outcome = ""
    while time.monotonic() < until:
        match await outbox.take(mine):
            case Turn() as turn:
                await _send(turn, outbox, settings, ctx)
            case Outcome(outcome):
                mine = None  # the channel may take more, and those whose cards wait were told to come later
            case Later(seconds):
                if mine is not None:
                    raise RetryLater(seconds)  # it waits its turn, which is no failure
                break
    if mine is not None:
        raise RetryLater(0.1)
    _conclude(outcome)


def _conclude(outcome: str) -> None:
    if outcome == FAILED:
        raise TeamsUnavailable("the Teams workflow could not be reached or failed, several times in a row")
    if outcome != SENT:
        raise GiveUp(outcome)


async def _send(turn: Turn, outbox: Outbox, settings: TeamsSettings, ctx: Context) -> None:
    """Send the card at the head, whoever's it is; what became of it is for its own handler to find."""
    try:
        response = await _post(_body(turn, settings), ctx.http, settings)
        _judge(response)
    except TeamsBusy as busy:
        ctx.log.info("teams: workflow busy", seconds=busy.seconds, reason=str(busy))
        await outbox.busy(turn, busy.seconds)
    except TeamsUnavailable as error:
        ctx.log.warning("teams: workflow unavailable", reason=str(error))
        await outbox.failed(turn, error.seconds)
    except GiveUp as refusal:
        await outbox.refused(turn, refusal.reason)
    except BaseException:  # cancelled, or a card that this version cannot send: no other has to wait for it
        await outbox.failed(turn, 0)
        raise
    else:
        ctx.log.info("teams: workflow accepted a card", status=response.status_code, events=len(turn.keys))
        await outbox.sent(turn)  # accepted is not posted yet: 202 means that a flow was queued


def _body(turn: Turn, settings: TeamsSettings) -> bytes:
    if len(turn.entries) == 1:
        return card.encode(turn.entries[0]["message"])
    lines = [entry["line"] for entry in turn.entries]
    return card.encode(card.digest(lines, settings.look, settings.teams_digest_window))


async def _post(body: bytes, http: httpx2.AsyncClient, settings: TeamsSettings) -> httpx2.Response:
    try:
        async with asyncio.timeout(settings.teams_timeout):  # httpx2's own is for each step: the sum must end, too
            return await http.post(
                settings.teams_webhook_url.get_secret_value(),
                content=body,
                headers={"content-type": "application/json"},
                timeout=httpx2.Timeout(settings.teams_timeout, connect=min(5.0, settings.teams_timeout)),
                follow_redirects=False,
            )
    except (httpx2.HTTPError, TimeoutError) as error:  # its text may hold the URL, so only its name is kept
        raise TeamsUnavailable(f"the Teams workflow could not be reached: {type(error).__name__}") from None


def _judge(response: httpx2.Response) -> None:
    """Nothing for any 2xx; otherwise the exception that says what became of the card."""
    status = response.status_code
    if response.is_success:
        return
    reason, wait = f"the Teams workflow answered {status}", retry_after.seconds(response) or 0.0
    if status == httpx2.codes.TOO_MANY_REQUESTS:
        raise TeamsBusy(reason, wait)
    if status in _TRANSIENT or status >= httpx2.codes.INTERNAL_SERVER_ERROR:
        raise TeamsUnavailable(reason, wait)
    advice = {
        401: "; in the workflow's trigger, 'Who can trigger the flow' must be 'Anyone'",
        403: "; in the workflow's trigger, 'Who can trigger the flow' must be 'Anyone'",
        404: "; the workflow was deleted or turned off: make it again and set TEAMS_WEBHOOK_URL",
    }.get(status, "")
    raise GiveUp(f"the Teams workflow refused the card with {status}{advice}")
