"""ServiceNow, Table API: a finished Work Order closes the record with its number.

The API wants the record's sys_id, so it is looked up by number first. ServiceNow limits requests by the hour: 429 with
Retry-After, and X-RateLimit-Reset in Unix time. State numbers differ between tables and systems: compare yours.
The Table API knows no idempotency key; correlation_id shows where the update came from. Nothing is sent to a journal
such as work_notes: a repeat, after an answer that got lost, would be a second entry.
"""

import re
from datetime import UTC, datetime

from examples.handlers.external_system.target import Answer, Json, Session, Target, Unmappable, at, cut, oauth2, url
from worker import Event, GiveUp, WorkOrder

LOOKUP = "/api/now/table/wm_order?number={number}&sysparm_fields=sys_id&sysparm_limit=1"
RECORD = "/api/now/table/wm_order/{sys_id}"
NUMBER = re.compile(r"[\w-]+", re.ASCII)
STATE = {"Done": "7", "Completed": "7"}


def utc(time: datetime | None) -> str | None:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if time else None


def body(event: Event, order: WorkOrder) -> Json:
    actor = at(event.payload, "actor.name")
    notes = (order.template, order.name, f"done by {actor}" if actor else None)
    return {
        "state": STATE.get(order.status or "", order.status),
        "work_start": utc(order.started_at),
        "work_end": utc(order.finished_at),
        "correlation_id": order.id,
        "close_notes": cut(", ".join(filter(None, notes)), 4000) or None,
    }


async def update(order: WorkOrder, body: Json, session: Session) -> None:
    number = order.code or ""
    if not NUMBER.fullmatch(number):  # ServiceNow gives ^ and some words in a query a meaning
        raise Unmappable("the Work Order's code is no record's number, such as WO0012")
    found = await session.call("GET", url(LOOKUP, number=number))
    if not (sys_id := found.at("result.0.sys_id")):
        raise GiveUp("the external system has no record for this Work Order")
    await session.call("PATCH", url(RECORD, sys_id=str(sys_id)), body)


def success(answer: Answer) -> bool:
    """The Table API answers with a result; an instance that hibernates answers 200 with a page."""
    return answer.status == 200 and answer.at("result") is not None


TARGET = Target(
    name="servicenow",
    body=body,
    update=update,
    success=success,
    required=["state"],
    longest={"correlation_id": 100},
    auth=oauth2("/oauth_token.do", in_body=True),  # EXTERNAL_CLIENT_ID and EXTERNAL_CLIENT_SECRET
)
