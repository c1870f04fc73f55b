"""Which of our handlers gets which event: the table to edit, and three handlers to copy, change or delete.

Started with `HANDLERS=examples.handlers:ROUTES`. Each handler is a package (or module) of its own with its settings
beside it; a handler that is not in the table needs no settings.
"""

from examples.handlers import audit_log, external_system, teams
from worker import Routes, in_order

ROUTES: Routes = {
    # One line for the channel, in which all workers together post no faster than Teams takes cards.
    "action.created": [in_order(teams.notify, by="handler", rate="4/1s, 60/30s")],
    "work_order.completed": [in_order(external_system.update)],  # one line for each Work Order
    "*": [audit_log.append],  # every event, types not known yet included
}
