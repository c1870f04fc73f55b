"""A console as a process, and a real Chromium in front of it."""

import os
import re
import shutil
from collections.abc import AsyncIterator, Callable
from typing import NoReturn

import pytest
from playwright.async_api import Browser, Page, async_playwright
from redis import Redis

from tests.conftest import ROOT, Process, Start

AXE = ROOT / ".ci" / "browser" / "node_modules" / "axe-core" / "axe.min.js"
AXE_SOURCE = AXE.read_text(encoding="utf-8") if AXE.exists() else ""
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
StartConsole = Callable[..., str]


def lacks(what: str) -> NoReturn:
    """Skip the test, saying what this machine lacks; under .ci/run, which has installed it, fail."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def address(console: Process) -> str:
    """Where it is reached, once it listens."""
    found = re.search(r'"address": "([^"]+)"', console.wait_for("console listening"))
    assert found
    return f"http://{found[1]}"


@pytest.fixture
def console(valkey_url: str, start: Start) -> StartConsole:
    """Start a console on the tests' Valkey, which is empty at first, with these settings; its address."""
    with Redis.from_url(valkey_url) as redis:
        redis.flushall()

    def begin(**settings: str) -> str:
        return address(start("-m", "worker", "console", REDIS_URL=valkey_url, CONSOLE_PORT="0", **settings))

    return begin


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium, headless."""
    if CHROMIUM is None:
        lacks("there is no Chromium; install it with: .ci/packages")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        await browser.close()


@pytest.fixture
async def browser(chromium: Browser) -> AsyncIterator[Page]:
    """A page; whatever its console says, a violation of the content security policy above all, fails the test."""
    page = await chromium.new_page(viewport={"width": 1200, "height": 800})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
    yield page
    await page.close()
    assert said == []


async def serious(page: Page) -> list[str]:
    """What axe finds that keeps somebody from using the page."""
    if not AXE_SOURCE:
        lacks(f"there is no axe-core in {AXE.parent}; install it with: .ci/packages")
    await page.evaluate(AXE_SOURCE)
    found = await page.evaluate("axe.run().then(result => result.violations)")
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]
