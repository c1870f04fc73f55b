import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from examples.sender.http.delivery import STOPPED
from examples.sender.http.recording import Answer, Arrival, RecordingReceiver
from tests.examples.sender.conftest import Finished, StartSender

pytestmark = pytest.mark.anyio


def is_fourth(arrival: Arrival) -> bool:
    return arrival.number > 3


async def stopped(
    start_sender: StartSender, number: signal.Signals, command: str, waits: Callable[[Arrival], bool] = is_fourth
) -> Finished:
    """Start a command against a receiver that lets some requests wait, and stop it when one is open."""
    async with RecordingReceiver(lambda arrival: Answer(delay=60.0 if waits(arrival) else 0.0)) as receiver:
        sender = await start_sender(*command.format(url=receiver.url).split())
        await receiver.until(lambda: any(map(waits, receiver.of())), "a request that waits", timeout=20)
        sender.process.send_signal(number)
        return await sender.finished()


async def test_a_run_that_is_stopped_reports_what_it_did(start_sender: StartSender, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM end every command at once, with a report so far, no traceback and the exit code of shells."""
    check = f"check {{url}} --only lean-answer --only not-json --html {tmp_path}/report.html"
    runs = await asyncio.gather(
        stopped(start_sender, signal.SIGINT, "all --to {url} --json"),
        stopped(start_sender, signal.SIGTERM, "lifecycle --to {url} --speed 0 --json"),
        stopped(start_sender, signal.SIGINT, "storm --to {url} --clients 1 --json"),
        stopped(start_sender, signal.SIGTERM, check, lambda arrival: arrival.body == b"not json"),
    )
    assert [(finished.code, finished.err) for finished in runs] == [(130, "")] * 4
    sent, told, stormed, checked = runs
    *delivered, last = sent.json()["deliveries"]
    assert [row["status"] for row in delivered] == [200] * 3
    assert (last["error"], last["ambiguous"], sent.json()["not_sent"]) == (STOPPED, True, 7)
    (endpoint,) = told.json()["endpoints"]
    assert (endpoint["delivered"], endpoint["ambiguous"], endpoint["requests"]) == (3, 1, 4)
    assert (stormed.json()["delivered"], stormed.json()["answers"][STOPPED]) == (3, 1)
    assert "passed   Keeps headers" in checked.out
    assert "stopped before it was made" in checked.out
    assert "stopped before it was made" in (tmp_path / "report.html").read_text()


async def test_sigterm_ends_a_run_in_the_background(start_sender: StartSender) -> None:
    """The shell of a script starts its background jobs with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        finished = await stopped(start_sender, signal.SIGTERM, "lifecycle --to {url} --speed 0 --json")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (finished.code, finished.err) == (130, "")
