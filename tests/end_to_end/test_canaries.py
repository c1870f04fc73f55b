"""No secret, header or payload is printed or shown anywhere: unique words are planted in all of them and looked for.

The whole kit runs at debug level, with everything going wrong that has an error to tell: Teams and the handlers fail,
tokens and bodies are wrong, Redis goes away. Commands that show a delivery by purpose may show its payload, and nothing
may show a secret. A new secret setting, or a new command, fails this test until it is planted or run here.
"""

import importlib
import json
import pkgutil
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer
from redis import Redis

import examples
import receiver as receiver_package
import worker as worker_package
from receiver.auth import sign
from receiver.environment import EnvSettings
from receiver.queue.keys import Keys
from receiver.secret_files import is_secret
from tests.canaries import PAYLOAD, canary, found, payload
from tests.conftest import Process, Server, Start, wait_until
from tests.receiver.conftest import Receiver, listening, request

KEYS = Keys("glartek:")
HANDLERS = """
import asyncio
import threading
import warnings

from examples.handlers import audit_log, external_system, teams


async def leak(event, ctx):
    words = event.payload["title"]
    task = asyncio.create_task(forget(words))
    await asyncio.wait([task])
    thread = threading.Thread(target=int, args=(words,))
    thread.start()
    thread.join()
    if "gives up" in event.payload["note"]:
        int(words)
    raise RuntimeError(f"cannot handle {event.payload}") from ValueError(words)


async def forget(words):
    raise KeyError(words)


async def hang(event, ctx):
    await asyncio.sleep(60)


ROUTES = {"*": [teams.notify, external_system.update, audit_log.append, leak, hang]}
"""

TARGET = """
from dataclasses import replace

from examples.handlers.external_system.auth import api_key, basic, bearer, oauth2
from examples.handlers.external_system.targets.generic_rest import TARGET as GENERIC


def all_of_them(secret):
    for make in (basic, bearer, api_key("X-Api-Key")):
        make(secret)
    return oauth2("/nothing")(secret)


TARGET = replace(GENERIC, auth=all_of_them)
"""


TOKEN, WRONG_TOKEN, SIGNING = canary("WEBHOOK_TOKEN"), canary("a wrong token"), f"whsec_{canary('SIGNING_SECRETS')}"
HEADERS = {name: canary(f"header {name}") for name in ("authorization", "idempotency_key", "x_secret", "ce_source")}
PLANTED: dict[str, Callable[[str, str], str]] = {
    "ALERTS_TEAMS_URL": lambda word, base: f"{base}/workflows/alerts/triggers/manual/paths/invoke?sig={word}",
    "AUDIT_ANCHOR_URL": lambda word, base: f"{base}/nothing/{word}",
    "AUDIT_DATABASE_URL": lambda word, _: f"sqlite:///{word}.db",
    "AUDIT_KEY": lambda word, _: word * 2,
    "CONSOLE_PASSWORD": lambda word, _: word,
    "CONSOLE_READER_PASSWORD": lambda word, _: word,
    "EXTERNAL_API_KEY": lambda word, _: word,
    "EXTERNAL_CLIENT_ID": lambda word, _: word,
    "EXTERNAL_CLIENT_SECRET": lambda word, _: word,
    "EXTERNAL_PASSWORD": lambda word, _: word,
    "EXTERNAL_TOKEN": lambda word, _: word,
    "EXTERNAL_USERNAME": lambda word, _: word,
    "REDIS_URL": lambda word, _: f"unix://:{word}@",
    "SIGNING_SECRETS": lambda word, _: f"whsec_{word}",
    "TEAMS_WEBHOOK_URL": lambda word, base: f"{base}/workflows/kit/triggers/manual/paths/invoke?sig={word}",
    "WEBHOOK_TOKEN": lambda word, _: word,
}
"""Every secret setting with its word in it; `base` is the stand-ins' address."""
BROKEN = {
    "ALERTS_TEAMS_URL": "ftp://x/?sig={}",
    "AUDIT_ANCHOR_URL": "ftp://user:{}@x",
    "AUDIT_DATABASE_URL": "postgresql+psycopg://user:{}@127.0.0.1:1/audit",
    "AUDIT_KEY": "{},short",
    "REDIS_URL": "http://:{}@x",
    "SIGNING_SECRETS": "whsec_{}!",
    "TEAMS_WEBHOOK_URL": "ftp://x/?sig={}",
    "WEBHOOK_TOKEN": "{}/",
}
"""Values that are refused at the start; of the others any text will do."""
APPS = ("receiver", "worker", "examples.handlers.audit_log", "examples.handlers.external_system")
QUIET: dict[str, Sequence[str]] = {
    "receiver doctor": ("--json",),
    "receiver keys": (),
    "receiver learn": ("--kept", "--json"),
    "receiver spool list": ("--json",),
    "receiver spool retry": (),
    "worker dead groups": (),
    "worker doubtful list": ("--json",),
    "worker drift": ("--json",),
    "worker gaps": ("--json",),
    "worker healthy": ("--json",),
    "worker status": ("--json",),
    "worker tail": (),
    "examples.handlers.audit_log head": ("--json",),
    "examples.handlers.audit_log verify": (),
}
"""Commands that show nothing of a payload."""
SHOWING: dict[str, Sequence[str]] = {
    "receiver explain": ("event.json", "--json"),
    "worker dead list": ("--json",),
    "worker dead replay": ("--all", "--preview"),
    "worker dead save-test": ("DEAD", "--json"),
    "worker dead show": ("DEAD", "--json"),
    "worker replay": ("DELIVERY", "--json"),
    "worker show": ("DELIVERY", "--trace"),
    "worker try": ("teams.notify", "--json"),
    "examples.handlers.audit_log export": (),
    "examples.handlers.external_system preview": ("order.json",),
}
"""Commands that show deliveries by purpose: no secret is in them either."""
NOT_RUN = {
    "receiver serve", "worker run", "worker console",  # run as processes
    "receiver url",  # its purpose is to print the token
    "receiver spool drop", "receiver spool recover", "worker dead drop", "worker dead note",
    "worker doubtful replay",  # print numbers, or what they were given
}  # fmt: skip


def commands() -> Iterator[str]:
    """Every command of `APPS`."""
    for name in APPS:
        yield from _below(name, typer.main.get_command(importlib.import_module(f"{name}.__main__").app))


def _below(name: str, command: Any) -> Iterator[str]:
    for part, child in getattr(command, "commands", {}).items():
        yield from _below(f"{name} {part}", child)
    if not hasattr(command, "commands"):
        yield name


def secret_settings() -> set[str]:
    """The variable of every secret setting of every settings class there is."""
    for package in (receiver_package, worker_package, examples):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    waiting, found = [EnvSettings], set()
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        fields = {name for name, field in one.model_fields.items() if is_secret(field)}
        if one.__module__.split(".")[0] in {"receiver", "worker", "examples"}:
            found |= {f"{one.model_config.get('env_prefix', '')}{name}".upper() for name in fields}
    return found


def test_every_secret_is_planted_and_every_command_is_run() -> None:
    """None can be added and forgotten here."""
    assert secret_settings() == set(PLANTED)
    assert set(commands()) == {*QUIET, *SHOWING, *NOT_RUN}


class Kit:
    """Everything with its secrets, and all that it has said."""

    def __init__(self, start: Start, server: Server, folder: Path, base: str) -> None:
        self._start, self.folder, self.base = start, folder, base
        words = {name: make(canary(name), base) for name, make in PLANTED.items()}
        words["REDIS_URL"] += server.url.removeprefix("unix://")
        self.env = words | {
            "HANDLERS": "leaks:ROUTES", "SPOOL_PATH": str(folder / "spool.db"), "LOG_LEVEL": "debug",
            "ALERTS_EVERY": "0.2s", "ALERTS_AFTER": "0.5s", "ALERTS_DOCTOR": "1s", "MAX_BODY_BYTES": "65536",
            "RETRY_BASE": "0.1s", "RETRY_CAP": "0.1s", "MAX_TRIES": "2", "HANDLER_TIMEOUT": "1s",
            "EXTERNAL_URL": base, "EXTERNAL_TARGET": "theirs",
            "AUDIT_ANCHOR_EVERY": "1s", "SHADOW_SOURCES": "header:x-secret,body",
            "PORT": "0", "CONSOLE_PORT": "0",
        }  # fmt: skip
        self.processes: dict[str, Process] = {}
        self.showing: dict[str, str] = {}
        self.quiet: dict[str, str] = {}

    def start(self, name: str, *arguments: str, **env: str) -> Process:
        process = self.processes[name] = self._start("-m", *arguments, **self.env | env)
        return process

    def run(self, which: dict[str, Sequence[str]], into: dict[str, str], note: str, **words: str) -> None:
        """Run commands, each with its options and without; a long one is ended."""
        for command, options in which.items():
            given = [words.get(option, option) for option in options]
            needed = [option for option in given if not option.startswith("--") or option in {"--kept", "--all"}]
            for arguments in (given, needed):
                process = self._start("-m", *command.split(" "), *arguments, **self.env)
                if command == "worker tail":
                    time.sleep(1.5)
                    process.stop()
                else:
                    process.wait(60)
                into[f"{note}: {command} {' '.join(arguments)}"] = process.output


def send(to: Receiver, body: bytes, *, token: str = TOKEN, secret: str = SIGNING, **headers: str) -> int:
    """A signed delivery with a word in every header; the answer's status."""
    now = int(time.time())
    signed = {"webhook_id": canary("header webhook-id"), "webhook_timestamp": str(now)}
    signed["webhook_signature"] = sign(secret, signed["webhook_id"], now, body)
    path = f"/webhooks/glartek/{token}"
    return to.post(body, path=path, **HEADERS | signed | {"user_agent": canary("header user-agent")} | headers).status


def send_all(to: Receiver) -> None:
    """What is stored, what is refused, and what is no HTTP."""
    assert send(to, payload("e1")) == 200
    assert send(to, payload("e1")) == 200
    assert send(to, payload("e1", other=1)) == 200
    assert send(to, payload("e2", note=f"gives up {PAYLOAD[1]}")) == 200
    assert send(to, payload("e3", type="theirs.own")) == 200
    order = {"id": "w7", "status": "Done", "code": PAYLOAD[0], "tasks": [{"name": PAYLOAD[1]}]}
    assert send(to, payload("w1", type="work_order.completed", work_order=order)) == 200
    assert send(to, payload("e4")[:-9]) == 200
    assert send(to, payload("e5"), content_encoding="gzip") == 200
    assert send(to, PAYLOAD[0].encode() * 100) == 200
    assert send(to, payload("e6"), token=WRONG_TOKEN) == 404
    assert send(to, payload("e6"), secret=f"whsec_{canary('a wrong secret')}") == 401
    assert send(to, PAYLOAD[0].encode() * 9000) == 413
    with to.connect() as sender:
        sender.send(request(payload("e7"), path=f"/{TOKEN}", method="GET"))
        assert sender.answer().status == 404
    with to.connect() as sender:
        sender.send(f"POST /webhooks/glartek/{TOKEN} HTTP/1.1\r\n{PAYLOAD[0]}\r\n\r\n".encode())
        assert sender.answer().status == 400


def ask_console(address: str, kit: Kit, note: str) -> None:
    """Its pages with each password, a wrong one and none."""
    passwords = [canary("CONSOLE_PASSWORD"), canary("CONSOLE_READER_PASSWORD"), canary("a wrong password")]
    for password in passwords:
        for path in ("/", "/deliveries", "/dead", "/dead/letters", "/runs"):
            answer = httpx2.get(f"{address}{path}", auth=("user", password), trust_env=False, timeout=20)
            kit.showing[f"{note}: console {path}"] = f"{answer.headers}{answer.text}"
    for path in ("/metrics", "/healthz"):
        answer = httpx2.get(f"{address}{path}", trust_env=False, timeout=20)
        kit.quiet[f"{note}: console {path}"] = f"{answer.headers}{answer.text}"


@pytest.mark.timeout(300)
def test_nothing_planted_is_printed_or_shown(start: Start, server: Server, tmp_path: Path, stand_ins: str) -> None:
    """In good times and bad, of every process, command, page and scrape."""
    (tmp_path / "leaks.py").write_text(HANDLERS, encoding="utf-8")
    (tmp_path / "theirs.py").write_text(TARGET, encoding="utf-8")
    (tmp_path / "event.json").write_bytes(payload("e8"))
    (tmp_path / "order.json").write_bytes(payload("w8", type="work_order.completed", work_order={"id": "w8"}))
    kit = Kit(start, server, tmp_path, stand_ins)
    with Redis.from_url(server.url) as redis:
        redis.config_set("requirepass", canary("REDIS_URL"))
    httpx2.post(f"{stand_ins}/control/teams", json={"answers": [503, 429, 400] * 9}, trust_env=False)

    receiver = listening(kit.start("receiver", "receiver"))
    worker, console = kit.start("worker", "worker"), kit.start("console", "worker", "console")
    listens = re.search(r'"address": "([^"]+)"', console.wait_for("console listening"))
    assert listens
    address = f"http://{listens[1]}"
    send_all(receiver)
    with Redis.from_url(kit.env["REDIS_URL"]) as redis:
        wait_until(lambda: failing(worker.output) >= FAILING, 60, lambda: str(failing(worker.output)))
        wait_until(lambda: redis.zcard(KEYS.dead) >= 8, 60, lambda: worker.output[-3000:])
        dead = [name.decode() for name in redis.zrange(KEYS.dead, 0, -1)]
    words = {"DEAD": dead[0], "DELIVERY": dead[0].partition(":")[0]}
    ask_console(address, kit, "up")
    kit.quiet["up: receiver /healthz"] = httpx2.get(f"http://127.0.0.1:{receiver.port}/healthz", trust_env=False).text
    kit.run(QUIET, kit.quiet, "up")
    kit.run(SHOWING, kit.showing, "up", **words)

    server.kill()
    assert send(receiver, payload("e9")) == 200
    ask_console(address, kit, "away")
    kit.run(QUIET, kit.quiet, "away")
    kit.run(SHOWING, kit.showing, "away", **words)
    kit.quiet["away: receiver /healthz"] = httpx2.get(f"http://127.0.0.1:{receiver.port}/healthz", trust_env=False).text
    wait_until(lambda: "redis is away: spooling" in receiver.process.output)
    for process in kit.processes.values():
        process.stop()
    for name, value in BROKEN.items():
        for command in ("receiver", "worker"):
            process = kit.start(f"{command} with a wrong {name}", command, **{name: value.format(canary(name))})
            wait_until(lambda process=process: process.has_ended() or "ing" in process.output)  # type: ignore[misc]
            process.stop()

    _shows_that_it_ran(kit, receiver.process.output, worker.output)
    logs = {name: process.output for name, process in kit.processes.items()}
    secrets = {name: canary(name) for name in PLANTED} | {"a wrong token": WRONG_TOKEN}
    secrets |= {"a wrong password": canary("a wrong password")}
    content = {word: word for word in (*PAYLOAD, *HEADERS.values(), canary("header user-agent"))}
    assert found(logs | kit.quiet | kit.showing, secrets) == []
    assert found(logs | kit.quiet, content) == []


FAILING = {"leaks.leak", "leaks.hang", "teams.notify", "external_system.update"}


def failing(output: str) -> set[str]:
    """The handlers of which a worker's log tells that they failed."""
    said = [json.loads(line) for line in output.splitlines(keepends=True) if line.endswith("\n")]
    return {line["handler"] for line in said if line.get("outcome") in {"retry", "dead"}}


def _shows_that_it_ran(kit: Kit, receiver: str, worker: str) -> None:
    """Silence would prove nothing: every kind of trouble was told."""
    said = [json.loads(line) for line in (receiver + worker).splitlines()]
    events = {line["event"] for line in said}
    assert {
        "accepted", "refused", "redis is away: spooling", "handler will be run again", "dead letter", "traceback",
        "unreadable delivery", "Task exception was never retrieved", "a thread ended by an error",
        "conflict: same key, other bytes", "alert", "receiver stopped", "worker stopped",
    } <= events  # fmt: skip
    assert failing(worker) >= FAILING
    assert any(PAYLOAD[0] in text for text in kit.showing.values())
    assert any("ValueError" in text for name, text in kit.showing.items() if name.startswith("up: worker show"))
