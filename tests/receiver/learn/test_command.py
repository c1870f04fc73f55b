"""`python -m receiver learn`: what it writes, what it asks, and what it leaves alone."""

import asyncio
import json
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from receiver.acceptance import accept_directly
from receiver.events import payload_file
from receiver.queue import letters
from receiver.queue.keys import Keys
from tests.conftest import Process, Start
from tests.terminal import Terminal
from tests.theirs import COMPLETED, CREATED, PAYLOAD_TOML
from tests.worker.conftest import delivery_of

PRIVATE = ("Pump 7", "ana@", "rui@", "Oil leak")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a command runs, with samples in a folder of it."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/1.json").write_text(json.dumps(COMPLETED))
    (tmp_path / "in/2.json").write_text(json.dumps(CREATED))
    return tmp_path


def learned(start: Start, *arguments: str, code: int = 0, **settings: str) -> Process:
    process = start("-m", "receiver", "learn", *arguments, **settings)
    assert process.wait() == code, process.output
    return process


def test_it_writes_the_map_and_redacted_samples(start: Start, folder: Path) -> None:
    """The map reads the samples, too; nobody's name or address is in them; what is said of the zone is in the file."""
    said = learned(start, "in", "--time-zone", "Europe/Lisbon", code=1).output
    assert "wrote payload.toml from 2 events: action.created, work_order.completed" in said
    where = payload_file.read(folder / "payload.toml")
    samples = sorted((folder / "redacted").iterdir())
    assert [sample.name for sample in samples] == ["0001-work_order.completed.json", "0002-action.created.json"]
    for sample, payload in zip(samples, (COMPLETED, CREATED), strict=True):
        text = sample.read_text()
        assert not [word for word in PRIVATE if word in text]
        assert where.id_of(json.loads(text)) == payload["eventGuid"]
        assert where.time_of(json.loads(text)) == payload_file.parse(PAYLOAD_TOML, "p").time_of(payload)


def test_samples_of_an_earlier_run_are_told(start: Start, folder: Path) -> None:
    """They may be redacted with another map; they stay, as they may be somebody's own files."""
    first = learned(start, "in", "--time-zone", "Europe/Lisbon", code=1).output
    assert "not of this run" not in first
    (folder / "redacted/0001-work_order.completed.json").rename(folder / "redacted/0001-work_order.created.json")
    said = learned(start, "in", "--yes", code=1).output
    assert "redacted: 1 file is not of this run, look before you commit: 0001-work_order.created.json" in said
    assert len(list((folder / "redacted").iterdir())) == 3


def test_a_question_that_is_left_is_told(start: Start, folder: Path) -> None:
    """Exit code 1, a line each, and a comment in the file, which is of use all the same; 0 once all are answered."""
    said = learned(start, "in", "--to", "acme/payload.toml", code=1).output
    assert "open: [event] time_zone: triggeredAt has no offset" in said
    file = folder / "acme/payload.toml"
    assert '# time_zone = "Europe/Lisbon"' in file.read_text()
    said = learned(start, "in", "--to", "acme/payload.toml", "--time-zone", "Europe/Lisbon", "--yes", code=1).output
    assert [line for line in said.splitlines() if line.startswith("open: ")] == [
        "open: [action.values] priority: what does 3 mean?"
    ]
    file.write_text(file.read_text().replace('# priority = { "3" = "?" }', 'priority = { "3" = "High" }'))
    assert "open: " not in learned(start, "in", "--to", "acme/payload.toml", "--yes").output
    assert "+++" not in learned(start, "in", "--to", "acme/payload.toml").output  # the same again: nothing to ask
    assert (folder / "acme/redacted").is_dir()


def test_a_file_that_is_there_is_not_written_over_unasked(start: Start, folder: Path) -> None:
    """The difference is shown; --yes writes it, and keeps what the samples confirm. PAYLOAD_MAP names the file."""
    (folder / "mine.toml").write_text(PAYLOAD_TOML)
    said = learned(start, "in", PAYLOAD_MAP="mine.toml", code=2).output
    assert '-time = "triggeredAt"' in said
    assert '+time = ["triggeredAt"]  # 0.60: holds a time in 1 of 2' in said
    assert "mine.toml: is there and would change as above; --yes writes it" in said
    assert (folder / "mine.toml").read_text() == PAYLOAD_TOML
    learned(start, "in", "--yes", PAYLOAD_MAP="mine.toml")
    before, after = payload_file.parse(PAYLOAD_TOML, "p"), payload_file.read(folder / "mine.toml")
    assert (after.id, after.zone, after.subjects["action"].at) == (before.id, before.zone, before.subjects["action"].at)


def test_on_a_terminal_it_asks(folder: Path) -> None:
    """Which of two fields is the id: the one that is chosen is written."""
    for number in range(2):
        body = {"type": "action.created", "messageId": f"m{number}", "deliveryId": f"d{number}"}
        (folder / f"in/{number + 1}.json").write_text(json.dumps(body | {"time": 1762161175, "action": {"id": 1}}))
    terminal = Terminal("receiver", "learn", "in", cwd=folder)
    terminal.type_at("number, or 0 for none of them", "2\n")
    assert "[event] id: which is it?" in terminal.end()
    assert payload_file.read(folder / "payload.toml").id == ("deliveryId",)


async def test_it_learns_from_what_the_kit_has(start: Start, folder: Path, redis: ArqRedis, valkey_url: str) -> None:
    """Deliveries that wait, that are kept for a replay, and that are dead letters; packed ones, too."""
    keys = Keys("glartek:")
    waiting, finished, dead = (
        delivery_of(json.dumps(COMPLETED | {"eventGuid": f"e{number}"}).encode()) for number in range(3)
    )
    await accept_directly(redis, keys, waiting)
    await redis.set(keys.payload(finished.id), finished.job())
    await redis.rpush(keys.kept, f"{finished.id} 1 2")  # type: ignore[misc]
    field, held = letters.pack(dead.job())
    await redis.hset(keys.dead_letter("d"), field, held)  # type: ignore[misc, arg-type]
    await redis.zadd(keys.dead, {"d": 1})
    await redis.zadd(keys.queue, {"not ours": 1})
    said = await asyncio.to_thread(learned, start, "--kept", "--json", code=1, REDIS_URL=valkey_url)
    report = json.loads(said.output)
    assert report["events"] == 3
    assert len(report["samples"]) == 3
    assert payload_file.read(folder / "payload.toml").id == ("eventGuid",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "expected a folder of payloads, or --kept"),
        (("in", "--kept"), "expected a folder of payloads, or --kept"),
        (("nowhere",), "nowhere: cannot be read: No such file or directory"),
        (("empty",), "empty: expected a folder with *.json files"),
        (("text",), "text: expected payloads, and there is none that is JSON"),
        (("in", "--time-zone", "Lisbon"), "--time-zone: expected an IANA name"),
        (("in", "--to", "wrong.toml"), "wrong.toml: event.id: expected a dotted path"),
        (("--kept",), "REDIS_URL: "),
    ],
)
def test_a_mistake_is_a_line(start: Start, folder: Path, arguments: tuple[str, ...], said: str) -> None:
    """What was expected, exit code 2, and nothing written."""
    (folder / "empty").mkdir()
    (folder / "text").write_text("hello")
    (folder / "wrong.toml").write_text("[event]\nid = 1")
    output = learned(start, *arguments, code=2, REDIS_URL="redis://127.0.0.1:1").output
    assert output.startswith(said), output
    assert len(output.splitlines()) == 1
    assert not (folder / "payload.toml").exists()
