import asyncio
import itertools
import json
from pathlib import Path

import pytest

from examples.sender.http import wire
from examples.sender.http.recording import Answer, RecordingReceiver
from receiver import auth
from tests.examples.sender.conftest import Run

pytestmark = pytest.mark.anyio
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODIES = (
    b'{ "type": "Action Created", "id": "e1", "note": "\\u00e9 \xc3\xa9" }\n',
    b'{ "type": "Action Created", "id": "e1", "note": "\\u00e9 \xc3\xa9" }\n',  # a duplicate
    b"\x00 not json \xff",
)
HEADERS = [("X-Odd-Case", "a"), ("content-type", "application/json"), ("x-odd-case", "b"), ("Webhook-Id", "old")]


@pytest.fixture
async def recording(tmp_path: Path) -> Path:
    """Three requests, 0.2 s between the second and the third."""
    async with RecordingReceiver([Answer(500)]) as receiver:
        for number, body in enumerate(BODIES):
            await asyncio.sleep(0.2 * (number == 2))
            await wire.post(receiver.url, body, HEADERS)
        receiver.save(tmp_path / "recording")
    return tmp_path / "recording"


async def test_what_was_recorded_is_sent_again_byte_for_byte(
    run: Run, recording: Path, recording_receiver: RecordingReceiver
) -> None:
    """Bodies, headers and their order, duplicates and pauses are as they came; so is the exit code 0."""
    finished = await run("replay", str(recording), "--to", recording_receiver.url, "--json")
    arrivals = recording_receiver.of()
    assert finished.code == 0, finished.err
    assert tuple(arrival.body for arrival in arrivals) == BODIES
    for arrival in arrivals:
        assert [
            header for header in arrival.sent_headers if header[0].lower() not in {"host", "content-length"}
        ] == HEADERS
    pauses = [later.began - earlier.began for earlier, later in itertools.pairwise(arrivals)]
    assert pauses[0] < 0.15 < pauses[1]
    assert [row["id"] for row in finished.json()["deliveries"]] == ["e1", "e1", None]


async def test_speed_one_file_and_failures(run: Run, recording: Path) -> None:
    """`--speed 0` does not wait; a single file is one request; a failing answer is shown with its words."""
    async with RecordingReceiver([Answer(), Answer(), Answer(500, body=b"no\x1b[1m"), Answer()]) as receiver:
        finished = await run("replay", str(recording), "--to", receiver.url, "--speed", "0")
        one = await run("replay", str(recording / "0001-action.created.json"), "--to", receiver.url)
        arrivals = receiver.of()
    assert (finished.code, one.code) == (1, 0)
    assert "500 is not 200 or 201: no\\x1b[1m" in finished.out
    assert "2 delivered, 1 failed" in finished.out
    assert arrivals[2].began - arrivals[0].began < 0.2
    assert [arrival.body for arrival in arrivals][3] == BODIES[0]


async def test_a_replay_can_be_changed_and_signed_anew(
    run: Run, recording: Path, recording_receiver: RecordingReceiver
) -> None:
    """`--set` and `--remove` change each body, `--header` and `--secret` take the place of what was recorded."""
    only = str(recording / "0001-action.created.json")
    to = ("--to", recording_receiver.url)
    await run(
        "replay", only, *to, "--set", "id=e2", "--remove", "note", "--header", "X-Odd-Case: new", "--secret", SECRET
    )
    refused = await run("replay", str(recording), *to, "--set", "id=e2")
    (arrival,) = recording_receiver.of()
    assert json.loads(arrival.body) == {"type": "Action Created", "id": "e2"}
    assert [value for name, value in arrival.headers if name == "x-odd-case"] == ["new"]
    assert auth.verify([SECRET], dict(arrival.headers), arrival.body, float(arrival.header("webhook-timestamp") or 0))
    assert (refused.code, refused.err) == (
        2,
        "0003-raw: --set and --remove need a JSON object, and this body is none\n",
    )


async def test_a_replay_as_curl_lines(run: Run, recording: Path, recording_receiver: RecordingReceiver) -> None:
    """One line for each, that a shell runs to the same effect."""
    printed = await run("replay", str(recording), "--to", recording_receiver.url, "--curl")
    shell = await asyncio.create_subprocess_exec("sh", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL)
    await shell.communicate(printed.out.encode())
    assert tuple(arrival.body for arrival in recording_receiver.of()) == BODIES


async def test_wrong_usage_is_one_line(run: Run, tmp_path: Path) -> None:
    """What is wrong, and what was expected; exit code 2."""
    finished = await run("replay", str(tmp_path), "--to", "http://127.0.0.1:9/")
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert "expected a recording" in finished.err
