"""The webhook endpoint: check token and size, find the key, store, answer 200.

Glartek takes 200 and 201 as success and nothing else, waits ten seconds, and reads neither headers nor body of an
answer; so there is one good answer, given at once, and it is empty.

The endpoint is an ASGI application of its own: what Starlette would put between (a request object, a body limit that
looks at the headers again, a timer for each body) costs more than the delivery itself.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

import structlog
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from receiver import auth, batches
from receiver.acceptance import Acceptance
from receiver.delivery import Delivery
from receiver.intake import NotStored
from receiver.port.bodies import Bodies, Body
from receiver.port.framing import read_body
from receiver.refusals import RefusedAfterReading
from receiver.settings import ReceiverSettings
from receiver.traces import Traces

USUAL_HEADERS = 4096
"""Bytes of headers kept with a delivery that do not count against MAX_BODY_BYTES."""
ACCEPTED: tuple[Message, ...] = (
    {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]},
    {"type": "http.response.body"},
)
_WORDS = {acceptance: acceptance.name.lower() for acceptance in Acceptance}
"""As the log has them; an enum's `name` takes as long as the rest of the line's fields."""

log = structlog.get_logger()


class Endpoint:
    """`POST /webhooks/glartek/{token}`: a 200 means that the delivery, or its equal, is safe on a disk."""

    def __init__(self, settings: ReceiverSettings, bodies: Bodies, traces: Traces | None = None) -> None:
        self._tokens = [token.get_secret_value().encode() for token in settings.webhook_token]
        self._signing_secrets = [secret.get_secret_value() for secret in settings.signing_secrets]
        self._rule = settings.idempotency_rule()
        self._has_shadow = bool(settings.shadow_sources)
        self._max_body_bytes = settings.max_body_bytes
        self._fits_with_any_headers = settings.max_body_bytes + USUAL_HEADERS - settings.max_head_bytes
        self._bodies, self._traces = bodies, traces
        self._log = log.bind()  # made ready once: the module's is looked up anew at each call
        self._tells = self._log.is_enabled_for(logging.INFO)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not auth.is_one_of(scope["path_params"]["token"], self._tokens):
            raise HTTPException(404)
        if self._traces:
            await self._traces.of_post(scope, self._store(scope, receive))
        else:
            await self._store(scope, receive)
        for message in ACCEPTED:
            await send(message)

    async def _store(self, scope: Scope, receive: Receive) -> tuple[Sequence[Delivery], Sequence[Acceptance]]:
        """What came and what became of it, once it is safe. Raises HTTPException with the status of another answer."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            with Body(self._bodies) as body:
                content = await read_body(receive, body, scope["headers"], headers, self._max_body_bytes)
                if self._signing_secrets and not auth.verify(self._signing_secrets, headers, content, time.time()):
                    raise RefusedAfterReading(401)
                received_us = time.time_ns() // 1000
                deliveries: Sequence[Delivery] = batches.deliveries(self._rule, headers, content, received_us)
                if self._traces:
                    deliveries = self._traces.carried(scope, deliveries)
                if len(content) > self._fits_with_any_headers and self._is_too_much(content, deliveries[0].headers):
                    raise RefusedAfterReading(413)
                acceptances = await scope["state"]["intake"].accept_all(deliveries)
        except NotStored:
            raise RefusedAfterReading(503, headers={"retry-after": "5"}) from None
        except asyncio.CancelledError:  # the server stops and has waited long enough for this sender
            raise RefusedAfterReading(503, headers={"retry-after": "1"}) from None
        if self._has_shadow:
            scope["state"]["shadow"].see(headers, deliveries)
        if self._tells:
            self._tell(deliveries, acceptances)
        return deliveries, acceptances

    def _is_too_much(self, content: bytes, headers: Mapping[str, str]) -> bool:
        kept = "".join([*headers, *headers.values()])
        return len(content) + len(kept) > self._max_body_bytes + USUAL_HEADERS

    def _tell(self, deliveries: Sequence[Delivery], acceptances: Sequence[Acceptance]) -> None:
        for delivery, acceptance in zip(deliveries, acceptances, strict=True):
            self._log.info(
                "accepted",
                **delivery.for_log(),
                acceptance=_WORDS[acceptance],
                key_from=delivery.source,
                bytes=len(delivery.body),
            )
