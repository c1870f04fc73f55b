"""Which of our handlers gets which event: the table to edit, and three handlers to copy, change or delete.

Started with `HANDLERS=examples.handlers:ROUTES`. Each handler is a package (or module) of its own with its settings
beside it; a handler that is not in the table needs no settings.
"""

from examples.handlers import audit_log, external_system, teams
from worker import Routes

ROUTES: Routes = {
    "action.created": [teams.notify],
    "work_order.completed": [external_system.update],
    "*": [audit_log.append],  # every event, types not known yet included
}
