"""The handler configured for a stand-in that behaves like SAP or ServiceNow where it hurts."""

from collections.abc import Callable

import pytest
from starlette.applications import Starlette

from examples.handlers import external_system
from examples.stand_ins.sap import Sap
from examples.stand_ins.servicenow import ServiceNow

Configure = Callable[..., None]


@pytest.fixture
def configure(clean_environment: object, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Set EXTERNAL_… variables and read them, as the worker does at its start."""
    assert clean_environment

    def set_all(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"EXTERNAL_{name.upper()}", value)
        external_system.configure()

    return set_all


@pytest.fixture
def sap(serve: Callable[[Starlette], str], configure: Configure) -> Sap:
    """An SAP system, and the handler configured for it."""
    sap = Sap(password="pá$$")
    url = serve(Starlette(routes=sap.routes))
    configure(url=url, target="sap_maintenance_order", username="glartek", password="pá$$")
    return sap


@pytest.fixture
def servicenow(serve: Callable[[Starlette], str], configure: Configure) -> ServiceNow:
    """A ServiceNow instance, and the handler configured for it."""
    servicenow = ServiceNow()
    url = serve(Starlette(routes=servicenow.routes))
    configure(url=url, target="servicenow", client_id="client", client_secret="demo")
    return servicenow
