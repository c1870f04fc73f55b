"""A request that holds several events, where the payload map has batches: a delivery for each of them."""

from collections.abc import Mapping

from receiver import content
from receiver.delivery import Delivery
from receiver.events import batch
from receiver.idempotency import IdempotencyRule

PART = "part"
"""The name in `Delivery.more` by which an event of a batch says which of how many it is."""


def deliveries(rule: IdempotencyRule, headers: Mapping[str, str], body: bytes, received_us: int) -> list[Delivery]:
    """The deliveries of one request; nearly always one. Never raises: every body makes a delivery.

    The key of an event in a batch is found in the event alone: the request's headers are those of all its events.
    """
    if not rule.where.batch:
        return [rule.delivery(headers, body, received_us)]
    headers = rule.deciding(headers, body)
    if not (parts := _parts(headers, body, rule.where.batch, rule.max_body_bytes)):
        return [rule.delivery(headers, body, received_us)]
    media_type = headers.get("content-type", "application/json").replace("cloudevents-batch", "cloudevents")
    own = {"content-type": media_type}
    return [
        rule.delivery(own, part, received_us + number)._replace(more={PART: f"{number + 1} of {len(parts)}"})
        for number, part in enumerate(parts)
    ]


def check_parted(delivery: Delivery, path: str | None, limit: int) -> None:
    """Raises `Unreadable` for a batch that was kept whole; `path` is where its events are, if any are."""
    if path and PART not in delivery.more and (parts := batch.parts(delivery.headers, delivery.body, path, limit)):
        raise content.Unreadable(batch.unparted(len(parts)))


def _parts(headers: Mapping[str, str], body: bytes, path: str, limit: int) -> list[bytes] | None:
    """The text of each event of a batch; None where a body is none, or has more than `batch.MOST_EVENTS`."""
    try:
        parts = batch.parts(headers, body, path, limit)
    except content.Unreadable:
        return None
    return [part.encode() for part in parts] if parts and len(parts) <= batch.MOST_EVENTS else None
