"""Assembles the receiver: the endpoint, the intake behind it, and what runs beside both."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NotRequired, TypedDict

from starlette.middleware import Middleware
from starlette.routing import Route, Router

from receiver.alerts.alerting import Alerting
from receiver.alerts.settings import AlertSettings
from receiver.alerts.store import HostBook
from receiver.alerts.unsafe import Unsafe
from receiver.background import background
from receiver.endpoint import Endpoint
from receiver.environment import SettingsError, load
from receiver.health import healthy, spool_figures
from receiver.intake import Intake
from receiver.port.bodies import Bodies
from receiver.port.connections import Connections, affordable
from receiver.queue.connection import connect
from receiver.queue.keys import Keys
from receiver.refusals import OnlyAt, OnlyFor, not_found
from receiver.settings import ReceiverSettings
from receiver.shadow import Shadow
from receiver.spool import Spool, SpoolError
from receiver.spool.drain import ROW_TIMEOUT
from receiver.tally import Reports
from receiver.traces import Traces
from receiver.upkeep import Upkeep

PATH = "/webhooks/glartek/{token}"


class State(TypedDict):
    """What the lifespan hands to every request."""

    intake: Intake
    connections: Connections
    shadow: NotRequired[Shadow]


def create_app(settings: ReceiverSettings, middleware: Sequence[Middleware] = ()) -> Router:
    """The ASGI application; `middleware` sees every request, in the order given.

    A `Router` instead of `Starlette`, whose own middleware costs more than handling a delivery. Connects to Redis when
    it starts. Raises `SettingsError` if the spool cannot be used, a setting of alerts is wrong, or a package is missing
    that TRACES needs.
    """
    alerts = load(AlertSettings)
    traces = Traces(Keys(settings.key_prefix).queue) if settings.traces else None
    try:
        spool = Spool(settings.spool_path)
    except SpoolError as error:
        raise SettingsError(f"SPOOL_PATH: cannot be used: {error}; expected a file that can be written") from None
    bodies = Bodies(settings.max_buffered_bytes, settings.body_timeout)
    connections = Connections(
        most=affordable(settings.max_connections),
        per_address=settings.max_connections_per_address,
        max_head_bytes=settings.max_head_bytes,
        head_timeout=settings.head_timeout,
        keep_alive=settings.keep_alive,
    )
    endpoint = Endpoint(settings, bodies, traces)
    health = healthy if settings.health_port is None else OnlyAt(healthy, settings.health_port)
    return Router(
        [Route(PATH, OnlyFor(endpoint, "POST")), Route("/healthz", OnlyFor(health, "GET", "HEAD"))],
        redirect_slashes=False,  # Glartek takes a 307 for a failure, and its Location would repeat the token
        default=not_found,
        lifespan=lambda _: _running(settings, alerts, spool, bodies, connections),
        middleware=middleware,
    )


@asynccontextmanager
async def _running(
    settings: ReceiverSettings, alerts: AlertSettings, spool: Spool, bodies: Bodies, connections: Connections
) -> AsyncIterator[State]:
    """The intake, what runs beside it, and their connections to Redis, until the receiver ends."""
    keys, url = Keys(settings.key_prefix), settings.redis_url.get_secret_value()
    async with (
        connect(url, timeout=0.5, retries=1) as redis,
        connect(url, timeout=ROW_TIMEOUT, retries=0) as draining,
        connect(url, timeout=5, retries=1) as patient,
        connect(url, timeout=5, retries=0) as once,
    ):
        intake = Intake(redis, draining, keys, spool, settings.wait_replicas)
        upkeep = Upkeep(patient, keys, settings.spool_path, replicas=settings.wait_replicas > 0)
        unsafe = Unsafe(settings, alerts.alerts_doctor)

        def about() -> dict[str, Any]:
            return {
                "sources": settings.idempotency_sources,
                "spool": spool_figures(spool),
                "unsafe": unsafe.found,
            }

        reports = Reports(patient, keys, "receiver", about)
        alerting = Alerting(alerts, patient, keys, HostBook(settings.spool_path), lambda: spool.depth)
        beside = {"watch": intake.watch.run, "upkeep": upkeep.run, "reports": reports.run, "alerts": alerting.run}
        beside |= {"doctor": unsafe.run, "bodies": bodies.run, "connections": connections.run}
        state: State = {"intake": intake, "connections": connections}
        if settings.shadow_sources:
            state["shadow"] = Shadow(settings.shadow_rule(), settings.idempotency_sources, once, keys)
            beside["shadow"] = partial(state["shadow"].run, intake.watch)
        try:
            async with background(**beside):
                yield state
        finally:
            await intake.until_stored()
            await reports.end()
            await spool.close()
