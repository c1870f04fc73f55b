"""The stand-ins behave like what they stand in for."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx2
import pytest
from starlette.testclient import TestClient

from examples import sink

HOOK = "/workflows/0a1b/triggers/manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sig=abc"
CARD = {
    "type": "message",
    "attachments": [
        {
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": None,
            "content": {"type": "AdaptiveCard", "version": "1.5", "body": []},
        }
    ],
}


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(sink.create_app()) as client:
        yield client


def test_a_card_is_queued_and_can_be_read_back(client: TestClient) -> None:
    """Teams answers 202 for a signed message with a card, and the demo reads back what arrived."""
    assert client.post(HOOK, json=CARD).status_code == 202
    assert client.get("/recorded/teams").json()["accepted"][0]["message"] == CARD


def test_the_newer_url_form_is_served_too(client: TestClient) -> None:
    """Both forms of a workflow URL lead to the same channel."""
    assert client.post(f"/powerautomate/automations/direct{HOOK}", json=CARD).status_code == 202


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"no JSON", 400),
        (b"[]", 400),
        (b'{"type":"message","attachments":[]}', 400),
        (b'{"text":"the old connector format"}', 400),
        (b'{"type":"message","attachments":[{"contentType":"text/plain","content":{}}]}', 400),
        (b"x" * (sink.MAX_TEAMS_BYTES + 1), 413),
    ],
)
def test_what_is_no_card_is_refused(client: TestClient, body: bytes, status: int) -> None:
    """Anything but a message with Adaptive Cards under 28 KB is refused and recorded as refused."""
    assert client.post(HOOK, content=body, headers={"content-type": "application/json"}).status_code == status
    assert client.get("/recorded/teams").json()["refused"][0]["status"] == status


@pytest.mark.parametrize(
    ("text", "status"), [('"' * 3_000, 202), ('"' * 4_000, 413), ("x" * 13_900, 202), ("x" * 14_300, 413)]
)
def test_a_message_is_measured_as_teams_keeps_it(client: TestClient, text: str, status: int) -> None:
    """The card as JSON text in its message, in UTF-16: what is sent may be a quarter of that."""
    content = {"type": "AdaptiveCard", "version": "1.5", "body": [{"type": "TextBlock", "text": text}]}
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
    assert client.post(HOOK, json={"type": "message", "attachments": [attachment]}).status_code == status


def test_a_card_of_a_later_version_is_refused(client: TestClient) -> None:
    """Teams stops at Adaptive Cards 1.5."""
    attachment = CARD["attachments"][0]
    assert isinstance(attachment, dict)
    later = {**attachment, "content": {"type": "AdaptiveCard", "version": "1.6"}}
    assert client.post(HOOK, json={"type": "message", "attachments": [later]}).status_code == 400


def test_an_unsigned_request_is_refused(client: TestClient) -> None:
    """The query string is the credential."""
    assert client.post(HOOK.partition("?")[0], json=CARD).status_code == 401


def test_too_many_cards_a_second_are_turned_away(client: TestClient) -> None:
    """The fifth card within a second gets 429 and the seconds to wait; another workflow has a limit of its own."""
    answers = [client.post(HOOK, json=CARD) for _ in range(5)]
    assert client.post(HOOK.replace("0a1b", "other"), json=CARD).status_code == 202
    assert [answer.status_code for answer in answers] == [202, 202, 202, 202, 429]
    assert answers[-1].headers["retry-after"] == "1"


@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
def test_an_update_is_applied_once_per_key(client: TestClient, method: str) -> None:
    """A repeated idempotency key gets the first answer again and changes nothing."""
    headers = {"Idempotency-Key": "k1"}
    for status in ("Done", "Changed"):
        answer = client.request(method, "/api/work-orders/wo_1", json={"status": status}, headers=headers)
        assert answer.status_code == 200
    recorded = client.get("/recorded/external").json()
    assert recorded["work_orders"]["wo_1"] == {"status": "Done"}
    assert [request["applied"] for request in recorded["requests"]] == [True, False]


def test_a_patch_keeps_what_it_does_not_name(client: TestClient) -> None:
    """PATCH merges, PUT replaces, GET shows the state."""
    client.patch("/api/work-orders/wo_1", json={"status": "Done"})
    client.patch("/api/work-orders/wo_1", json={"note": "x"})
    assert client.get("/api/work-orders/wo_1").json() == {"status": "Done", "note": "x"}
    client.put("/api/work-orders/wo_1", json={"note": "y"})
    assert client.get("/api/work-orders/wo_1").json() == {"note": "y"}


def test_failures_come_as_ordered(client: TestClient) -> None:
    """An ordered failure is answered once with its Retry-After, and applies nothing."""
    assert client.post("/control/external", json={"answers": [503], "retry_after": 2}).status_code == 204
    failed = client.patch("/api/work-orders/wo_1", json={"status": "Done"}, headers={"Idempotency-Key": "k"})
    assert (failed.status_code, failed.headers["retry-after"]) == (503, "2")
    again = client.patch("/api/work-orders/wo_1", json={"status": "Done"}, headers={"Idempotency-Key": "k"})
    assert again.status_code == 200
    assert client.get("/recorded/external").json()["requests"][1]["applied"]


@pytest.mark.parametrize("wrong", ["[]", '{"answers": ["soon"]}', "no JSON", '{"delay": "long"}'])
def test_a_wrong_order_is_refused_in_one_line(client: TestClient, wrong: str) -> None:
    """A control request that cannot be read says what was expected."""
    answer = client.post("/control/teams", content=wrong)
    assert answer.status_code == 400
    assert "expected" in answer.json()["error"]["message"]


def test_a_system_that_there_is_not_is_said(client: TestClient) -> None:
    """Recorded or controlled: which there are, or what was expected."""
    assert client.get("/recorded/erp").json()["error"]["message"] == "expected teams, external, sap, servicenow"
    assert client.post("/control/erp", json={}).status_code == 400


def test_what_was_recorded_can_be_forgotten(client: TestClient) -> None:
    """DELETE /recorded starts afresh, idempotency keys included."""
    client.post(HOOK, json=CARD)
    for _ in range(2):
        client.put("/api/work-orders/wo_1", json={"status": "Done"}, headers={"Idempotency-Key": "k"})
        assert client.get("/recorded/external").json()["work_orders"] == {"wo_1": {"status": "Done"}}
        assert client.delete("/recorded").status_code == 204
    assert client.get("/recorded/teams").json() == {"accepted": [], "refused": []}


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_and_says_where(end: signal.Signals) -> None:
    """`--port 0` takes a free port, the first line says which, and a signal ends it cleanly."""
    with subprocess.Popen(
        [sys.executable, "-m", "examples.sink", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        assert httpx2.get(f"{url}/recorded/teams").json() == {"accepted": [], "refused": []}
        process.send_signal(end)
        assert process.wait(5) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_an_occupied_port_is_one_clear_line() -> None:
    """No traceback when the port is taken: one line, exit code 2."""
    with sink._listening(0) as taken:
        port = str(taken.getsockname()[1])
        result = subprocess.run(
            [sys.executable, "-m", "examples.sink", "--port", port], capture_output=True, text=True, check=False
        )
    assert result.returncode == 2
    assert result.stderr == f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another with --port\n"
