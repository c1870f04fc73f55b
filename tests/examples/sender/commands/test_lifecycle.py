import json
from pathlib import Path

import pytest

from examples.sender.http import delivery
from examples.sender.http.message import Message
from examples.sender.http.recording import Answer, RecordingReceiver
from examples.sender.http.signing import Signer
from examples.sender.play.endpoints import Endpoint, Policy
from examples.sender.play.webhooks import Webhook
from receiver import auth
from tests.examples.sender.conftest import Run

pytestmark = pytest.mark.anyio
CREATED = Message.of({"id": "e1", "type": "action.created"})
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def endpoint(receiver: RecordingReceiver, policy: Policy, signer: Signer | None = None) -> Endpoint:
    return Endpoint(Webhook(frozenset({"action.created"}), receiver.url), policy, signer)


async def test_each_webhook_gets_its_types_and_a_report(run: Run, tmp_path: Path) -> None:
    """Two webhooks from a file: each receives exactly its types, in order, and is reported by itself."""
    async with RecordingReceiver() as one, RecordingReceiver(lambda _: Answer(500)) as other:
        file = tmp_path / "webhooks.toml"
        file.write_text(
            f'[[webhook]]\ntypes = "all"\nurl = "{one.url}"\n'
            f'[[webhook]]\ntypes = ["Work Order Completed"]\nurl = "{other.url}"\n'
        )
        arguments = ("--webhooks", str(file), "--speed", "0", "--seed", "5", "--work-orders", "4")
        finished = await run("lifecycle", *arguments, "--retries", "0.01", "--json")
        plain = await run("lifecycle", *arguments, "--retries", "")
        dry = await run("lifecycle", *arguments, "--dry-run")
        some = await run("lifecycle", "--webhook", f"Action Created={one.url}", "--seed", "5", "--dry-run")
        wrong = await run("lifecycle", "--webhook", "Action Created=no URL", "--dry-run")
    assert {json.loads(line)["type"] for line in some.out.splitlines()} == {"action.created"}
    assert (wrong.code, wrong.out) == (2, "")
    told = [json.loads(line) for line in dry.out.splitlines()]
    completed = [payload["type"] for payload in told].count("work_order.completed")
    first, second = finished.json()["endpoints"]
    assert (finished.code, plain.code, dry.code) == (1, 1, 0)
    assert [json.loads(arrival.body) for arrival in one.of()] == told * 2
    assert {arrival.type for arrival in other.of()} == {"work_order.completed"}
    assert (first["delivered"], first["failed"]) == (len(told), 0)
    assert (second["failed"], second["requests"], second["answers"]) == (
        completed,
        2 * completed,
        {"500": 2 * completed},
    )
    assert finished.json()["settings"]["retries"] == [0.01]
    assert "500 is not 200 or 201" in plain.out
    assert "disabling: off" in plain.out


async def test_life_cycles_are_told_in_a_customer_s_payloads(run: Run, tmp_path: Path) -> None:
    """`--samples`: the story's order and times, the customer's fields; one id for each Work Order and Action."""
    for kind in ("work_order.created", "work_order.completed", "action.created"):
        part = {"id": "a_000001", "workOrder": "w_000001"} if kind.startswith("a") else {"id": "w_000001"}
        sample = {"webhookType": kind, "eventId": "e_000001", "timestamp": "2026-01-01 10:00:00", "data": part}
        (tmp_path / f"{kind}.json").write_text(json.dumps(sample))
    dry = await run("lifecycle", "--dry-run", "--samples", str(tmp_path), "--seed", "5", "--work-orders", "3")
    ours = await run("lifecycle", "--dry-run", "--seed", "5", "--work-orders", "3")
    told = [json.loads(line) for line in dry.out.splitlines()]
    told_ours = [json.loads(line) for line in ours.out.splitlines()]
    there = {"work_order.created", "work_order.completed", "action.created"}
    expected = [one for one in told_ours if one["type"] in there]
    assert [one["webhookType"] for one in told] == [one["type"] for one in expected]
    assert [one["timestamp"] for one in told] == [one["occurred_at"][:19].replace("T", " ") for one in expected]
    ids: dict[str, str] = {}
    for one, ours_ in zip(told, expected, strict=True):
        subject = ours_.get("work_order") or ours_["action"]
        assert ids.setdefault(subject["id"], one["data"]["id"]) == one["data"]["id"]
    assert len(set(ids.values())) == len(ids)
    assert len({one["eventId"] for one in told}) == len(told)


async def test_disorder_is_done_and_reported(run: Run, recording_receiver: RecordingReceiver) -> None:
    """Dropped events never come, duplicates come twice with the same bytes, and the report counts both."""
    to = ("--to", recording_receiver.url, "--speed", "0", "--seed", "6", "--json")
    finished = await run(
        "lifecycle", *to, "--drop", "0.3", "--duplicate", "0.5", "--shuffle", "3", "--remove", "work_order.labels"
    )
    disorder = finished.json()["settings"]["disorder"]
    bodies = [arrival.body for arrival in recording_receiver.of()]
    assert finished.code == 0
    assert not any("labels" in json.loads(body).get("work_order", {}) for body in bodies)
    assert len(bodies) - len(set(bodies)) == disorder["duplicated"] > 0
    assert disorder["dropped"] > 0


async def test_time_can_be_made_to_run_faster(run: Run, recording_receiver: RecordingReceiver) -> None:
    """At 100 000 times real time a story of hours takes about a second, and keeps its pauses."""
    to = ("--to", recording_receiver.url, "--seed", "1", "--work-orders", "1")
    assert (await run("lifecycle", *to, "--speed", "100000")).code == 0
    first, *_, last = recording_receiver.of()
    story = json.loads(last.body)["occurred_at"], json.loads(first.body)["occurred_at"]
    assert story[0] > story[1]
    assert last.began - first.began > 0.05


async def test_retries_follow_the_schedule_with_the_same_bytes() -> None:
    """Each failure waits for its time and sends the same bytes; a success ends it."""
    answers = [Answer(500), Answer(ending="reset"), Answer(200)]
    async with RecordingReceiver(answers) as receiver, delivery.client() as client:
        target = endpoint(receiver, Policy(retries=(0.05, 0.5, 9), timeout=5))
        await target.deliver(client, CREATED)
        first, second, third = receiver.of()
    assert first.body == second.body == third.body == CREATED.body
    assert 0.04 < second.began - first.began < 0.5 <= third.began - second.began
    assert (target.report.delivered, target.report.failed, target.report.requests) == (1, 0, 3)
    assert target.report.ambiguous == 1


async def test_retries_may_tell_the_event_anew_and_are_signed_anew() -> None:
    """On request each retry differs in its bytes; every signature is valid for its own bytes, with one id."""
    async with RecordingReceiver([Answer(500)]) as receiver, delivery.client() as client:
        target = endpoint(receiver, Policy(retries=(0.01,), byte_identical=False), Signer(SECRET))
        await target.deliver(client, CREATED)
        first, second = receiver.of()
    assert json.loads(second.body) == json.loads(first.body) | {"attempt": 2}
    for arrival in (first, second):
        now = float(arrival.header("webhook-timestamp") or 0)
        assert auth.verify([SECRET], dict(arrival.headers), arrival.body, now)
        assert arrival.header("webhook-id") == "e1"


async def test_an_endpoint_is_disabled_only_when_that_is_asked_for() -> None:
    """Off by default; on, so many failed deliveries in a row end it, and what follows is counted as not sent."""
    async with RecordingReceiver(lambda _: Answer(500)) as receiver, delivery.client() as client:
        patient = endpoint(receiver, Policy(retries=()))
        strict = endpoint(receiver, Policy(retries=(), disable_after=2))
        for target in (patient, strict):
            for _ in range(4):
                await target.deliver(client, CREATED)
    assert (patient.report.failed, patient.report.disabled) == (4, False)
    assert (strict.report.failed, strict.report.skipped, strict.report.disabled) == (2, 2, True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "where to?"),
        (("--to", "http://127.0.0.1:9/é"), "expected http://127.0.0.1:9/%C3%A9"),
        (("--to", "http://127.0.0.1:9/", "--retries", "soon"), "expected seconds separated by commas"),
        (("--webhook", "action.created"), "expected TYPE,TYPE=URL"),
        (("--to", "http://127.0.0.1:9/", "--sites", "1000", "--work-orders", "1000"), "at most 100000"),
    ],
)
async def test_wrong_usage_is_one_line(run: Run, arguments: tuple[str, ...], expected: str) -> None:
    """What is wrong, and what was expected; exit code 2."""
    finished = await run("lifecycle", *arguments, SENDER_TO="")
    assert finished.code == 2
    assert expected in finished.err
    assert finished.err.count("\n") == 1
