"""A customer's own payloads, unlike the kit's in every name, and the payload.toml that says where their fields are."""

from typing import Any

PAYLOAD_TOML = """
[event]
id = "eventGuid"
type = "webhookType"
time = "triggeredAt"
time_zone = "Europe/Lisbon"

[work_order]
at = "data"
id = "workOrderId"
name = "workOrderName"
status = "state"
assignees = "assignedUsers[]"
finished_at = "doneAt"

[action]
at = "data"
id = "actionId"
priority = "prio"
created_by = "openedBy"

[action.values]
priority = { "3" = "High" }
"""
COMPLETED: dict[str, Any] = {
    "webhookType": "Work Order Completed",
    "tenant": {"id": 77},
    "eventGuid": "3f0c2d3e-0000-4000-8000-000000000001",
    "triggeredAt": "2026-11-20 14:03:11",
    "data": {
        "workOrderId": 991,
        "workOrderName": "Pump 7 weekly",
        "state": "Done",
        "assignedUsers": ["ana@example.com"],
        "doneAt": "2026-11-20T14:03:10Z",
    },
}
CREATED: dict[str, Any] = {
    "webhookType": "Action Created",
    "eventGuid": "3f0c2d3e-0000-4000-8000-000000000002",
    "data": {"actionId": "A-12", "title": "Oil leak", "prio": 3, "openedBy": "rui@example.com"},
}
