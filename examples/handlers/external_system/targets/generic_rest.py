"""A REST API that takes JSON: the module to copy for a system of your own.

Copy it into a package of yours, edit it, set EXTERNAL_TARGET=acme.target, and see what would be sent:
python -m examples.handlers.external_system preview work_order.completed
"""

from examples.handlers.external_system.target import Json, Session, Target, at, no_auth, url
from worker import Event, WorkOrder

STATUS = {"Done": "COMPLETED", "Completed": "COMPLETED"}


def body(event: Event, order: WorkOrder) -> Json:
    """The target's fields. What is None is left out; TARGET says below what must not be."""
    results = [
        {
            "task": task.title,
            "status": task.status,
            "value": task.response and task.response.value,
            "unit": task.response and task.response.unit,
            "comment": task.response and task.response.comment,
            "photo": task.response and task.response.photo,
        }
        for task in order.tasks or ()
    ]
    return {
        "status": STATUS.get(order.status or "", order.status),
        "reference": order.code,
        "site": order.site and order.site.name,
        "asset": order.element and order.element.code,
        "started_at": order.started_at,
        "finished_at": order.finished_at or event.occurred_at,
        "finished_by": at(event.payload, "actor.name"),  # what no view has is in the payload
        "updated_at": event.occurred_at,
        "results": None if order.tasks is None else results,
    }


async def update(order: WorkOrder, body: Json, session: Session) -> None:
    """One PATCH, with a key that is the same on every try: a target that knows such keys applies it once."""
    path = url("/api/work-orders/{id}", id=order.id)
    await session.call("PATCH", path, body, headers={"Idempotency-Key": session.idempotency_key})


TARGET = Target(
    name="generic-rest",
    body=body,
    update=update,
    required=["status"],
    longest={"reference": 100},
    busy={409, 423},  # the first try with this key is still under way; someone has the record open
    auth=no_auth,  # or bearer, basic, api_key("X-Api-Key"), oauth2("/oauth/token")
)
