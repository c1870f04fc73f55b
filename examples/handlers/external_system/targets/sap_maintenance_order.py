"""SAP S/4HANA, OData V2 service API_MAINTENANCEORDER: the finished Work Order's times and name go to its order.

SAP wants a CSRF token with its session's cookie, and the order's ETag in If-Match; all come from one GET of the order
before the PATCH. The Work Order's code must be SAP's order number; fields and their lengths depend on your system:
compare them with its $metadata. SAP's OData knows no idempotency key; the ETag keeps a repeat from doing harm.
"""

from datetime import datetime

from examples.handlers.external_system.target import Answer, Json, Session, Target, basic, cut, url
from worker import Event, WorkOrder

PATH = "/sap/opu/odata/sap/API_MAINTENANCEORDER/MaintenanceOrder('{code}')"


def odata(time: datetime | None) -> str | None:
    """Edm.DateTimeOffset in OData V2's JSON: milliseconds, and the offset in minutes."""
    return f"/Date({int(time.timestamp() * 1000)}+0000)/" if time else None


def body(event: Event, order: WorkOrder) -> Json:
    return {
        "MaintenanceOrderDesc": cut(order.name, 40),
        "MaintOrdBasicStartDateTime": odata(order.started_at),
        "MaintOrdBasicEndDateTime": odata(order.finished_at),
    }


async def update(order: WorkOrder, body: Json, session: Session) -> None:
    path = url(PATH, code=order.code and order.code.replace("'", "''"))  # an OData key doubles its quotes
    found = await session.call("GET", path, headers={"x-csrf-token": "Fetch"})
    match = {"x-csrf-token": found.header("x-csrf-token"), "if-match": found.header("etag")}
    await session.call("PATCH", path, body, headers=match)


def success(answer: Answer) -> bool:
    """204 for a PATCH, the order for a GET; a login page comes with 200, too."""
    return answer.status == 204 or (answer.status == 200 and isinstance(answer.at("d"), dict))


def anew(answer: Answer) -> bool:
    """The order was changed since it was read (412), or the session is over, and the token with it."""
    csrf = answer.response.headers.get("x-csrf-token", "").casefold()
    return answer.status == 412 or (answer.status == 403 and csrf == "required")


TARGET = Target(
    name="sap-maintenance-order",
    body=body,
    update=update,
    success=success,
    anew=anew,
    busy={409, 423},  # the order is open on someone's screen
    required=["MaintOrdBasicEndDateTime"],
    auth=basic,  # EXTERNAL_USERNAME and EXTERNAL_PASSWORD: a communication user
)
