"""ServiceNow's stand-in refuses what ServiceNow refuses."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from examples import sink
from examples.stand_ins.servicenow import ServiceNow

CLIENT = {"grant_type": "client_credentials", "client_id": "client", "client_secret": "demo"}
TABLE = "/api/now/table/wm_order"
RECORD = "9d385017c611228701d22104cc95c371"


@pytest.fixture
def servicenow() -> ServiceNow:
    return ServiceNow()


@pytest.fixture
def client(servicenow: ServiceNow) -> Iterator[TestClient]:
    with TestClient(sink.create_app(servicenow=servicenow)) as client:
        yield client


def test_a_record_is_found_and_changed_with_a_token(client: TestClient) -> None:
    """Without one, or with one that was taken back, it is 401."""
    assert client.get(TABLE, params={"number": "WO0012"}).status_code == 401
    answer = client.post("/oauth_token.do", data=CLIENT).json()
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 1799)
    client.headers["authorization"] = f"Bearer {answer['access_token']}"
    assert client.get(TABLE, params={"number": "WO0012"}).json() == {"result": [{"sys_id": RECORD}]}
    assert client.patch(f"{TABLE}/{RECORD}", json={"state": "7"}).json()["result"]["state"] == "7"
    assert client.patch(f"{TABLE}/none", json={}).status_code == 404


def test_a_token_may_have_no_expiry(client: TestClient, servicenow: ServiceNow) -> None:
    """`null`, as some instances say."""
    servicenow.expires_in = None
    assert client.post("/oauth_token.do", data=CLIENT).json()["expires_in"] is None
    assert client.post("/oauth_token.do", data=CLIENT | {"client_secret": "wrong"}).status_code == 401


def test_it_can_hibernate_and_lose_answers(client: TestClient, servicenow: ServiceNow) -> None:
    """A page with 200; a change that is made while its answer is 502."""
    servicenow.tokens.add("t")
    client.headers["authorization"] = "Bearer t"
    client.post("/control/servicenow", json={"answers": [200], "page": True})
    assert client.get(TABLE).headers["content-type"] == "text/html; charset=utf-8"
    client.post("/control/servicenow", json={"answers": [502], "applied": True})
    assert client.patch(f"{TABLE}/{RECORD}", json={"state": "7"}).status_code == 502
    recorded = client.get("/recorded/servicenow").json()
    assert recorded["records"][RECORD]["state"] == "7"
    assert [request["status"] for request in recorded["requests"]] == [200, 502]
