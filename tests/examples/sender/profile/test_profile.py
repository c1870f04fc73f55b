import asyncio
import re
import signal
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import httpx2
import pytest
from dotenv import dotenv_values

from examples.sender import payload_map
from examples.sender.http import delivery, recordings, wire
from examples.sender.http.message import Message
from examples.sender.http.recording import RecordingReceiver
from examples.sender.play.endpoints import Endpoint, Policy
from examples.sender.play.life_cycles import life_cycles
from examples.sender.play.webhooks import Webhook
from examples.sender.profile import reports
from examples.sender.profile.conclusions import Profile, profile
from examples.sender.profile.proposal import Proposal, propose
from examples.sender.profile.script import Script, scenes
from examples.sender.profile.sightings import sightings
from receiver.environment import load
from receiver.settings import ReceiverSettings
from tests.conftest import ROOT
from tests.examples.sender.conftest import Run
from tests.examples.sender.profile.senders import EVENTS, SENDERS, event

pytestmark = pytest.mark.anyio
PATH = "/webhooks/caf%C3%A9%20a%2Fb"


@dataclass(frozen=True)
class Profiled:
    profile: Profile
    proposal: Proposal

    def again(self, answer: str) -> int:
        """How often an event was sent again after this answer."""
        return sum(reaction.sent_again for reaction in self.profile.reactions if reaction.answer == answer)


@pytest.fixture(scope="module")
async def profiled() -> dict[str, Profiled]:
    """Every sender, profiled at the same time: most of it is waiting."""

    async def find(name: str) -> tuple[str, Profiled]:
        script = Script(list(scenes(PATH, late=5).values()), tries=2)
        async with RecordingReceiver(script.answer, at_headers=script.at_headers, path=PATH) as receiver:
            await SENDERS[name].send_all(receiver.url)
            found = profile(receiver.arrivals, script.given, PATH)
            return name, Profiled(found, propose(sightings(receiver.arrivals)))

    return dict(await asyncio.gather(*map(find, SENDERS)))


@pytest.mark.parametrize(
    ("name", "sources", "id_paths"),
    [
        ("an id in the body, byte-identical", "event-id,body", "id"),
        ("Standard Webhooks", "webhook-id,body", None),
        ("CloudEvents, follows redirects", "cloudevents,body", None),
        ("nothing but bytes", "body", None),
        ("tells each try anew", "event-id,body", "meta.eventUid"),
        ("its id is the Work Order's", "header:x-delivery,body", None),
        ("a new id for each try", "event-id,body", "event_key"),
        ("never again, in a hurry", "event-id,body", "eventId"),
    ],
)
async def test_the_proposal_fits_the_sender(
    profiled: dict[str, Profiled], name: str, sources: str, id_paths: str | None
) -> None:
    """The id that stays on a retry and differs between events is proposed; replayed, no event is lost or doubled."""
    proposal = profiled[name].proposal
    assert proposal.settings["IDEMPOTENCY_SOURCES"] == sources
    assert proposal.settings.get("EVENT_ID_PATHS") == id_paths
    assert proposal.settings["EVENT_TYPE_PATHS"] == "type"
    assert proposal.settings["OCCURRED_AT_PATHS"] == "occurred_at"
    replay = proposal.replay
    assert replay
    assert (replay.events, replay.missed, replay.lost) == (EVENTS, 0, 0)
    assert replay.recognised == replay.requests - EVENTS


@pytest.mark.parametrize("name", SENDERS)
async def test_the_kit_takes_what_is_proposed(
    profiled: dict[str, Profiled], name: str, monkeypatch: pytest.MonkeyPatch, clean_environment: object
) -> None:
    """Each proposal, pasted into the environment, is accepted by the receiver's own settings."""
    for variable, value in profiled[name].proposal.settings.items():
        monkeypatch.setenv(variable, value)
    settings = load(ReceiverSettings, redis_url="redis://localhost", webhook_token="t0kenThatIsLongEnough4Tests")
    assert settings.dedupe_window == 7 * 86400
    assert clean_environment


async def test_answers_and_retries_are_told_apart(profiled: dict[str, Profiled]) -> None:
    """Which answers count as failures, how often a sender tries, how long it waits in between and for an answer."""
    strict, lax = profiled["an id in the body, byte-identical"], profiled["nothing but bytes"]
    for failure in ("202", "204", "301", "400", "500", "503", "late", "half", "reset after reading"):
        assert strict.again(failure) >= 1, failure
    assert strict.again("200") == strict.again("201") == 0
    assert lax.again("202") == lax.again("204") == 0
    assert strict.profile.tries == "at least 3 for one event: it was answered with success then"
    first, second = strict.profile.schedule
    assert 0.02 < first < second
    assert second >= 0.09
    assert re.match(r"gives up after 2\d\d ms \(up to \d+ ms, \d times\)", strict.profile.timeout)
    assert strict.profile.retry_after.startswith("ignored")
    assert profiled["Standard Webhooks"].profile.retry_after.startswith("kept")


async def test_a_reset_before_reading_is_followed_up(profiled: dict[str, Profiled]) -> None:
    """The answer that comes before the body is given too, and its event is recognised when it comes again."""
    assert profiled["an id in the body, byte-identical"].again("reset before reading") >= 1


async def test_what_changes_and_what_stays_is_listed(profiled: dict[str, Profiled]) -> None:
    """Fields and headers that change on a retry are named, those that mislead are warned of."""
    anew, new_id = profiled["tells each try anew"], profiled["a new id for each try"]
    subject, signed = profiled["its id is the Work Order's"], profiled["Standard Webhooks"]
    assert anew.profile.fields_changing == ["meta.attempt", "meta.sentAt"]
    assert anew.profile.byte_identical == 0 < anew.profile.repeats
    assert signed.profile.headers_changing == ["webhook-signature", "webhook-timestamp"]
    assert "webhook-id" in signed.profile.headers_constant
    assert "id" in new_id.proposal.never
    assert {"id", "x-request-id"} <= set(subject.proposal.never)
    assert "meta.sentAt" in anew.proposal.never
    assert "webhook-signature" in signed.proposal.never
    assert not {"type", "occurred_at", "content-type"} & set(anew.proposal.never)


async def test_manners_are_reported(profiled: dict[str, Profiled]) -> None:
    """Redirects, concurrency, connections, order, types, HTTP and the percent-encoding of the endpoint."""
    hurry, follower = profiled["never again, in a hurry"].profile, profiled["CloudEvents, follows redirects"].profile
    lost = "followed as GET, and the body is lost: the event never arrives at the new place"
    assert (follower.redirects, profiled["nothing but bytes"].profile.redirects) == (lost, "not followed")
    assert hurry.most_at_once >= 2
    assert hurry.most_tries == 1
    assert hurry.repeats == 0
    assert hurry.out_of_order
    assert follower.out_of_order == 0
    assert hurry.endpoint == "changed: decoded before sending"
    assert follower.endpoint.startswith("kept as it was configured")
    assert follower.connections < follower.requests
    assert hurry.types_missing == []
    assert follower.http.keys() == {"POST HTTP/1.1"}
    assert follower.content_types.keys() == {"application/json"}


def test_nothing_is_proposed_from_nothing() -> None:
    """Without a request there is no proposal, and the report says so."""
    assert propose([]).settings == {}
    assert "nothing arrived" in propose([]).reasons[0]


async def test_the_kit_s_own_sender_is_profiled_right() -> None:
    """Life cycles with retries that differ in their bytes: every event is recognised, and its id is proposed."""
    happenings = life_cycles(4, 2, 2, datetime(2026, 11, 3, 6, tzinfo=UTC))
    script = Script(list(scenes(PATH, late=5).values()), tries=2)
    async with (
        RecordingReceiver(script.answer, at_headers=script.at_headers, path=PATH) as receiver,
        delivery.client() as client,
    ):
        policy = Policy(retries=(0.01, 0.02, 0.03), byte_identical=False, timeout=0.2)
        target = Endpoint(Webhook(frozenset(), receiver.url), policy)
        for happening in happenings:
            await target.deliver(client, Message.of(happening.payload))
        proposal = propose(sightings(receiver.arrivals))
    assert len(happenings) > len(script.scenes)
    assert proposal.settings["IDEMPOTENCY_SOURCES"] == "event-id,body"
    assert proposal.settings["EVENT_ID_PATHS"] == "id"
    assert f"for {len(happenings)} events; " in proposal.replayed
    assert "0 missed (handled twice), 0 events taken for a repeat (lost)" in proposal.replayed


async def test_a_url_that_was_never_encoded_is_not_http() -> None:
    """A sender that puts raw accents into the request line is told so, for no receiver would understand it."""
    script = Script(list(scenes(PATH, late=0.5).values()), tries=1)
    async with RecordingReceiver(script.answer, path=PATH) as receiver:
        await wire.post(unquote(receiver.url), b"{}", {}, 1)
        found = profile(receiver.arrivals, script.given, PATH, receiver.malformed)
    assert len(found.malformed) == 1
    assert not found.reactions
    assert found.doubts[0].startswith("nothing can be concluded")
    assert "is the URL percent-encoded?" in dict(reports.facts(found))["requests that are not HTTP"]


async def test_profile_is_a_command_that_ends_on_sigint(tmp_path: Path) -> None:
    """It prints where to send to, keeps its report for the end, and Ctrl-C is a good end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "examples.sender", "profile", "--port", "0", "--only", "500"),
        *("--html", f"{tmp_path}/profile.html", "--write", f"{tmp_path}/out"),
        *("--save", f"{tmp_path}/in"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stderr
    line = (await asyncio.wait_for(process.stderr.readline(), 10)).decode()
    url = line.split()[3]
    async with httpx2.AsyncClient(trust_env=False) as client:
        statuses = [(await client.post(url, json=event(number, id=number))).status_code for number in (1, 1, 1, 1, 2)]
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0, err
    assert statuses == [500, 500, 500, 200, 500]
    assert "EVENT_ID_PATHS='id'" in out.decode()
    assert "5 requests for 2 events; 3 repeats recognised, 0 missed" in out.decode()
    assert "IDEMPOTENCY_SOURCES=&#x27;event-id,body&#x27;" in (tmp_path / "profile.html").read_text()
    assert "at least 4 for one event: it was answered with success then" in out.decode()
    assert payload_map.from_file(tmp_path / "out/payload.toml").id == ("id",)
    assert [request.answered for request in recordings.read(tmp_path / "in")] == [500, 500, 500, 200, 500]
    proposed = dotenv_values(tmp_path / "out/proposed.env")
    assert proposed["IDEMPOTENCY_SOURCES"] == "event-id,body"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--only", "418"), "there is no answer '418'"),
        (("--path", "x"), "begins with /"),
        (("--write", "/dev/null/x"), "cannot be made"),
        (("--tls-key", "x"), "both --tls-cert and --tls-key"),
        (("--tls-key", "/nowhere", "--tls-cert", "/nowhere"), "cannot be used"),
    ],
)
async def test_wrong_usage_is_one_line(run: Run, arguments: tuple[str, ...], expected: str) -> None:
    """What is wrong, and what was expected; exit code 2."""
    finished = await run("profile", *arguments)
    assert finished.code == 2
    assert expected in finished.err
    assert finished.err.count("\n") == 1


async def test_a_taken_port_is_one_line_and_a_silent_sender_is_exit_code_1(
    run: Run, recording_receiver: RecordingReceiver
) -> None:
    """A port in use says what to do; when nothing arrives, the exit code says so."""
    taken = await run("profile", "--port", recording_receiver.url.split(":")[2].partition("/")[0])
    silent = await run("profile", "--port", "0", "--seconds", "0.1", "--json")
    assert taken.code == 2
    assert "choose another" in taken.err
    assert silent.code == 1
    assert silent.json()["profile"]["requests"] == 0
