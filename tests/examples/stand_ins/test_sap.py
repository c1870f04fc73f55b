"""SAP's stand-in refuses what SAP refuses."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from examples import sink
from examples.stand_ins.sap import Sap

ORDER = "/sap/opu/odata/sap/API_MAINTENANCEORDER/MaintenanceOrder('4000123')"
AUTH = ("glartek", "demo")


@pytest.fixture
def sap() -> Sap:
    return Sap()


@pytest.fixture
def client(sap: Sap) -> Iterator[TestClient]:
    with TestClient(sink.create_app(sap=sap)) as client:
        yield client


def read(client: TestClient) -> dict[str, str]:
    """The headers that a PATCH needs, from a GET."""
    headers = client.get(ORDER, auth=AUTH, headers={"x-csrf-token": "Fetch"}).headers
    return {"x-csrf-token": headers["x-csrf-token"], "if-match": headers["etag"]}


def patch(client: TestClient, headers: dict[str, str], **changes: Any) -> int:
    return client.patch(ORDER, auth=AUTH, headers=headers, json=changes or {"MaintPriority": "1"}).status_code


def test_a_token_is_good_with_its_own_cookie_only(client: TestClient) -> None:
    """The token of one session with the cookie of another is refused, and said how."""
    first = read(client)
    client.cookies.clear()
    second = read(client)
    assert patch(client, first) == 403
    assert client.patch(ORDER, auth=AUTH, headers=first, json={}).headers["x-csrf-token"] == "Required"
    assert patch(client, second) == 204


def test_a_change_needs_the_etag_of_what_is_there(client: TestClient, sap: Sap) -> None:
    """None is 428, an old one is 412."""
    headers = read(client)
    assert patch(client, {"x-csrf-token": headers["x-csrf-token"]}) == 428
    sap.change("4000123", MaintPriority="2")
    assert patch(client, headers) == 412


def test_a_locked_order_and_a_long_text_are_refused(client: TestClient, sap: Sap) -> None:
    """423 while a person has it open; 40 UTF-16 units of description."""
    sap.locked.add("4000123")
    assert patch(client, read(client)) == 423
    sap.locked.clear()
    assert patch(client, read(client), MaintenanceOrderDesc="\U0001f600" * 21) == 400
    assert patch(client, read(client), MaintenanceOrderDesc="\U0001f600" * 20) == 204


def test_a_login_page_can_be_ordered(client: TestClient) -> None:
    """For one method and once; what was asked is recorded and can be forgotten."""
    client.post("/control/sap", json={"answers": [200], "page": True, "method": "PATCH"})
    headers = read(client)
    page = client.patch(ORDER, auth=AUTH, headers=headers, json={})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert patch(client, headers) == 204
    recorded = client.get("/recorded/sap").json()
    assert [request["status"] for request in recorded["requests"]] == [200, 200, 204]
    assert recorded["orders"]["4000123"]["MaintPriority"] == "1"
    client.delete("/recorded")
    assert client.get("/recorded/sap").json()["requests"] == []


def test_a_stranger_gets_a_page(client: TestClient) -> None:
    """SAP's own answer to wrong credentials is HTML."""
    answer = client.get(ORDER, auth=("glartek", "wrong"))
    assert (answer.status_code, answer.headers["content-type"]) == (401, "text/html; charset=utf-8")
