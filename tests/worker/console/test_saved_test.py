"""A dead letter downloaded as a test: unpacked in a customer's project it fails now, and passes once that is mended."""

import json
import zipfile
from pathlib import Path

from playwright.async_api import Page

from tests.clones import clone, kit
from tests.conftest import Start
from tests.worker.conftest import Rig, make_handler
from tests.worker.console.conftest import StartConsole
from tests.worker.test_failing_test import broken, mend, pytested
from worker import GiveUp

__all__ = ["clone", "kit"]


async def test_it_runs_as_it_is(
    rig: Rig, clone: Path, start: Start, console: StartConsole, browser: Page, tmp_path: Path
) -> None:
    """What was chosen to be kept is there, what is masked is not, whatever was chosen."""
    dead_id = await broken(rig, clone, start, labels=["Oil leak"], site="Ana's house")
    await browser.goto(f"{console(CONSOLE_MASK='action.site')}/dead/letters/{dead_id}")
    await browser.fill("input[name=keep]", "action.labels, action.site")
    async with browser.expect_download() as downloading:
        await browser.get_by_role("button", name="Save as test").click()
    download = await downloading.value
    await download.save_as(tmp_path / download.suggested_filename)
    with zipfile.ZipFile(tmp_path / download.suggested_filename) as archive:
        archive.extractall(clone)
        [test, sample] = archive.namelist()
    assert test == f"acme/test_handlers_page_{dead_id[:8]}.py"
    action = json.loads((clone / sample).read_text())["action"]
    assert action["labels"] == ["Oil leak"]
    assert "Ana" not in (clone / sample).read_text()
    assert "AttributeError" in pytested(clone, test, 1)
    mend(clone)
    assert "1 passed" in pytested(clone, test, 0)


async def test_a_handler_that_no_worker_has_is_told(rig: Rig, console: StartConsole, browser: Page) -> None:
    """Nobody knows then where it could be imported from."""

    def fail(_: int) -> None:
        raise GiveUp("no")

    delivery = await rig.send("e1")
    async with rig.working({"*": [make_handler("act", fail)]}):
        await rig.closed(delivery)
    base = console()
    answer = await browser.request.get(f"{base}/dead/tests/{delivery.id}:h.act")
    assert (answer.status, "no worker that runs has h.act" in await answer.text()) == (409, True)
    assert (await browser.request.get(f"{base}/dead/tests/none")).status == 404
