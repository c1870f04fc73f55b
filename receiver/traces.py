"""Optional traces (TRACES): a span for each POST, and one for each run of a handler, in OpenTelemetry's form.

    accept glartek:queue             continues the trace of the sender's `traceparent`, if the request has one
    ├── run teams.notify             the first run of a handler is a child of the POST
    └── run audit_log.append
    run teams.notify  ╌╌ link ╌╌▶    a later run is a trace of its own: it may be days later

The POST's `traceparent` travels with the delivery, through the spool, too. A span has no payload, no header and no text
of an error. The kit calls OpenTelemetry's API, which records nothing by itself: docs/operations.md says how to bring an
SDK. The API is imported only where TRACES is on.
"""

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.types import Scope

import receiver
from receiver import events
from receiver.acceptance import Acceptance
from receiver.delivery import Delivery
from receiver.environment import SettingsError

if TYPE_CHECKING:
    from opentelemetry.trace import Span

TRACEPARENT = "traceparent"
"""The W3C header, and its name in a delivery's `more`. `tracestate`, which may be long, does not travel."""
_SPAN = "glartek.span"  # in the ASGI scope of a request
_W3C = {b"traceparent", b"tracestate"}


class Traces:
    """The traces of one process; `queue` is the destination that its spans name.

    Raises `SettingsError` when the API is not installed.
    """

    def __init__(self, queue: str) -> None:
        try:
            from opentelemetry import context, trace  # noqa: PLC0415 - see the module
            from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415
        except ImportError:
            raise SettingsError(
                "TRACES: expected the package opentelemetry-api; install it, and what records the traces, with: "
                "pip install opentelemetry-distro opentelemetry-exporter-otlp-proto-http"
            ) from None
        self._api, self._form = trace, tracecontext.TraceContextTextMapPropagator()
        self._tracer = trace.get_tracer("glartek-webhook-kit", receiver.VERSION)
        self._nothing = context.Context()
        self._queue = queue

    async def of_post(self, scope: Scope, stored: Awaitable[tuple[Sequence[Delivery], Sequence[Acceptance]]]) -> None:
        """Await the storing of a request as a span: one whose token was right, for strangers must not fill a backend.

        It is not the current span: the call that stores a batch would be a part of its first request's trace.
        """
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _W3C}
        span = scope[_SPAN] = self._tracer.start_span(
            f"accept {self._queue}",
            self._form.extract(headers, self._nothing),
            self._api.SpanKind.PRODUCER,
            self._attributes("accept", "send"),
        )
        try:
            deliveries, acceptances = await stored
            span.set_attributes(_about(deliveries))
            span.set_attribute("glartek.acceptance", [acceptance.name.lower() for acceptance in acceptances])
        except BaseException as error:
            self._failed(span, str(error.status_code) if isinstance(error, HTTPException) else type(error).__name__)
            raise
        finally:
            span.end()

    def carried(self, scope: Scope, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """The deliveries of a request with its span's context; as they were where nothing records and none came."""
        fields: dict[str, str] = {}
        self._form.inject(fields, self._api.set_span_in_context(scope[_SPAN], self._nothing))
        if not (context := fields.get(TRACEPARENT)):
            return deliveries
        return [delivery._replace(more={**delivery.more, TRACEPARENT: context}) for delivery in deliveries]

    async def of_run(
        self, work: Awaitable[None], delivery: Delivery, handler: str, attempt: int, *, calm: tuple[type, ...]
    ) -> None:
        """Await one run of a handler, as the current span; an error of a type in `calm` is no failure."""
        context = delivery.more.get(TRACEPARENT)
        accepted = self._form.extract({TRACEPARENT: context} if isinstance(context, str) else {}, self._nothing)
        post = self._api.get_current_span(accepted).get_span_context()
        is_first = attempt == 1
        with self._tracer.start_as_current_span(
            f"run {handler}",
            accepted if is_first else self._nothing,
            self._api.SpanKind.CONSUMER,
            {**self._attributes("run", "process"), **_about([delivery]), "glartek.attempt": attempt},
            [] if is_first or not post.is_valid else [self._api.Link(post)],
            record_exception=False,  # its text may hold a payload
            set_status_on_exception=False,
        ) as span:
            span.set_attribute("messaging.consumer.group.name", handler)
            try:
                await work
            except BaseException as error:
                if isinstance(error, calm):
                    span.set_attribute("glartek.raised", type(error).__name__[:300])
                else:
                    self._failed(span, type(error).__name__[:300])
                raise

    def _attributes(self, name: str, kind: str) -> dict[str, str]:
        """What both kinds of spans have, named as in OpenTelemetry's conventions for messaging."""
        return {
            "messaging.system": "arq",
            "messaging.destination.name": self._queue,
            "messaging.operation.name": name,
            "messaging.operation.type": kind,
        }

    def _failed(self, span: "Span", error_type: str) -> None:
        span.set_attribute("error.type", error_type)
        span.set_status(self._api.StatusCode.ERROR)


def _about(deliveries: Sequence[Delivery]) -> dict[str, str | int]:
    """What tells one event from another without any of its content; only of the number in a batch."""
    if len(deliveries) > 1:
        return {"messaging.batch.message_count": len(deliveries)}
    [delivery] = deliveries
    return {
        "messaging.message.id": delivery.id,
        "messaging.message.body.size": len(delivery.body),
        "glartek.event.type": events.counted_as(delivery.event_type),
    }
