"""What happens at acme for each event: HANDLERS=acme:ROUTES in `.env`."""

from worker import Routes

from .handlers import page, report

ROUTES: Routes = {
    "action.created": [page],
    "work_order.completed": [report],
    "*": [],  # handlers here get every event, types not known yet included
}
