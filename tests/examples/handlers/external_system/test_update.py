"""From a finished Work Order to the external system, over a real socket."""

from collections.abc import Callable

import pytest

from examples import sink
from examples.handlers import external_system
from receiver.settings import SettingsError
from worker import Context, Event, GiveUp, RetryLater

pytestmark = pytest.mark.anyio


@pytest.fixture
def target(serve: Callable[[object], str], monkeypatch: pytest.MonkeyPatch) -> sink.External:
    """An external system, and the handler configured for it."""
    target = sink.External()
    monkeypatch.setenv("EXTERNAL_URL", serve(sink.create_app(external=target)))
    external_system.configure()
    return target


@pytest.fixture
def finished(sample: Callable[..., Event]) -> Event:
    return sample("work_order.completed")


async def test_a_finished_work_order_is_updated(
    target: sink.External, context: Callable[..., Context], finished: Event
) -> None:
    """Its status and results arrive, under the handler's idempotency key."""
    await external_system.update(finished, context(key="external_system.update:evt_1"))
    assert target.work_orders["wo_5d2c81"]["status"] == "Done"
    assert target.requests[0]["idempotency_key"] == "external_system.update:evt_1"


async def test_every_try_has_the_same_key(
    target: sink.External, context: Callable[..., Context], finished: Event
) -> None:
    """A failure and its retry are one update to the target."""
    target.orders.answers.append(500)
    with pytest.raises(external_system.TargetUnavailable):
        await external_system.update(finished, context())
    await external_system.update(finished, context(attempt=2))
    assert [(request["idempotency_key"], request["applied"]) for request in target.requests] == [
        ("test:evt_1", False),
        ("test:evt_1", True),
    ]


async def test_retry_after_is_honoured(target: sink.External, context: Callable[..., Context], finished: Event) -> None:
    """A target that says when is asked again then."""
    target.orders = sink.Orders(retry_after="30")
    target.orders.answers.append(503)
    with pytest.raises(RetryLater) as later:
        await external_system.update(finished, context())
    assert later.value.seconds == pytest.approx(30, abs=1)


async def test_a_refusal_gives_up_with_the_targets_answer(
    target: sink.External, context: Callable[..., Context], finished: Event
) -> None:
    """What no retry can mend is a dead letter that shows what the target said."""
    target.orders.answers.append(422)
    with pytest.raises(GiveUp, match=r"422.*as ordered"):
        await external_system.update(finished, context())


@pytest.mark.parametrize("url", ["http://erp.example.com", "erp", "http://["])
def test_a_wrong_url_stops_the_start(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The base URL must be https, or http on this machine."""
    monkeypatch.setenv("EXTERNAL_URL", url)
    with pytest.raises(SettingsError, match=r"^EXTERNAL_URL: expected a URL such as"):
        external_system.configure()
