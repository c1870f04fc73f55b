"""No command of the sender prints a token, a secret or a payload: words are planted in all of them and looked for.

Against this kit, against a receiver that repeats in its answer what it was sent, as error pages do, and against none.
Left out is what shows requests by purpose: `--curl`, `lifecycle --dry-run`, `listen --json` and its live list. A new
command fails this test until it is run here.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from redis import Redis

from examples.sender.__main__ import app
from examples.sender.http.arrivals import Answer, Arrival
from examples.sender.http.recording import RecordingReceiver
from tests.canaries import PAYLOAD, canary, found, payload
from tests.conftest import Process, Server, Start
from tests.receiver.conftest import listening

TOKEN, SECRET, HEADER, PASSWORD = (canary(name) for name in ("token", "secret", "a header", "the password of Redis"))
WORDS = {"token": TOKEN, "secret": SECRET, "header": HEADER, "password of Redis": PASSWORD}
WORDS |= {word: word for word in PAYLOAD}
PATH = f"/webhooks/glartek/{TOKEN}"
QUICK = ("--burst", "3", "--rate", "5", "--rate-seconds", "0.5", "--max-rate", "10", "--idle", "0.2", "--timeout", "2")
SCENARIO = f"""
[[step]]
name = "made"
send = "action.created"
set = {{ "action.title" = "{PAYLOAD[0]}" }}
effects = 1

[[step]]
again = "made"
"""
SENDING: Mapping[str, Sequence[str]] = {
    "send": ("action.created", "--set", f"action.title={PAYLOAD[0]}"),
    "send --raw": ("--raw", "event.json"),
    "all": (),
    "lifecycle": ("--speed", "0", "--work-orders", "1", "--retries", ""),
    "storm": ("--count", "20", "--clients", "2"),
    "scenario": ("scenario.toml", "--junit", "report.xml"),
    "replay": ("recording", "--speed", "0"),
    "check": ("--html", "report.html", "--junit", "report.xml", *QUICK),
}
"""What sends, with its options."""
OTHERS = {"list", "listen", "profile"}


def test_every_command_is_run() -> None:
    """None can be added and forgotten here."""
    commands = {command.name for command in app.registered_commands}
    assert commands == {name.split()[0] for name in SENDING} | OTHERS


class Sender:
    """Runs commands with every secret, and keeps what they print and write."""

    def __init__(self, start: Start, folder: Path) -> None:
        self._start, self._folder = start, folder
        self.said: dict[str, str] = {}

    def begin(self, *arguments: str, **env: str) -> Process:
        return self._start("-m", "examples.sender", *arguments, SENDER_SECRET=f"whsec_{SECRET}", COLUMNS="300", **env)

    def run(self, note: str, *arguments: str, **env: str) -> None:
        process = self.begin(*arguments, **env)
        process.wait(60)
        self._keep(f"{note}: {' '.join(arguments)}", process)

    def run_all(self, note: str, url: str, **env: str) -> None:
        """Each command that sends, its report as text, as JSON and as files."""
        for name, options in SENDING.items():
            command = name.split()[0]
            tells = command in {"check", "scenario"}
            given = [url] if command == "check" else ["--to", url]
            given += ["--ledger"] * bool(env) if tells else ["--header", f"Authorization: Bearer {HEADER}"]
            for form in ["--json"], []:
                if form or command != "check":  # which takes its time, and says the same in its files
                    self.run(note, command, *options, *given, *form, **env)

    def receive(self, send: Callable[[str], None], *arguments: str) -> None:
        """A command that receives, from its start to its report on what `send` has sent to it."""
        process = self.begin(*arguments, "--port", "0")
        where = re.search(r"http://127\.0\.0\.1:\d+", process.wait_for("Ctrl-C"))
        assert where
        send(where[0])
        process.stop()
        self._keep(" ".join(arguments), process)

    def _keep(self, note: str, process: Process) -> None:
        self.said[note] = process.output
        for file in (*self._folder.glob("report.*"), *self._folder.glob("proposed/*")):
            self.said[f"{note} > {file.name}"] = file.read_text(encoding="utf-8")
            file.unlink()


def repeat(arrival: Arrival) -> Answer:
    """An answer as many frameworks give it: what they cannot do, and the request."""
    shown = [f"{name}: {value}" for name, value in arrival.sent_headers if name.lower() == "authorization"]
    return Answer(404, body="\n".join([f"Cannot {arrival.method} {arrival.target}", *shown]).encode())


@pytest.mark.timeout(240)
@pytest.mark.anyio
async def test_nothing_planted_is_printed(start: Start, server: Server, tmp_path: Path) -> None:
    """Whatever a receiver answers, whatever arrives at the sender's own, on the terminal and in every report."""
    (tmp_path / "event.json").write_bytes(payload("e1"))
    (tmp_path / "scenario.toml").write_text(SCENARIO, encoding="utf-8")
    (tmp_path / "acts.py").write_text("async def act(event, ctx): ...\nROUTES = {'*': [act]}\n", encoding="utf-8")
    sender = Sender(start, tmp_path)

    def send(base: str) -> None:
        to = f"{base}{PATH}?token={TOKEN}"
        for _ in range(2):
            sender.run(base, "send", "--raw", "event.json", "--to", to, "--header", f"Authorization: Bearer {HEADER}")

    def receive_and_send(base: str) -> None:
        sender.receive(send, "profile", "--html", "report.html", "--write", "proposed")
        sender.receive(send, "profile", "--json")
        sender.receive(send, "listen", "--save", "recording")
        sender.receive(send, "listen", "--forward-to", f"{base}{PATH}")
        sender.run_all("repeating", f"{base}{PATH}")
        sender.run("list", "list")

    async with RecordingReceiver(repeat) as repeating:
        base = repeating.url.rpartition("/")[0]
        await asyncio.to_thread(receive_and_send, base)
    await asyncio.to_thread(sender.run_all, "none", f"{base}{PATH}")

    with Redis.from_url(server.url) as redis:
        redis.config_set("requirepass", PASSWORD)
    env = {"REDIS_URL": server.url.replace("unix://", f"unix://:{PASSWORD}@")}
    secrets = {"WEBHOOK_TOKEN": TOKEN, "SIGNING_SECRETS": f"whsec_{SECRET}", "SPOOL_PATH": str(tmp_path / "spool.db")}
    receiver = await asyncio.to_thread(lambda: listening(start("-m", "receiver", PORT="0", **env, **secrets)))
    start("-m", "worker", HANDLERS="acts:ROUTES", **env)
    await asyncio.to_thread(sender.run_all, "kit", f"http://127.0.0.1:{receiver.port}{PATH}", **env)

    _shows_that_it_ran(sender.said)
    assert found(sender.said, WORDS) == []


def _shows_that_it_ran(said: Mapping[str, str]) -> None:
    """Silence would prove nothing."""
    everything = "\n".join(said.values())
    assert everything.count("Cannot POST /webhooks/glartek/Zq7") >= 20
    assert "authorization: Bearer Zq7" in everything
    assert "cannot connect" in everything
    assert "endpoint's URL" in everything
    assert "made: takes effect once" in everything
    assert re.search(r'"summary": "(2|3)\d passed', everything)
    assert not [text for text in said.values() if "Traceback" in text]
