import itertools
import json
import time
from random import Random

import pytest

from examples.sender.http.message import Message
from examples.sender.http.recording import Answer, Arrival, RecordingReceiver
from examples.sender.play import payloads
from examples.sender.play.storm import Figures, Storm
from tests.examples.sender.conftest import Run

pytestmark = pytest.mark.anyio


def fresh() -> Message:
    return payloads.fresh("work_order.updated", Random())


async def test_an_open_loop_is_not_slowed_down_by_a_slow_receiver() -> None:
    """At 100/s events leave at their time although each answer takes 0.3 s: 30 are open at once, none waits."""
    async with RecordingReceiver(lambda _: Answer(delay=0.3)) as receiver:
        figures = await Storm(receiver.url, fresh, 40).at_rate(100)
    assert figures.ok == 40
    assert figures.most_open >= 20
    assert figures.percentile(0.5) >= 0.3
    assert figures.seconds < 6  # a closed loop would take twice as long


async def test_latency_counts_from_when_an_event_was_due() -> None:
    """When the sending itself is held up, the events that leave late show it, and the report says how late."""
    numbers = itertools.count()

    def make() -> Message:
        if next(numbers) == 5:
            time.sleep(0.3)  # what holds it up: in an open loop nothing else should
        return fresh()

    async with RecordingReceiver() as receiver:
        figures = await Storm(receiver.url, make, 25).at_rate(100)
    assert figures.most_late >= 0.2
    assert figures.percentile(1) >= 0.2
    assert figures.as_dict()["sender_late_seconds"] >= 0.2


async def test_a_client_waits_for_its_answer_on_one_connection() -> None:
    """In a closed loop each client sends its next event when the last one was answered."""
    numbers = itertools.count()
    async with RecordingReceiver(lambda _: Answer(delay=0.3 if next(numbers) == 0 else 0)) as receiver:
        figures = await Storm(receiver.url, fresh, 20).by_clients(1)
    assert (figures.most_open, receiver.connections) == (1, 1)
    assert figures.percentile(0.5) < 0.2 <= figures.percentile(1)


async def test_duplicates_and_failures_are_counted() -> None:
    """Every third event repeats the one before it; answers are counted by status, failures by reason."""

    def answer(arrival: Arrival) -> Answer:
        return Answer(503) if arrival.number == 1 else Answer(ending="reset") if arrival.number == 2 else Answer(201)

    async with RecordingReceiver(answer) as receiver:
        figures = await Storm(receiver.url, fresh, 9, duplicates_every=3).by_clients(1)
        assert [first.body == second.body for first, second in itertools.pairwise(receiver.of())].count(True) == 3
    report = figures.as_dict()
    assert (report["delivered"], report["failed"], report["duplicates"]) == (7, 2, 3)
    assert report["answers"]["503"] == 1
    assert any("the connection" in answer for answer in report["answers"])


async def test_a_dead_endpoint_is_a_failure_of_every_event() -> None:
    """Nothing listens: every event failed, and no latency is invented."""
    async with RecordingReceiver() as receiver:
        url = receiver.url
    figures = await Storm(url, fresh, 3).at_rate(1000)
    assert (figures.failed, figures.latencies, figures.as_dict()["latency_seconds"]) == (3, [], None)
    assert figures.answers == {"cannot connect: Connection refused": 3}


def test_percentiles_and_histogram() -> None:
    """Percentiles are nearest-rank; the histogram leaves out empty ends and keeps empty buckets between."""
    figures = Figures(planned=4, latencies=[0.0005, 0.004, 0.03, 0.04])
    assert (figures.percentile(0.5), figures.percentile(1.0)) == (0.03, 0.04)
    assert figures.histogram() == [
        ("1 ms", 1), ("2 ms", 0), ("5 ms", 1), ("10 ms", 0), ("20 ms", 0), ("50 ms", 2)
    ]  # fmt: skip
    assert Figures(planned=0).histogram() == []
    assert Figures(planned=1, latencies=[45.0]).histogram() == [("any time", 1)]


async def test_storm_is_a_command(run: Run, recording_receiver: RecordingReceiver) -> None:
    """`storm` reports in words and as JSON, sends the types that were named, and needs one way of pacing."""
    to = ("--to", recording_receiver.url)
    plain = await run(
        "storm",
        "Action Solved",
        *to,
        "--rate",
        "200",
        "--count",
        "20",
        "--duplicates-every",
        "4",
        "--set",
        "action.priority=Low",
    )
    report = await run("storm", *to, "--clients", "3", "--count", "22", "--json")
    for wrong in ((), ("--rate", "1", "--clients", "1")):
        refused = await run("storm", *to, *wrong)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert plain.code == report.code == 0
    assert "20 delivered, 0 failed, 5 duplicates among them" in plain.out
    assert "p99" in plain.out
    assert len(recording_receiver.of("action.solved")) == 20 + 2
    assert {json.loads(arrival.body)["action"]["priority"] for arrival in recording_receiver.of()[:20]} == {"Low"}
    assert report.json()["settings"]["clients"] == 3


async def test_a_failing_storm_is_a_failing_command(run: Run) -> None:
    """A failing storm ends with exit code 1."""
    async with RecordingReceiver(lambda _: Answer(500)) as failing:
        finished = await run("storm", "--to", failing.url, "--clients", "1", "--count", "2")
    assert finished.code == 1
    assert "500" in finished.out
