import json
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from examples.sender.http.recording import Answer, Arrival, RecordingReceiver
from tests.examples.sender.conftest import Run

pytestmark = pytest.mark.anyio
SCENARIO = """
[[step]]
name = "created"
send = "work_order.created"
set = { "work_order.name" = "Pump 7", "work_order.tags" = ["a", "{created-too.id}"] }

[[step]]
wait = 0.1

[[step]]
name = "done"
send = "Work Order Completed"
remove = ["work_order.labels"]
set = { note = "of {created.work_order.id}", late = "{created.work_order.allow_submission_after_due_date}" }
effects = 1

[[step]]
again = "done"
times = 2

[[step]]
name = "other"
send = "work_order.created"
about = "another"
effects = 0

[[step]]
file = "raw.json"
status = 202
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The scenario above, its effects written by nobody but the test."""
    (tmp_path / "raw.json").write_bytes(b'{ "id": "raw" }\n')
    text = SCENARIO.replace('["a", "{created-too.id}"]', '["a", 1]')
    (tmp_path / "s.toml").write_text(text)
    return tmp_path / "s.toml"


def receiving(folder: Path, *, twice: bool = False) -> RecordingReceiver:
    """Writes a line into a file for each completed Work Order, once unless said."""
    seen: set[str | None] = set()

    def answer(arrival: Arrival) -> Answer:
        if arrival.type == "work_order.completed" and (twice or arrival.id not in seen):
            with (folder / f"{arrival.id}.effects").open("a") as effects:
                effects.write("x\n")
        seen.add(arrival.id)
        return Answer(202 if arrival.id == "raw" else 200)

    return RecordingReceiver(answer)


def counting(folder: Path) -> tuple[str, ...]:
    command = f"sh -c 'cat {folder}/{{id}}.effects 2>/dev/null | wc -l'"
    return "--effects-cmd", command, "--effects-wait", "0.5", "--effects-settle", "0.1"


async def test_a_scenario_is_sent_and_judged(run: Run, file: Path, tmp_path: Path) -> None:
    """Order, pause, edits, references with their type, repetitions, raw files, answers and effects; exit code 0."""
    async with receiving(tmp_path) as receiver:
        finished = await run(
            "scenario", str(file), "--to", receiver.url, *counting(tmp_path), "--json", "--header", "X-A: 1"
        )
        arrivals = receiver.of()
    assert finished.code == 0, finished.out
    created, done, *again, other, raw = arrivals
    payload = json.loads(created.body)
    completed = json.loads(done.body)
    assert payload["work_order"]["name"] == "Pump 7"
    assert completed["work_order"]["id"] == payload["work_order"]["id"] != json.loads(other.body)["work_order"]["id"]
    assert completed["note"] == f"of {payload['work_order']['id']}"
    assert completed["late"] is payload["work_order"]["allow_submission_after_due_date"]
    assert "labels" not in completed["work_order"]
    assert [one.body for one in again] == [done.body] * 2
    assert raw.body == b'{ "id": "raw" }\n'
    assert done.began - created.began >= 0.1
    assert {arrival.header("x-a") for arrival in arrivals} == {"1"}
    assert finished.json()["summary"] == "7 passed"


@pytest.mark.usefixtures("file")
async def test_what_is_not_as_expected_fails_and_says_so(run: Run, tmp_path: Path) -> None:
    """A duplicate that took effect, and an answer that was not expected, in words and as JUnit XML; exit code 1."""
    stricter = tmp_path / "stricter.toml"
    stricter.write_text(SCENARIO.replace("status = 202", "status = [200]").replace("{created-too.id}", "b"))
    async with receiving(tmp_path, twice=True) as receiver:
        to = ("--to", receiver.url, "--junit", str(tmp_path / "report.xml"), "--speed", "0")
        finished = await run("scenario", str(stricter), *to, *counting(tmp_path))
    assert finished.code == 1
    assert "failed   step 6: sends (no type): 202; expected 200" in finished.out
    assert "failed   done: takes effect once: took effect 3 times" in finished.out
    assert "5 passed, 2 failed" in finished.out
    suite = ET.fromstring((tmp_path / "report.xml").read_text())  # noqa: S314 - our own
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["step 6", "done-effects"]


ONE = '[[step]]\nname = "done"\nsend = "work_order.completed"\neffects = 1\n[[step]]\nagain = "done"\n'


async def test_how_many_of_several_were_refused_is_told(run: Run, tmp_path: Path) -> None:
    """One refusal of three is not told as three."""
    (tmp_path / "s.toml").write_text('[[step]]\nsend = "action.created"\ntimes = 3\n')
    async with RecordingReceiver([Answer(200), Answer(500)]) as receiver:
        finished = await run("scenario", str(tmp_path / "s.toml"), "--to", receiver.url)
    assert "1 of 3 times: 500; expected 200 or 201" in finished.out


async def test_effects_of_what_was_refused_are_not_waited_for(run: Run, tmp_path: Path) -> None:
    """They are counted all the same: a refused event that took effect would be told."""
    (tmp_path / "one.toml").write_text(ONE)
    begun = time.monotonic()
    async with RecordingReceiver(lambda _: Answer(404)) as receiver:
        wait = ("--effects-wait", "60", "--effects-settle", "0.1")
        finished = await run("scenario", str(tmp_path / "one.toml"), "--to", receiver.url, *counting(tmp_path), *wait)
    assert "failed   done: takes effect once: took effect never" in finished.out
    assert time.monotonic() - begun < 30


async def test_the_effect_of_what_was_accepted_at_last_is_waited_for(run: Run, tmp_path: Path) -> None:
    """Refused at first, accepted when it was sent again; its effect is there at the second look."""
    (tmp_path / "one.toml").write_text(ONE)
    answers = iter((503, 200))
    command = f"sh -c 'cat {tmp_path}/looks 2>/dev/null || echo 0; echo 1 > {tmp_path}/looks'"
    async with RecordingReceiver(lambda _: Answer(next(answers))) as receiver:
        effects = ("--effects-cmd", command, "--effects-settle", "0.1")
        finished = await run("scenario", str(tmp_path / "one.toml"), "--to", receiver.url, *effects)
    assert "passed   done: takes effect once: took effect once" in finished.out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected [[step]] tables"),
        ("x = ", "cannot be read"),
        ("[[step]]\nsend = 'action.craeted'", "did you mean action.created?"),
        ("[[step]]\nsned = 'action.created'", "step 1: sned: there is no such key; did you mean send?"),
        ("[[step]]\nwait = 1\nsend = 'action.created'", "step 1: expected one of send"),
        ("[[step]]\nagain = 'x'", "step 1: there is no earlier step 'x'"),
        ("[[step]]\nfile = 'x'", "x: cannot be read"),
        ("[[step]]\nwait = 'long'", "step 1: wait: expected a number from 0 to 86400"),
        ("[[step]]\nsend = 'action.created'\nstatus = 7", "step 1: status: expected a status"),
        ("[[step]]\nsend = 'action.created'\nset = { id = '{a.b}' }", "step 1: there is no earlier step 'a'"),
        (
            "[[step]]\nname = 'a'\nsend = 'action.created'\n[[step]]\nsend = 'action.solved'\nset = {id = '{a.x}'}",
            "nothing at x",
        ),
        (
            "[[step]]\nname = 'a'\nsend = 'action.created'\n[[step]]\nname = 'a'\nagain = 'a'",
            "step 2: name: there is a step 'a'",
        ),
        (
            "[[step]]\nname = 'a'\nsend = 'action.created'\n[[step]]\nagain = 'a'\nset = {}",
            "step 2: set: this goes with send",
        ),
        ("[[step]]\nsend = 'action.created'\neffects = 1", "it expects effects; pass --effects-cmd"),
    ],
)
async def test_a_wrong_scenario_is_refused_before_anything_is_sent(
    run: Run, tmp_path: Path, recording_receiver: RecordingReceiver, text: str, expected: str
) -> None:
    """One line: the file, the step, and what was expected; exit code 2."""
    (tmp_path / "s.toml").write_text(text)
    finished = await run("scenario", str(tmp_path / "s.toml"), "--to", recording_receiver.url)
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert expected in finished.err
    assert not recording_receiver.arrivals
