"""Whatever a stranger sends: never a 5xx, never a traceback, never a dead process, never a delivery without an end.

A short run here; `make fuzz` makes a long one with other requests each time.
"""

import gzip
import json
import os
import re
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis import Redis

from receiver import events
from receiver.idempotency import IdempotencyRule
from receiver.queue.keys import Keys
from tests.conftest import TOKEN, Process, Start, wait_until
from tests.receiver.conftest import PATH, listening
from worker.transitions import PARSE

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "250"))
LIMIT = 8192
HEAD = 32 * 1024
T = TypeVar("T")
KEYS = Keys("glartek:")
SOURCES = IdempotencyRule(("event-id", "webhook-id", "cloudevents", "idempotency-key", "body"))
HANDLERS = """
from examples.handlers import audit_log, external_system, teams

ROUTES = {"*": [teams.notify, external_system.update, audit_log.append]}
"""
OUR_FAULT = re.compile(r"^(?!TeamsUnavailable|TargetUnavailable|LogUnavailable)\w+(Error|Exception|Warning)\b")


@dataclass
class Kit:
    """Receiver, worker and stand-ins, and what they acknowledged."""

    port: int
    processes: dict[str, Process]
    redis: Any
    acknowledged: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    sent: int = 0

    def log(self) -> str:
        return "\n".join(f"── {name}\n{process.output[-4000:]}" for name, process in self.processes.items())


@contextmanager
def running(start: Start, url: str, folder: Path) -> Iterator[Kit]:
    """The whole kit with its three example handlers for every event."""
    (folder / "h.py").write_text(HANDLERS)
    sink = start("-m", "examples.sink", "--port", "0", "--teams-rate", "1000000")
    base = sink.wait_for("sink on ").strip().rpartition(" ")[2]
    common = {"REDIS_URL": url, "MAX_BODY_BYTES": str(LIMIT), "LOG_FORMAT": "json"}
    receiver = listening(start("-m", "receiver", **common, WEBHOOK_TOKEN=TOKEN, PORT="0", MAX_BUFFERED_BYTES="1048576"))
    worker = start(
        "-m", "worker", **common, HANDLERS="h:ROUTES", MAX_TRIES="2", RETRY_BASE="10ms", LOG_LEVEL="warning",
        TEAMS_WEBHOOK_URL=f"{base}/workflows/fuzz/triggers/manual/paths/invoke?sig=fuzz",
        TEAMS_ACTION_URL="https://glartek.example.com/{id}", EXTERNAL_URL=base,
        AUDIT_DATABASE_URL="sqlite:///audit.db",
    )  # fmt: skip
    with Redis.from_url(url) as redis:
        yield Kit(receiver.port, {"sink": sink, "receiver": receiver.process, "worker": worker}, redis)


# ── what is sent ────────────────────────────────────────────────────────────────────────────────────────────────

words = st.sampled_from(
    ["", "id", "type", "action", "work_order", "tasks", "name", "title", "action.created", "Work Oder Assigned", "Done",
     "2026-11-03T09:00:00+00:00", "9999-12-31T23:59:59-23:59", "{{DATE(2026)}}", "[a](https://b)", "../..", "%00",
     "\0", "\ud800", "\u202e", "a" * 300, "عربى", "🧑🏽‍🔧", "NaN", "1e999"]
)  # fmt: skip
numbers = st.integers() | st.floats() | st.sampled_from([10**400, 2**63, -(2**63) - 1, 253402300800, -0.0])
scalars = st.none() | st.booleans() | numbers | words | st.text(max_size=20)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4))


@st.composite
def twisted(draw: st.DrawFn) -> Any:
    """A sample event in which some values are something else, and some are gone."""
    payload = draw(st.sampled_from(events.CATALOG)).sample() | {"id": draw(st.uuids()).hex}
    for _ in range(draw(st.integers(0, 4))):
        _twist(draw, payload)
    return payload


def _twist(draw: st.DrawFn, payload: Any) -> None:
    while True:
        key = draw(st.sampled_from(sorted(payload) if isinstance(payload, dict) else range(len(payload))))
        inner = payload[key]
        if not isinstance(inner, dict | list) or not inner or draw(st.booleans()):
            break
        payload = inner
    if draw(st.booleans()):
        payload[key] = draw(values)
    else:
        del payload[key]


def mostly(usual: st.SearchStrategy[T], others: st.SearchStrategy[T], odds: int = 9) -> st.SearchStrategy[T]:
    """The usual in `odds` of ten."""
    return st.integers(1, 10).flatmap(lambda dice: usual if dice <= odds else others)


texts = mostly(twisted(), values, 8).map(lambda value: json.dumps(value).encode())
mangled = st.one_of(
    texts.map(gzip.compress),
    texts.map(lambda text: gzip.compress(text)[:-5]),
    texts.map(lambda text: text[: len(text) // 2]),
    texts.map(lambda text: text.decode().encode("utf-16")),
    st.binary(max_size=200),
    st.sampled_from([b"[" * 5000, b'{"a":' * 1000, b"1" * 5000, b"\xef\xbb\xbf{}", b" " * 100, b"x" * (LIMIT + 1)]),
)
bodies = mostly(texts, mangled, 7)
header_values = st.one_of(
    st.sampled_from(["", "gzip", "br", "deflate, gzip", "identity", "application/json", "application/cloudevents+json",
                     "text/plain; charset=utf-16", "v1,AAAA", "1762160000", "é", "\xff" * 50]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=300),
)  # fmt: skip
header_names = st.sampled_from(
    ["content-type", "content-encoding", "webhook-id", "webhook-timestamp", "webhook-signature", "idempotency-key",
     "ce-id", "ce-source", "ce-type", "user-agent", "x-forwarded-for", "expect", "cookie", "connection", "accept"]
)  # fmt: skip
headers = mostly(st.just({}), st.dictionaries(header_names, header_values, max_size=5), 6)
paths = mostly(
    st.just(PATH),
    st.sampled_from(["/", "/healthz", "/webhooks/glartek/", PATH + "/", PATH + "?a=b", PATH[:-1], PATH + "%00", "*"])
    | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=50).map(lambda text: "/" + text),
)
methods = mostly(st.just("POST"), st.sampled_from(["GET", "PUT", "HEAD", "OPTIONS", "DELETE", "post", "BREW"]))


@dataclass(frozen=True)
class Sent:
    """One request: what it says, how its body is cut into chunks (none: a Content-Length), and what its end is.

    `framing` stands in place of the line that says where the body ends, `padding` makes the head longer.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    chunks: list[int]
    version: str
    upgrade: str
    framing: str | None
    padding: int
    hangs_up: bool

    @property
    def may_be_stored(self) -> bool:
        is_ours = self.method == "POST" and self.path.partition("?")[0] == PATH
        return is_ours and len(self.body) <= LIMIT and self.framing is None and self.padding < HEAD

    def parts(self) -> list[bytes]:
        length = "transfer-encoding: chunked" if self.chunks else f"content-length: {len(self.body)}"
        lines = [
            f"{self.method} {self.path} {self.version}",
            "host: kit",
            length if self.framing is None else self.framing,
        ]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.upgrade:
            lines += ["connection: Upgrade, HTTP2-Settings", f"upgrade: {self.upgrade}"]
        lines += [f"x-padding: {'x' * self.padding}"] * bool(self.padding)
        head = "".join(f"{line}\r\n" for line in [*filter(None, lines), ""]).encode("latin-1")
        if not self.chunks:
            return [head, self.body[: len(self.body) // 2] if self.hangs_up else self.body]
        pieces: list[bytes] = []
        rest = self.body
        for size in self.chunks:
            pieces, rest = [*pieces, rest[:size]], rest[size:]
        framed = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, rest] if piece]
        return [head, *framed, *([] if self.hangs_up else [b"0\r\n\r\n"])]


requests = st.builds(
    Sent,
    methods,
    paths,
    headers,
    bodies,
    chunks=st.lists(st.integers(1, 3000), max_size=3),
    version=mostly(st.just("HTTP/1.1"), st.just("HTTP/1.0")),
    upgrade=mostly(st.just(""), st.sampled_from(["h2c", "websocket", "TLS/1.2", "foo/1, bar", "\xff"]), 7),
    framing=mostly(
        st.none(),
        mostly(st.none(), st.sampled_from(["", "transfer-encoding: gzip, chunked", "content-length: 5, 6"]), 5),
    ),
    padding=mostly(st.just(0), mostly(st.integers(1, 30_000), st.integers(HEAD, 300_000), 5)),
    hangs_up=mostly(st.just(False), st.booleans()),
)


# ── what comes of it ────────────────────────────────────────────────────────────────────────────────────────────


def answer(port: int, sent: Sent) -> int | None:
    """The status; None when the receiver hung up, as it may on what is not HTTP, or when we did."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            for part in sent.parts():
                connection.sendall(part)
            if sent.hangs_up:
                return None
            said = connection.recv(65536)
            while said.startswith(b"HTTP/1.1 100") and said.endswith(b"\r\n\r\n"):  # it was asked whether to go on
                said = said.partition(b"\r\n\r\n")[2] or connection.recv(65536)
        except ConnectionError:
            return None
        return int(said.split(b" ")[1]) if said else None


def check(kit: Kit, sent: Sent) -> None:
    """One request, and its answer in time and of the right kind."""
    began = time.monotonic()
    status = answer(kit.port, sent)
    assert time.monotonic() - began < 10, sent
    kit.sent += 1
    assert status in {None, 200, 400, 404, 405, 411, 413, 431, 501}, f"{status}: {sent}\n{kit.log()}"
    if status == 200 and sent.path != "/healthz":
        assert sent.may_be_stored, sent
        seen = {name: value.strip(" \t") for name, value in sent.headers.items()}
        delivery = SOURCES.delivery(seen, sent.body, 0)
        kit.acknowledged[delivery.id].add(delivery.digest[:16])


def problems(kit: Kit) -> list[str]:
    """What is wrong once nothing waits any more, in words."""
    found = [f"{name} died" for name, process in kit.processes.items() if process.has_ended()]
    found += [f"{name} printed a traceback" for name, one in kit.processes.items() if "Traceback" in one.output]
    records = {key.decode().rpartition(":")[2] for key in kit.redis.scan_iter(KEYS.delivery("*"), count=1000)}
    found += [f"acknowledged and not remembered: {one}" for one in kit.acknowledged.keys() - records]
    for record in records:
        fields = _hash(kit, KEYS.delivery(record))
        if fields["d"] not in kit.acknowledged.get(record, {fields["d"]}):
            found.append(f"{record} holds other bytes than were acknowledged")
        outcomes = {name: value for name, value in fields.items() if "." in name or name == PARSE}
        states = {value.split(b" ")[0] for value in outcomes.values()}
        if not states or states - {b"done", b"skipped", b"dead"}:
            found.append(f"{record} has not ended: {states}")
    for dead_id in kit.redis.zrange(KEYS.dead, 0, -1):
        reason = _hash(kit, KEYS.dead_letter(dead_id.decode())).get("reason", b"").decode()
        if OUR_FAULT.match(reason):
            found.append(f"{dead_id.decode()}: {reason}")
    return found


def _hash(kit: Kit, key: str) -> dict[str, bytes]:
    return {name.decode(): value for name, value in kit.redis.execute_command("HGETALL", key).items()}


def test_nothing_that_is_sent_does_harm(
    start: Start, valkey_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any bodies, headers, paths and chunks: an answer that is no 5xx, and for every 200 an end at each handler."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize="FUZZ_EXAMPLES" not in os.environ,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests)
    def send(sent: Sent) -> None:
        check(kit, sent)
        if kit.sent % 1000 == 0:
            with capsys.disabled():
                print(f"{kit.sent} of {EXAMPLES} sent, {len(kit.acknowledged)} acknowledged", flush=True)  # noqa: T201

    with Redis.from_url(valkey_url) as redis:
        redis.flushall()
    with running(start, valkey_url, tmp_path) as kit:
        send()
        waits = lambda: kit.redis.zcard(KEYS.queue) + kit.redis.zcard(KEYS.leases)  # noqa: E731
        wait_until(lambda: not waits(), timeout=60, explain=kit.log)
        assert problems(kit) == [], kit.log()
    assert len(kit.acknowledged) > EXAMPLES / 5
