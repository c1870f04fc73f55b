"""The command: it starts with one line, ends in time, and says in one line what is wrong."""

import gzip
import json
import signal
import socket
from pathlib import Path

import pytest

from receiver.content import Unreadable, read
from tests.conftest import GRANTED, TOKEN, Process, Server, Start, open_to_others, wait_until
from tests.receiver.conftest import StartReceiver, event, request

SETTINGS = {"REDIS_URL": "redis://127.0.0.1:1", "WEBHOOK_TOKEN": TOKEN, "PORT": "0"}


def lines(process: Process, code: int = 2) -> list[str]:
    """What a command that was stopped by a mistake said."""
    assert process.wait() == code, process.output
    assert "Traceback" not in process.output, process.output
    return process.output.splitlines()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_asked(start_receiver: StartReceiver, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end it in time with exit code 0, an idle connection notwithstanding."""
    receiver = start_receiver()
    with receiver.connect() as sender:
        sender.send(request(event("e1")))
        assert sender.answer().status == 200
        receiver.process.signal(number)
        assert receiver.process.wait(GRANTED) == 0
    assert "Traceback" not in receiver.process.output
    assert "rror" not in receiver.process.output


def test_it_ends_while_a_body_is_on_its_way_and_redis_is_frozen(start_receiver: StartReceiver, server: Server) -> None:
    """Neither a slow sender nor a silent Redis keeps it from ending in time."""
    receiver = start_receiver(REDIS_URL=server.url, BODY_TIMEOUT="9")
    with receiver.connect() as slow, receiver.connect() as whole:
        slow.send(request(content_length="100"), b"half")
        server.freeze()
        whole.send(request(event("e1")))
        assert whole.answer().status == 200
        receiver.process.signal(signal.SIGTERM)
        assert slow.answer().status == 503
        assert receiver.process.wait(GRANTED) == 0
    assert "Traceback" not in receiver.process.output


def test_every_wrong_setting_is_a_line(start: Start) -> None:
    """Exit code 2, one line for each mistake, no traceback, no secret."""
    said = lines(start("-m", "receiver", REDIS_URL="http://:pass@x", WEBHOOK_TOKEN="short-s3cret", PORT="x"))
    assert sorted(line.partition(":")[0] for line in said) == ["PORT", "REDIS_URL", "WEBHOOK_TOKEN"]
    assert "pass" not in "".join(said)
    assert "short-s3cret" not in "".join(said)


def test_nothing_set_says_what_is_needed(start: Start) -> None:
    """A first start without settings names the two that have no default."""
    said = lines(start("-m", "receiver"))
    assert [line.partition(":")[0] for line in said] == ["REDIS_URL", "WEBHOOK_TOKEN"]


def test_an_occupied_port_is_a_line(start: Start, tmp_path: Path) -> None:
    """It says which address and what to do, and leaves nothing behind that keeps it from starting again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        [line] = lines(start("-m", "receiver", **SETTINGS | {"PORT": str(port)}))
    assert line.startswith(f"PORT: cannot listen on 127.0.0.1:{port}")
    assert tmp_path.exists()


def test_what_waits_on_disk_is_this_users_alone(start: Start, tmp_path: Path) -> None:
    """The spool's folder and its files hold payloads: nobody else of the machine may read them."""
    receiver = start("-m", "receiver", **SETTINGS, SPOOL_PATH=str(tmp_path / "made" / "spool.db"))
    receiver.wait_for("receiver listening")
    wait_until((tmp_path / "made" / "spool.db-wal").exists)
    assert not open_to_others(tmp_path / "made")


def test_an_unknown_host_is_a_line(start: Start) -> None:
    """A HOST that is no address of this machine is a mistake like any other."""
    [line] = lines(start("-m", "receiver", **SETTINGS, HOST="192.0.2.1"))
    assert "192.0.2.1" in line


def test_a_spool_that_cannot_be_is_a_line(start: Start, tmp_path: Path) -> None:
    """Where deliveries could not wait on disk the receiver does not start."""
    (tmp_path / "file").touch()
    [line] = lines(start("-m", "receiver", **SETTINGS, SPOOL_PATH=str(tmp_path / "file" / "spool.db")))
    assert line.startswith("SPOOL_PATH: ")


def test_the_log_is_json_and_has_no_token(start_receiver: StartReceiver) -> None:
    """Each line is a JSON object, uvicorn's too, and no line holds the token, right or wrong, or a payload."""
    receiver = start_receiver(LOG_LEVEL="debug")
    receiver.post(event("e1", note="payload-words"))
    receiver.post(event("e1"), path=f"/webhooks/glartek/{TOKEN}-wrong")
    receiver.post(event("e1"), path=f"/webhooks/glartek/{TOKEN}", method="GET")
    receiver.process.stop()
    said = [json.loads(line) for line in receiver.process.output.splitlines()]
    assert {line["process"] for line in said} == {"receiver"}
    assert {"accepted", "Application startup complete.", "Shutting down"} <= {line["event"] for line in said}
    assert said[-1]["event"] == "receiver stopped"
    assert TOKEN not in receiver.process.output
    assert "payload-words" not in receiver.process.output


def test_each_delivery_is_a_line(start_receiver: StartReceiver) -> None:
    """A grep for the event's id, the delivery's or the subject's finds it, and what became of it in the receiver."""
    receiver = start_receiver()
    body = event("told", action={"id": "a7"})
    for sent in (body, body, event("told", other=1), b"no JSON"):
        assert receiver.post(sent).status == 200
    receiver.process.stop()
    said = [json.loads(line) for line in receiver.process.output.splitlines()]
    accepted = [line for line in said if line["event"] == "accepted"]
    told = [(one["event_id"], one["type"], one["subject"], one["acceptance"], one["bytes"]) for one in accepted]
    about = ("told", "action.created", "action:a7")
    assert told == [
        (*about, "stored", len(body)),
        (*about, "duplicate", len(body)),
        ("told", "action.created", "", "conflict", len(event("told", other=1))),
        ("", "", "", "stored", 7),
    ]
    assert len({one["delivery"] for one in accepted}) == 2
    assert [one["key_from"] for one in accepted] == ["event-id", "event-id", "event-id", "body"]
    assert {one["level"] for one in accepted} == {"info"}


def test_the_url_to_paste_is_printed(start: Start) -> None:
    """`url` prints the Endpoint URL, and nothing else on an https base."""
    process = start("-m", "receiver", "url", "--base", "https://hooks.example.com/kit/", WEBHOOK_TOKEN=TOKEN)
    assert lines(process, 0) == [f"https://hooks.example.com/kit/webhooks/glartek/{TOKEN}"]


@pytest.mark.parametrize("base", ["hooks.example.com", "ftp://x", "https://", "https://x?y=1"])
def test_a_base_that_is_no_url_is_a_line(start: Start, base: str) -> None:
    """What could not be pasted into Glartek is refused."""
    [line] = lines(start("-m", "receiver", "url", "--base", base, WEBHOOK_TOKEN=TOKEN))
    assert line.startswith("--base: expected https://host")


def test_explain_shows_the_key_and_its_source(start: Start, tmp_path: Path) -> None:
    """A recorded body can be asked for its keys before Glartek is configured, with no settings at all."""
    (tmp_path / "body.json").write_bytes(event("e1", work_order={"id": "w"}))
    process = start("-m", "receiver", "explain", "body.json", "--header", "Webhook-Id: w1", "--json")
    report = json.loads("\n".join(lines(process, 0)))
    assert (report["source"], report["key"], report["type"]) == ("event-id", "e1", "action.created")
    assert report["keys"]["webhook-id"] == "w1"
    assert report["known"] is True


def test_explain_prints_what_it_found_as_it_is(start: Start, tmp_path: Path) -> None:
    """Square brackets in a sender's words are words, not colours."""
    (tmp_path / "body.json").write_bytes(json.dumps({"id": "[/]", "type": "[/red]"}).encode())
    said = "\n".join(lines(start("-m", "receiver", "explain", "body.json"), 0))
    assert "[/]" in said
    assert "[/red]" in said


@pytest.mark.parametrize(
    ("body", "header"),
    [(b"hello", "User-Agent: x"), (b"{}", "Content-Encoding: gzip"), (b'{"a":' + b"[" * 300, "User-Agent: x")],
    ids=["text", "gzip", "depth"],
)
def test_explain_says_why_a_body_is_no_event(start: Start, tmp_path: Path, body: bytes, header: str) -> None:
    """In the words of the dead letter that it would become, and with exit code 1."""
    (tmp_path / "body").write_bytes(body)
    text, as_json = (start("-m", "receiver", "explain", "body", "--header", header, *more) for more in ([], ["--json"]))
    with pytest.raises(Unreadable) as reason:
        read(dict([header.lower().split(": ")]), body, 1024 * 1024)
    assert f"event    none: {reason.value}" in lines(text, 1)
    assert json.loads("\n".join(lines(as_json, 1)))["unreadable"] == str(reason.value)


def test_explain_says_what_the_receiver_would_refuse(start: Start, tmp_path: Path) -> None:
    """A body over the limit never gets as far as the worker."""
    (tmp_path / "body").write_bytes(b"{}" + b" " * 1024 * 1024)
    said = lines(start("-m", "receiver", "explain", "body"), 1)
    assert said[-1] == "event    none: the body is larger than MAX_BODY_BYTES (1048576): the receiver answers 413"


def test_explain_unpacks_what_says_that_it_is_packed(start: Start, tmp_path: Path) -> None:
    """With the header that it came with, a packed body shows the key and type that it would be stored with."""
    (tmp_path / "body").write_bytes(gzip.compress(event("e1")))
    process = start("-m", "receiver", "explain", "body", "--header", "Content-Encoding: gzip", "--json")
    report = json.loads("\n".join(lines(process, 0)))
    assert (report["key"], report["type"], report["unreadable"]) == ("e1", "action.created", None)


def test_a_header_that_is_none_is_a_line(start: Start, tmp_path: Path) -> None:
    """A mistyped --header is not taken for one without a value."""
    (tmp_path / "body").write_bytes(b"{}")
    [line] = lines(start("-m", "receiver", "explain", "body", "--header", "gzip"))
    assert line == "--header: expected 'name: value', got 'gzip'"


def test_explain_without_a_file_is_a_line(start: Start) -> None:
    """A file that is not there is one line."""
    [line] = lines(start("-m", "receiver", "explain", "nothing.json"))
    assert line.startswith("nothing.json: ")
