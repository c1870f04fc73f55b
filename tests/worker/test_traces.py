"""Traces: what a real SDK sees of a POST and of its handlers' runs, and that nothing is seen where they are off."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import SecretStr
from starlette.testclient import TestClient

from receiver.app import create_app
from receiver.environment import load
from receiver.queue.jobs import unpack
from receiver.settings import ReceiverSettings
from tests.conftest import ROOT, TOKEN, Start, until
from tests.receiver.conftest import PATH, event, listening
from tests.worker.conftest import KEYS, Rig, make_handler
from worker import Context, Event, GiveUp, RetryLater, Skip

SENDER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
"""A `traceparent` of the sender's."""


class Spans:
    """What was recorded, by name, in the order of the ends."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    @property
    def accepted(self) -> list[ReadableSpan]:
        return self.named("accept glartek:queue")

    def text(self) -> str:
        """All that would leave this process."""
        return "".join(span.to_json() for span in self._exporter.get_finished_spans())


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """The SDK's, for the whole process: an application can set its provider once."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[Spans]:
    exporter.clear()
    yield Spans(exporter)
    exporter.clear()


Post = Callable[..., int]


@pytest.fixture
def post(valkey_url: str, tmp_path: Path) -> Post:
    """Send an event to a receiver of this process that traces; the answer's status."""

    def send(body: bytes, path: str = PATH, url: str = valkey_url, **headers: str) -> int:
        settings: dict[str, Any] = {"redis_url": SecretStr(url), "webhook_token": TOKEN, "traces": True}
        with TestClient(create_app(load(ReceiverSettings, spool_path=tmp_path / "spool.db", **settings))) as client:
            return client.post(path, content=body, headers=headers).status_code

    return send


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def about(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_the_first_run_is_a_child_of_the_post_and_a_retry_a_trace_linked_to_it(
    rig: Rig, post: Post, spans: Spans
) -> None:
    """Two handlers, one of which fails once: three runs, one of them in a trace of its own."""

    def fails_once(attempt: int) -> None:
        if attempt == 1:
            raise OSError("the target is away")

    assert post(event("e1")) == 200
    async with rig.working({"*": [make_handler("act", fails_once), make_handler("other")]}, traces=True):
        await until(lambda: len(spans.named("run h.act")) == 2)
        await rig.idle()
    [accepted] = spans.accepted
    [other], [first, second] = spans.named("run h.other"), spans.named("run h.act")
    assert accepted.parent is None
    for run in (first, other):
        assert (run.context.trace_id, parent_of(run)) == (accepted.context.trace_id, accepted.context.span_id)
        assert not run.links
    assert second.parent is None
    assert second.context.trace_id != accepted.context.trace_id
    assert [link.context.span_id for link in second.links] == [accepted.context.span_id]
    assert [about(run)["glartek.attempt"] for run in (first, second)] == [1, 2]


async def test_a_span_says_what_it_is_about(rig: Rig, post: Post, spans: Spans) -> None:
    """By the names of OpenTelemetry's conventions for messaging; a duplicate is told, too."""
    assert [post(event("e1")), post(event("e1"))] == [200, 200]
    async with rig.working({"*": [make_handler("act")]}, traces=True):
        await until(lambda: spans.named("run h.act"))
        await rig.idle()
    [first, again], [run] = spans.accepted, spans.named("run h.act")
    common = {
        "messaging.system": "arq",
        "messaging.destination.name": "glartek:queue",
        "messaging.message.id": about(run)["messaging.message.id"],
        "messaging.message.body.size": len(event("e1")),
        "glartek.event.type": "action.created",
    }
    sent = {"messaging.operation.name": "accept", "messaging.operation.type": "send"}
    assert about(first) == common | sent | {"glartek.acceptance": ("stored",)}
    assert about(again) == common | sent | {"glartek.acceptance": ("duplicate",)}
    assert about(run) == common | {
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "h.act",
        "glartek.attempt": 1,
    }
    assert [span.kind for span in (first, run)] == [SpanKind.PRODUCER, SpanKind.CONSUMER]


async def test_the_sender_s_trace_goes_on(rig: Rig, post: Post, spans: Spans) -> None:
    """A `traceparent` in the request is the parent of the POST, and its trace that of the first run."""
    assert post(event("e1"), traceparent=SENDER) == 200
    async with rig.working({"*": [make_handler("act")]}, traces=True):
        await until(lambda: spans.named("run h.act"))
    [accepted], [run] = spans.accepted, spans.named("run h.act")
    assert f"{accepted.context.trace_id:032x}" == f"{run.context.trace_id:032x}" == SENDER[3:35]
    assert f"{parent_of(accepted):016x}" == SENDER[36:52]


@pytest.mark.parametrize("traceparent", ["", "00-0-0-00", "x" * 5000, SENDER.replace("00-", "ff-")])
def test_a_traceparent_that_is_none_begins_a_trace(post: Post, spans: Spans, traceparent: str) -> None:
    """Whatever a sender puts there, the event is stored."""
    assert post(event("e1"), traceparent=traceparent) == 200
    assert [span.parent for span in spans.accepted] == [None]


async def test_a_delivery_that_went_through_the_spool_keeps_its_trace(rig: Rig, post: Post, spans: Spans) -> None:
    """Accepted while Redis was away, run later: one trace."""
    assert post(event("e1"), url="redis://127.0.0.1:1") == 200
    assert post(event("e2")) == 200  # this receiver finds what waits
    [spooled, _] = spans.accepted
    async with rig.working({"*": [make_handler("act")]}, traces=True):
        await until(lambda: len(spans.named("run h.act")) == 2)
    assert about(spooled)["glartek.acceptance"] == ("spooled",)
    children = [run for run in spans.named("run h.act") if parent_of(run) == spooled.context.span_id]
    assert [about(run)["messaging.message.id"] for run in children] == [about(spooled)["messaging.message.id"]]


async def test_what_a_handler_traces_itself_is_part_of_its_run(rig: Rig, post: Post, spans: Spans) -> None:
    """So an instrumented HTTP client shows what a handler sent."""

    async def calls(event: Event, ctx: Context) -> None:  # noqa: ARG001 - a handler's signature
        with trace.get_tracer("theirs").start_as_current_span("their call"):
            await asyncio.sleep(0)

    calls.__module__ = "h"
    assert post(event("e1")) == 200
    async with rig.working({"*": [calls, make_handler("other")]}, traces=True):
        await until(lambda: spans.named("run h.calls"))
    [call], [run] = spans.named("their call"), spans.named("run h.calls")
    assert parent_of(call) == run.context.span_id


async def test_an_error_is_told_by_its_type_alone(rig: Rig, post: Post, spans: Spans) -> None:
    """Neither its text, nor payload, token or header is in a span; to ask for later, or to skip, is no error."""

    def fails(error: BaseException) -> Callable[[int], None]:
        def act(attempt: int) -> None:
            if attempt == 1:
                raise error

        return act

    secret = "Zq7-a-word-that-nobody-may-see"
    failing = [
        make_handler("breaks", fails(ValueError(secret))),
        make_handler("gives_up", fails(GiveUp(secret))),
        make_handler("waits", fails(RetryLater(0, secret))),
        make_handler("skips", fails(Skip(secret))),
    ]
    assert post(event("e1", title=secret, type=secret), user_agent=secret) == 200
    async with rig.working({"*": failing}, traces=True):
        await rig.idle()
    told = {name: spans.named(f"run h.{name}")[0] for name in ("breaks", "gives_up", "waits", "skips")}
    codes = {name: span.status.status_code for name, span in told.items()}
    assert codes == dict.fromkeys(("breaks", "gives_up"), StatusCode.ERROR) | dict.fromkeys(
        ("waits", "skips"), StatusCode.UNSET
    )
    assert [about(told[name])["error.type"] for name in ("breaks", "gives_up")] == ["ValueError", "GiveUp"]
    assert [about(told[name])["glartek.raised"] for name in ("waits", "skips")] == ["RetryLater", "Skip"]
    assert not any(span.events or span.status.description for span in told.values())
    assert secret not in spans.text()
    assert TOKEN not in spans.text()


def test_who_has_no_token_makes_no_span(post: Post, spans: Spans) -> None:
    """A stranger cannot fill the traces' backend; what is refused with the right token is told by its status."""
    assert post(event("e1"), path="/webhooks/glartek/wrong") == 404
    assert spans.accepted == []
    assert post(b"x" * (2 << 20)) == 413
    [refused] = spans.accepted
    assert (about(refused)["error.type"], refused.status.status_code) == ("413", StatusCode.ERROR)


# ── without an SDK, without the API, off ────────────────────────────────────────────────────────────────────────


async def _stored(rig: Rig) -> list[dict[str, Any]]:
    jobs = [await rig.redis.get(b"arq:job:" + job_id) for job_id in await rig.redis.zrange(KEYS.queue, 0, -1)]
    return [unpack(job)["a"][0] for job in jobs]


async def test_without_an_sdk_nothing_is_added(rig: Rig, start: Start, tmp_path: Path) -> None:
    """The API alone records nothing; the sender's own trace is handed on all the same."""
    env = {"REDIS_URL": rig.url, "WEBHOOK_TOKEN": TOKEN, "PORT": "0", "SPOOL_PATH": str(tmp_path / "spool.db")}
    receiver = await asyncio.to_thread(lambda: listening(start("-m", "receiver", TRACES="true", **env)))
    assert receiver.post(event("e1")).status == receiver.post(event("e2"), traceparent=SENDER).status == 200
    assert [value.get("traceparent") for value in await _stored(rig)] == [None, SENDER]


OPENTELEMETRY = "from pathlib import Path\nPath('imported').touch()\nraise ModuleNotFoundError('not installed')\n"


@pytest.mark.parametrize("process", ["receiver", "worker"])
def test_a_missing_package_stops_the_start_with_one_line(start: Start, tmp_path: Path, process: str) -> None:
    """It names the setting and says what to install."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text(OPENTELEMETRY, encoding="utf-8")
    (tmp_path / "acts.py").write_text("async def act(event, ctx): ...\nROUTES = {'*': [act]}\n", encoding="utf-8")
    env = {"REDIS_URL": "redis://127.0.0.1:1", "WEBHOOK_TOKEN": TOKEN, "HANDLERS": "acts:ROUTES"}
    started = start("-m", process, TRACES="true", PYTHONPATH=f"{tmp_path}:{ROOT}", **env)
    assert started.wait() == 2
    [line] = [line for line in started.output.splitlines() if not line.startswith("{")]
    assert line.startswith("TRACES: expected the package opentelemetry-api")
    assert "pip install" in line


async def test_off_nothing_is_imported_and_nothing_written(rig: Rig, start: Start, tmp_path: Path) -> None:
    """The default: a kit without OpenTelemetry, whatever a sender's `traceparent` says."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text(OPENTELEMETRY, encoding="utf-8")
    (tmp_path / "acts.py").write_text("async def act(event, ctx): ...\nROUTES = {'*': [act]}\n", encoding="utf-8")
    env = {"REDIS_URL": rig.url, "WEBHOOK_TOKEN": TOKEN, "PORT": "0", "HANDLERS": "acts:ROUTES"}
    env |= {"SPOOL_PATH": str(tmp_path / "spool.db"), "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    receiver = await asyncio.to_thread(lambda: listening(start("-m", "receiver", **env)))
    assert receiver.post(event("e1"), traceparent=SENDER).status == 200
    [value] = await _stored(rig)
    assert "traceparent" not in json.dumps(value, default=repr)
    worker = start("-m", "worker", **env)
    await asyncio.to_thread(worker.wait_for, '"handled"')
    assert not (tmp_path / "imported").exists()
