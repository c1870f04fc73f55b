"""What a stranger wrote into a delivery, on its way to a person: no log and no command hands on what a terminal obeys.

Deliveries are stored by a real receiver and handled by a real worker; what counts is the bytes that come out, in a
pipe and on a terminal.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from receiver.queue.keys import Keys
from tests.conftest import TOKEN, Process, Start, wait_until
from tests.receiver.conftest import Receiver, listening
from tests.terminal import Terminal

EVIL = "\x1b]52;c;ZXZpbA==\x07\x9b31m\x90q\x9c\u202egnp\u2066x\u2069\u2028line\nnext\r\x7f"
UNSAFE = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[(?:\?25[lh]|\d[AK])|\r(?=\x1b\[\d[AK])|\r\n")  # colours, progress, line ends
KEYS = Keys("glartek:")
SETTLED = {b"conflicts": b"1", b"parse dead": b"2", b"evil.act dead": b"1", b"audit_log.append done": b"2"}
HANDLERS = """
from examples.handlers import audit_log
from worker import GiveUp

async def act(event, ctx):
    title = event.payload["action"]["title"]
    ctx.log.warning(title, title=title, parts=[title, {"deep": title}], **{title: 1})
    raise GiveUp("not this one: " + title)

ROUTES = {"action.created": [act], "*": [audit_log.append]}
"""


def payload(**more: object) -> bytes:
    """An event every text of which is hostile, some of them a megabyte."""
    fields = {"id": f"e{EVIL}", "type": "action.created", "actor": {"name": EVIL}, "note": "n" * 200_000, **more}
    return json.dumps(fields | {"action": {"id": f"a{EVIL}", "title": f"{EVIL}\ud83d" + "t" * 200_000}}).encode()


def clean(output: str, most: int = 40_000) -> str:
    """The output, once it is seen to be short and to hold nothing that a terminal obeys."""
    found = set(UNSAFE.findall(OURS.sub("", output)))
    assert not found, (found, output[:2000])
    assert len(output) < most, output[:2000]
    return output


class Kit:
    """Hostile deliveries in a real kit, and its commands in a pipe and on a terminal."""

    def __init__(self, start: Start, url: str, folder: Path) -> None:
        self._start, self.folder = start, folder
        audit = f"sqlite:///{folder}/audit.db"
        self.env = {"REDIS_URL": url, "HANDLERS": "evil:ROUTES", "AUDIT_DATABASE_URL": audit}
        with Redis.from_url(url) as redis:
            self._redis = redis

    def __call__(self, *arguments: str, code: int = 0, most: int = 40_000) -> str:
        """What a command writes; in a pipe and on a terminal alike it is clean, and ends with this code."""
        process = self._start("-m", *arguments, **self.env)
        if "--json" not in arguments:  # which is the same everywhere
            clean(Terminal(*arguments, cwd=self.folder, **self.env).end(code), most)
        assert process.wait() == code, process.output
        piped = process.log.read_bytes().decode()
        assert "\x1b" not in piped
        return clean(piped, most)

    def settled(self) -> None:
        """Return when a worker has handled everything there is."""
        wait_until(lambda: SETTLED.items() <= self._redis.hgetall(KEYS.counts).items())


def stored(receiver: Receiver) -> None:
    """An event, a conflict with it, two that cannot be read, and one of a type that fills a megabyte."""
    for body, headers in (
        (payload(), {}),
        (payload(other=1), {}),
        (EVIL.encode("utf-8") * 10_000, {"idempotency_key": "k\x9b31m\x90"}),
        (b"\x9b\x1b]52;c;x\x07" * 10_000, {"content_encoding": "\x9b31m"}),
        (payload(id="huge", type=(EVIL + "t" * 500) * 500), {}),
    ):
        assert receiver.post(body, **headers).status == 200


@pytest.fixture
def kit(start: Start, valkey_url: str, tmp_path: Path) -> Kit:
    (tmp_path / "evil.py").write_text(HANDLERS, encoding="utf-8")
    with Redis.from_url(valkey_url) as redis:
        redis.flushall()
    settings = {"REDIS_URL": valkey_url, "WEBHOOK_TOKEN": TOKEN, "PORT": "0", "LOG_LEVEL": "debug"}
    receiver = listening(start("-m", "receiver", **settings))
    stored(receiver)
    receiver.process.stop()
    clean(receiver.process.output)
    return Kit(start, valkey_url, tmp_path)


def worked(kit: Kit, start: Start) -> Process:
    """A worker that has handled everything there is."""
    worker = start("-m", "worker", **kit.env, LOG_LEVEL="debug", LOG_FORMAT="json")
    kit.settled()
    worker.stop()
    return worker


def test_no_log_and_no_command_hands_on_what_a_terminal_obeys(kit: Kit, start: Start) -> None:
    """Log in JSON, `show`, `dead list`, `dead show`, `replay`, the audit log's and the external system's commands."""
    worker = worked(kit, start)
    assert r"\\x1b]52;c;ZXZpbA==" in clean(worker.output)
    listed = kit("worker", "dead", "list")
    assert r"\x1b]52" in listed
    letters = json.loads(kit("worker", "dead", "list", "--json"))
    assert {letter["kind"] for letter in letters} == {"dead", "conflict"}
    for letter in letters:
        assert "payload" in kit("worker", "dead", "show", letter["id"])
        shown = json.loads(kit("worker", "dead", "show", letter["id"], "--json", most=3_000_000))
        assert shown["payload"]
    [dead] = [letter for letter in letters if letter["handler"] == "evil.act"]
    assert dead["reason"].startswith("not this one: ")
    assert r"\x1b]52;c;ZXZpbA==" in kit("worker", "show", dead["delivery"])
    assert json.loads(kit("worker", "show", dead["delivery"], "--json"))["key"] == f"e{EVIL}".strip()
    kit("worker", "replay", dead["delivery"], "--handler", EVIL, code=2)
    kit("worker", "show", f"no-such{EVIL}", code=2)
    kit("worker", "dead", "show", f"no-such{EVIL}\udcff", code=2)
    kit("worker", "dead", "list", "--older-than", EVIL, code=2)
    for line in kit("examples.handlers.audit_log", "export", most=4_000_000).splitlines():
        assert json.loads(line)["payload"]
    kit("examples.handlers.audit_log", "verify")


def test_a_log_on_a_terminal_is_clean(kit: Kit) -> None:
    """What `make run` shows: one short line for each, in the kit's own colours only."""
    worker = Terminal("worker", cwd=kit.folder, **kit.env, LOG_LEVEL="debug")
    kit.settled()
    said = clean(worker.stop())
    assert r"\x1b]52;c;ZXZpbA==" in said
    assert "\x1b[" in said


def test_explain_and_preview_are_clean(kit: Kit) -> None:
    """A recorded body is looked at before anything is set up, whoever wrote it; so is what a mistake quotes."""
    (kit.folder / "event").write_bytes(payload())
    (kit.folder / "wide").write_bytes(payload(id="i" * 500_000))
    (kit.folder / "text").write_bytes(EVIL.encode() * 1000)
    assert r"\x1b]52;c;ZXZpbA==" in kit("receiver", "explain", "event")
    assert json.loads(kit("receiver", "explain", "event", "--json"))["key"] == f"e{EVIL}".strip()
    kit("receiver", "explain", "wide")
    kit("receiver", "explain", "text", "--header", f"Idempotency-Key: {EVIL}", code=1)
    kit("receiver", "explain", "text", "--header", f"Content-Encoding: {EVIL}", "--json", code=1)
    kit("receiver", "explain", f"none{EVIL}", code=2)
    kit("receiver", "explain", "event", "--header", EVIL, code=2)
    kit("receiver", "url", "--base", EVIL, code=2)
    (kit.folder / "order").write_bytes(
        json.dumps({"id": EVIL, "work_order": {"id": "w", "status": EVIL}, "type": "work_order.completed"}).encode()
    )
    (kit.folder / "refused").write_bytes(
        json.dumps({"type": "work_order.completed", "work_order": {"id": EVIL}}).encode()
    )
    preview: Callable[..., str] = lambda *more, code=0: kit(  # noqa: E731
        "examples.handlers.external_system", "preview", *more, "--url", "https://erp.example.com", code=code
    )
    preview("order")
    preview("order", "--json")
    preview("refused", code=2)
    preview(f"none{EVIL}", code=2)
    preview("order", "--target", EVIL, code=2)


@pytest.mark.parametrize("more", [[], ["--json"], ["--raw"]])
def test_a_payload_is_shown_in_part_and_written_whole(kit: Kit, start: Start, more: list[str]) -> None:
    """`dead show` prints its beginning and says how to see the rest; --raw is the bytes, and never for a terminal."""
    worked(kit, start)
    letters = json.loads(kit("worker", "dead", "list", "--json"))
    [letter] = [letter for letter in letters if letter["handler"] == "evil.act"]
    process = start("-m", "worker", "dead", "show", letter["id"], *more, **kit.env)
    assert process.wait() == 0
    written = process.log.read_bytes()
    if more == ["--raw"]:
        assert written == payload()
        refused = Terminal("worker", "dead", "show", letter["id"], "--raw", cwd=kit.folder, **kit.env).end(2)
        assert refused.startswith("--raw: expected a file or a pipe")
    elif more == ["--json"]:
        assert json.loads(written)["payload"].encode() == payload()
    else:
        assert f"the payload is cut: 4000 of {len(payload())} characters; --json or --raw for all" in written.decode()
