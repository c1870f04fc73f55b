"""From event to the channel's workflow, over a real socket."""

from collections import deque
from collections.abc import Callable

import httpx2
import pytest
from structlog.testing import LogCapture

from examples import sink
from examples.handlers import teams
from receiver.environment import SettingsError
from worker import Context, Event, GiveUp, RetryLater

pytestmark = pytest.mark.anyio
HOOK = "/workflows/0a1b/triggers/manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sig=SECRET"


@pytest.fixture
def channel(clean_environment: object, serve: Callable[[object], str], monkeypatch: pytest.MonkeyPatch) -> sink.Teams:
    """A Teams channel's workflow, and the handler configured for it."""
    assert clean_environment
    channel = sink.Teams()
    monkeypatch.setenv("TEAMS_WEBHOOK_URL", serve(sink.create_app(teams=channel)) + HOOK)
    teams.configure()
    return channel


async def test_an_action_becomes_a_card(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """The card of a created Action arrives in the workflow's own envelope."""
    await teams.notify(sample(), context())
    [accepted] = channel.accepted
    assert "Fuga de óleo" in accepted["message"]["attachments"][0]["content"]["fallbackText"]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_workflow_that_says_when_is_asked_then(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event], status: int
) -> None:
    """Which uses up no try: the card keeps its place, and with it all that are behind it in the line wait."""
    channel.orders = sink.Orders(answers=deque([status]), retry_after="7")
    with pytest.raises(RetryLater, match=f"^the Teams workflow answered {status}$") as later:
        await teams.notify(sample(), context())
    assert later.value.seconds == 7


async def test_a_workflow_that_is_busy_is_left_alone_for_longer_each_time(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """A 429 that does not say when, or says at once: pauses that double, a minute at most."""
    channel.orders = sink.Orders(answers=deque([429] * 4), retry_after="0")
    waits = []
    for attempt in (1, 2, 3, 9):
        with pytest.raises(RetryLater) as later:
            await teams.notify(sample(), context(attempt=attempt))
        waits.append(later.value.seconds)
    assert waits == [2, 4, 8, 60]


@pytest.mark.parametrize(
    ("status", "retry_after", "attempt"), [(503, None, 1), (500, "0", 1), (408, None, 1), (503, "7", 6)]
)
async def test_a_failure_that_may_be_the_cards_own_uses_up_a_try(
    channel: sink.Teams,
    context: Callable[..., Context],
    sample: Callable[..., Event],
    status: int,
    retry_after: str | None,
    attempt: int,
) -> None:
    """So that the others can pass it; one that says when again and again is not believed for ever."""
    channel.orders = sink.Orders(answers=deque([status]), retry_after=retry_after)
    with pytest.raises(teams.TeamsUnavailable, match=f"^the Teams workflow answered {status}$"):
        await teams.notify(sample(), context(attempt=attempt))


async def test_a_workflow_that_does_not_answer_in_time_has_failed(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named without the URL; the card may have arrived, and is sent again."""
    monkeypatch.setenv("TEAMS_TIMEOUT", "50ms")
    teams.configure()
    channel.orders.delay = 0.5
    with pytest.raises(teams.TeamsUnavailable, match=r"^the Teams workflow could not be reached: \w+$"):
        await teams.notify(sample(), context())


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "'Anyone'"), (403, "'Anyone'"), (404, "make it again"), (400, "400")]
)
async def test_a_refusal_gives_up_and_says_what_to_do(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event], status: int, advice: str
) -> None:
    """No retry mends a refusal, so it is a dead letter at once, with advice."""
    channel.orders.answers.append(status)
    with pytest.raises(GiveUp, match=advice):
        await teams.notify(sample(), context())


async def test_the_signature_is_in_no_log_and_no_error(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event], logs: LogCapture
) -> None:
    """The URL's query is a credential: whatever happens, nobody reads it."""
    said = []
    for status in (401, 302, 429, 503):
        channel.orders = sink.Orders(answers=deque([status]), retry_after="9")
        with pytest.raises((GiveUp, RetryLater)) as failure:
            await teams.notify(sample(), context(key=f"k{status}"))
        said.append(f"{failure.value!r} {failure.value.__cause__!r}")
    assert "SECRET" not in f"{said} {logs.entries} {teams._settings()!r}"


async def test_a_workflow_out_of_reach_is_no_fault_of_the_card(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent: it keeps its place and uses up no try; one named reason without the URL."""
    assert channel
    monkeypatch.setenv("TEAMS_WEBHOOK_URL", "http://127.0.0.1:1" + HOOK)
    teams.configure()
    with pytest.raises(RetryLater, match=r"^the Teams workflow could not be reached: ConnectError$"):
        await teams.notify(sample(), context())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, "TEAMS_WEBHOOK_URL: is not set; URL of the Teams workflow"),
        ("https://contoso.webhook.office.com/webhookb2/x", "retired in May 2026"),
        ("https://outlook.office.com/webhook/x", "retired in May 2026"),
        ("https://OUTLOOK.office365.com/webhook/x", "retired in May 2026"),
        ("https://x.logic.azure.com:99999/workflows/1?sig=x", "expected the https:// URL"),
        ("https://x.logic.azure.com/workflows/1?sig=\x7f", "expected the https:// URL"),
        ("http://prod-01.westeurope.logic.azure.com/workflows/1", "expected the https:// URL"),
        ("http://[", "expected the https:// URL"),
        ("teams", "expected the https:// URL"),
    ],
)
def test_a_wrong_url_stops_the_start(monkeypatch: pytest.MonkeyPatch, url: str | None, expected: str) -> None:
    """A missing, retired or insecure URL is one line that says what is expected, and does not repeat the URL."""
    monkeypatch.delenv("TEAMS_WEBHOOK_URL", raising=False)
    if url is not None:
        monkeypatch.setenv("TEAMS_WEBHOOK_URL", url)
    with pytest.raises(SettingsError, match=r"^TEAMS_WEBHOOK_URL: ") as refused:
        teams.configure()
    [line] = refused.value.lines
    assert expected in line
    assert url is None or url not in line


@pytest.mark.parametrize(
    ("host", "warned"),
    [
        ("prod-12.westeurope.logic.azure.com:443", False),
        ("0f1e.a7.environment.api.powerplatform.com:443", False),
        ("hooks.example.com", True),
    ],
)
def test_a_host_that_is_not_known_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, logs: LogCapture, host: str, *, warned: bool
) -> None:
    """Microsoft changes hosts: an unknown one is said aloud and used."""
    monkeypatch.setenv("TEAMS_WEBHOOK_URL", f"https://{host}{HOOK}")
    teams.configure()
    assert [entry["event"] for entry in logs.entries] == (["teams: host not known"] if warned else [])


async def test_the_url_is_sent_exactly_as_given(
    context: Callable[..., Context], sample: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signature covers the query, so not one escape in it may change on the way."""
    seen: list[bytes] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.url.raw_path)
        return httpx2.Response(202)

    query = "api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=a-b_c%2B%3D"
    monkeypatch.setenv("TEAMS_WEBHOOK_URL", f"https://x.logic.azure.com:443/workflows/1?{query}")
    teams.configure()
    ctx = context()
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        await teams.notify(sample(), ctx._replace(http=http))
    assert seen == [f"/workflows/1?{query}".encode()]
