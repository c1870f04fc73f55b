"""Two small handlers to start from: change them, delete them, write your own."""

from functools import cache

from pydantic import Field

from worker import Context, EnvSettings, Event, GiveUp, RetryLater, Skip, load


class OwnSettings(EnvSettings):
    """What these handlers need, from the environment or `.env`."""

    acme_pager_url: str | None = Field(None, pattern="^https?://", description="who is told of urgent Actions")
    acme_reports_url: str | None = Field(None, pattern="^https?://", description="who gets finished Work Orders")


@cache
def settings() -> OwnSettings:
    """Read once."""
    return load(OwnSettings)


def configure() -> None:
    """Called once when the worker starts: a wrong setting stops it with one line, instead of failing every event."""
    settings()


async def page(event: Event, ctx: Context) -> None:
    """Page somebody when an Action of high priority is created."""
    action = event.action  # a typed view; every field is optional, because nothing of the payload is documented
    if action is None or action.priority != "High":
        raise Skip("no Action of high priority")  # nothing to do: an end, like done
    url = settings().acme_pager_url
    if url is None:
        raise Skip("ACME_PAGER_URL is not set")
    answer = await ctx.http.post(
        url,
        json={"text": action.title or "An Action without a title"},
        headers={"Idempotency-Key": ctx.idempotency_key},  # the same on every try: nobody is paged twice
    )
    match answer.status_code:
        case 429:
            raise RetryLater(60, "the pager asks us to wait")  # again then
        case 400:
            raise GiveUp("the pager refuses this text")  # no retry can help: a dead letter now
    answer.raise_for_status()  # any other exception: again, with back-off


async def report(event: Event, ctx: Context) -> None:
    """Send a finished Work Order to who counts them."""
    order, url = event.work_order, settings().acme_reports_url
    if order is None or url is None:
        raise Skip("no Work Order" if url else "ACME_REPORTS_URL is not set")
    fields = {"id": order.id, "name": order.name, "finished_at": order.finished_at and order.finished_at.isoformat()}
    answer = await ctx.http.post(url, json=fields, headers={"Idempotency-Key": ctx.idempotency_key})
    answer.raise_for_status()
