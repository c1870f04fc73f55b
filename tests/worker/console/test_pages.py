"""The console's pages in a real Chromium: what an operator sees and does, on an outage's morning.

SCREENSHOTS=docs/console writes what README shows.
"""

import json
import os
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from receiver import events
from receiver.acceptance import accept_directly
from receiver.delivery import Delivery
from tests.conftest import Start, until
from tests.worker.conftest import KEYS, Rig, delivery_of, make_handler
from tests.worker.console.conftest import StartConsole, serious
from worker import Context, Event, GiveUp, Handler, RetryLater

SHOTS = os.environ.get("SCREENSHOTS", "")
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\u202e\"'><b>"


def failing_update() -> Handler:
    """A handler that the ERP refuses: with one status what is completed, with another what is new."""
    numbers = count(1001)

    async def update(event: Event, ctx: Context) -> None:  # noqa: ARG001 - a handler's signature
        status = 503 if event.type == "work_order.completed" else 400
        raise GiveUp(f"erp.example.com answered {status} for WO-{next(numbers)}")

    update.__module__ = "h"
    return update


def busy(_: int) -> None:
    raise RetryLater(600, "the channel asks us to wait")


async def sample(rig: Rig, name: str, event_id: str, **more: Any) -> Delivery:
    """One of our sample events."""
    payload = events.BY_NAME[name].sample() | {"id": event_id} | more
    return await rig.accept(delivery_of(json.dumps(payload, ensure_ascii=False).encode()))


async def a_morning(rig: Rig, dead: int = 3) -> list[Delivery]:
    """Events with every outcome: done, dead for two reasons, one that waits, a duplicate and a conflict."""
    update = failing_update()
    routes: dict[str, Any] = {
        "work_order.completed": [update],
        "work_order.created": [update],
        "action.created": [make_handler("notify", busy)],
        "*": [make_handler("append")],
    }
    sent = [await sample(rig, "work_order.completed", f"evt-done-{one}") for one in range(dead)]
    sent += [await sample(rig, "work_order.created", "evt-new"), await sample(rig, "action.solved", "evt-solved")]
    for more in ({}, {"note": "changed"}):
        payload = events.BY_NAME["action.solved"].sample() | {"id": "evt-solved"} | more
        await accept_directly(rig.redis, KEYS, delivery_of(json.dumps(payload, ensure_ascii=False).encode()))
    async with rig.working(routes):
        await rig.closed(*sent)
        waits = await sample(rig, "action.created", "evt-waits")
        await until(lambda: rig.states(waits))
        await until(lambda: _is_recorded(rig, waits))
    return [*sent, waits]


async def a_day_before(rig: Rig) -> int:
    """Counts of the hours before; how many were accepted."""
    now, total = int(time.time()) // 600, 0
    for ago in range(1, 36):
        count = 40 + ago * 37 % 23
        fields = {"accepted action.created": count, "ended h.append done action.created": count - ago % 3}
        await rig.redis.execute_command(
            "HSET", KEYS.metrics_of(now - ago), *(part for pair in fields.items() for part in pair)
        )
        total += count
    return total


async def _is_recorded(rig: Rig, waits: Delivery) -> bool:
    return len(await rig.states(waits)) == 2


async def shoot(page: Page, name: str) -> None:
    """A picture for README, where one is wanted."""
    if SHOTS:
        await page.screenshot(path=Path(SHOTS) / f"{name}.png")


async def test_the_overview_tells_how_it_goes(
    rig: Rig, console: StartConsole, browser: Page, start: Start, tmp_path: Path
) -> None:
    """Counts of the last hours with the time that is not over marked, latencies, what waits, and who is alive."""
    await a_morning(rig)
    (tmp_path / "h.py").write_text("async def quick(event, ctx): ...\nROUTES = {'action.cant_do': [quick]}\n")
    start("-m", "worker", REDIS_URL=rig.url, HANDLERS="h:ROUTES")
    await rig.closed(await sample(rig, "action.cant_do", "evt-quick"))
    await until(lambda: rig.redis.execute_command("HGET", KEYS.metrics, "to_done h.quick us"))
    before = await a_day_before(rig)
    base = console(WEBHOOK_TOKEN="a-test-token-0123456789abcdef")
    await browser.goto(base)
    tiles = browser.locator(".tiles")
    await expect(tiles).to_contain_text("dead letters")
    await expect(tiles.get_by_role("link", name="5", exact=True)).to_have_attribute("href", "/dead")
    await expect(browser.locator("figcaption").first).to_contain_text(f"Accepted: {7 + before}")
    await expect(browser.locator("figcaption").last).to_contain_text("Dead letters: 4")
    await expect(browser.locator("rect.partial")).to_have_count(4)
    main = browser.locator("main")
    await expect(main.get_by_role("region", name="Latencies")).to_contain_text("h.quick")
    await expect(main.get_by_role("region", name="Processes")).to_contain_text("alive")

    async def doctor_has_looked() -> bool:
        await browser.reload()  # what it finds late is on the next page
        return "token: the shortest has 29 characters" in await main.inner_text()

    await until(doctor_has_looked)
    await shoot(browser, "overview")
    await expect(main.get_by_role("region", name="Latencies")).to_contain_text("h.quick")  # as at the first look


async def test_the_list_shows_what_arrives_and_is_filtered(rig: Rig, console: StartConsole, browser: Page) -> None:
    """Newest first; by type, outcome and text; what arrives while it is open appears by itself."""
    await a_morning(rig)
    await browser.goto(f"{console()}/deliveries")
    rows = browser.locator("tbody tr")
    await expect(rows).to_have_count(6)
    await expect(rows.first).to_contain_text("evt-waits")
    await shoot(browser, "deliveries")
    await rig.send("evt-later")
    await expect(rows).to_have_count(7)
    for name, value, found in (
        ("key", "evt-done", 3),
        ("type", "action.solved", 1),
        ("handler", "h.update", 4),
        ("text", "evt-solved", 1),
    ):
        await browser.goto(f"{browser.url.partition('?')[0]}?{name}={value}")
        await expect(rows).to_have_count(found)
    await browser.select_option("select[name=outcome]", "dead")
    await browser.fill("input[name=text]", "")
    await browser.click("text=Filter")
    await expect(rows).to_have_count(4)


async def test_what_arrives_before_a_page_listens_is_shown(rig: Rig, console: StartConsole, browser: Page) -> None:
    """A page that was made before an event, and opens its stream after it, is loaded again."""

    async def send_first(route: Route) -> None:
        await rig.send("evt-between")
        await route.continue_()

    await browser.route("**/live?*", send_first)
    await browser.goto(f"{console()}/deliveries")
    await expect(browser.locator("tbody")).to_contain_text("evt-between")


async def test_a_delivery_shows_its_whole_way(rig: Rig, console: StartConsole, browser: Page) -> None:
    """Key and its source, duplicates, each handler's attempts with their reason and line, payload and headers."""
    sent = await a_morning(rig)
    base = console()
    await browser.goto(f"{base}/deliveries/{sent[0].id}")
    main = browser.locator("main")
    for text in ("evt-done-0", "from event-id", "erp.example.com answered 503", "failed at", "h.append", "done"):
        await expect(main).to_contain_text(text)
    await expect(browser.locator(".tree")).to_contain_text("work_order")
    await shoot(browser, "delivery")
    await browser.goto(f"{base}/deliveries/{sent[4].id}")
    await expect(browser.locator("dd:has(time)", has_text="1, at")).to_have_count(1)
    await browser.click("text=show")
    await browser.click("tbody a")
    await expect(browser.locator(".differs")).to_have_count(1)
    await expect(browser.locator(".differs")).to_contain_text("changed")
    await expect(browser.locator(".difference .same")).to_contain_text("lines alike")
    await shoot(browser, "conflict")


async def test_a_group_is_previewed_and_replayed(rig: Rig, console: StartConsole, browser: Page) -> None:
    """By handler and error with counts; a replay says what may be out of order, asks why, and shows how far it is."""
    sent = await a_morning(rig)
    await browser.goto(f"{console()}/dead")
    groups = browser.locator("tbody tr")
    await expect(groups).to_have_count(3)
    await expect(groups.first).to_contain_text("erp.example.com answered 503 for WO-#")
    await groups.first.get_by_text("Replay").click()
    await expect(browser.locator("h1")).to_have_text("Replay 3 dead letters?")
    await expect(browser.locator(".surprises")).to_contain_text("3 may run out of order")
    await shoot(browser, "preview")
    await browser.fill("input[name=why]", "the ERP is up again")
    await browser.click("button.go")
    await expect(browser.locator("main [role=status]")).to_contain_text("3 of 3")
    await expect(browser.locator("main")).to_contain_text("the ERP is up again")
    assert await rig.operator.count() == 2
    async with rig.working({"*": [make_handler("update")]}):
        await rig.closed(*sent[:3])
    assert (await rig.states(sent[0]))["h.update"] == "done"


async def test_a_group_has_a_note_and_an_owner(rig: Rig, console: StartConsole, browser: Page) -> None:
    """Whoever looks at the groups sees who looks after which."""
    await a_morning(rig)
    base = console()
    await browser.goto(f"{base}/dead")
    await browser.locator("tbody a").first.click()
    await browser.fill("input[name=owner]", "Ana")
    await browser.fill("input[name=text]", "The ERP restarts at 14:00")
    await browser.get_by_role("button", name="Note").click()
    await expect(browser.locator(".noted")).to_contain_text("Ana looks after it. The ERP restarts at 14:00 by local")
    await browser.goto(f"{base}/dead")
    await expect(browser.locator("tbody tr").first.locator(".note")).to_have_text("Ana The ERP restarts at 14:00")
    await shoot(browser, "groups")


async def test_chosen_ones_are_dropped_and_the_others_stay(rig: Rig, console: StartConsole, browser: Page) -> None:
    """Only those that were chosen; dropping says that it is for ever."""
    await a_morning(rig)
    await browser.goto(f"{console()}/dead/letters?handler=h.update")
    await expect(browser.locator("tbody tr")).to_have_count(4)
    await browser.locator("tbody input").nth(0).check()
    await browser.locator("tbody input").nth(1).check()
    await browser.click("text=Drop chosen")
    await expect(browser.locator("main")).to_contain_text("gone for ever")
    await browser.fill("input[name=why]", "tests of last week")
    await browser.click("button.go")
    await expect(browser.locator("main [role=status]")).to_contain_text("2 of 2")
    assert await rig.operator.count() == 3


async def test_a_paced_run_is_stopped(rig: Rig, console: StartConsole, browser: Page) -> None:
    """What was not reached stays a dead letter."""
    await a_morning(rig)
    await browser.goto(f"{console()}/dead/preview?verb=replay&handler=h.update")
    await browser.fill("input[name=why]", "slowly")
    await browser.fill("input[name=per_minute]", "1")
    await browser.click("button.go")
    await expect(browser.locator("main [role=status]")).to_contain_text("1 of 4")
    await browser.click("text=Stop")
    await expect(browser.locator("main [role=status]")).to_contain_text("stopped")
    assert await rig.operator.count() == 4


async def test_the_keyboard_is_enough(rig: Rig, console: StartConsole, browser: Page) -> None:
    """`/` searches, j and k move, Enter opens, r leads to the preview of the row, ? tells of all of them."""
    await a_morning(rig)
    await browser.goto(f"{console()}/dead")
    await browser.keyboard.press("?")
    await expect(browser.locator("dialog")).to_be_visible()
    await browser.keyboard.press("Escape")
    await expect(browser.locator("dialog")).to_be_hidden()
    await browser.keyboard.press("/")
    await expect(browser.locator("input[name=reason]")).to_be_focused()
    await browser.keyboard.press("r")
    await expect(browser.locator("input[name=reason]")).to_have_value("r")
    await browser.locator("input[name=reason]").blur()
    for key in ("j", "j", "k"):
        await browser.keyboard.press(key)
    await expect(browser.locator("tbody tr").first).to_have_attribute("data-here", "")
    await browser.keyboard.press("r")
    await expect(browser.locator("h1")).to_have_text("Replay 3 dead letters?")
    await browser.go_back()
    await browser.keyboard.press("j")
    await browser.keyboard.press("Enter")
    await expect(browser.locator("h1")).to_have_text("Dead letters, one by one")


async def test_a_key_right_after_the_help_is_closed_is_heard(rig: Rig, console: StartConsole, browser: Page) -> None:
    """Until the browser draws the next frame, the focus is still in the dialog that is closed."""
    await a_morning(rig)
    await browser.goto(f"{console()}/dead")
    await browser.evaluate("""
        const help = document.getElementById("help");
        help.showModal();
        help.close();
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "/", bubbles: true }));
    """)
    await expect(browser.locator("input[name=reason]")).to_be_focused()


async def test_hostile_text_stays_text(rig: Rig, console: StartConsole, browser: Page) -> None:
    """In key, type, fields, values, reasons and addresses: nothing runs, is loaded, or turns its neighbours round."""

    def fail(_: int) -> None:
        raise GiveUp(HOSTILE)

    hostile = await rig.send(HOSTILE, HOSTILE, **{HOSTILE: [HOSTILE, {"deep": HOSTILE}], "__proto__": {"x": 1}})
    unread = await rig.accept(delivery_of(HOSTILE.encode()))
    async with rig.working({"*": [make_handler("act", fail)]}):
        await rig.closed(hostile, unread)
    base = console()
    asked: list[str] = []
    browser.on("request", lambda request: asked.append(request.url))
    for path in (
        "/deliveries",
        f"/deliveries/{hostile.id}",
        f"/deliveries/{unread.id}",
        "/dead",
        "/dead/letters",
        f"/dead/letters/{hostile.id}:h.act",
        f"/dead/letters/{unread.id}:parse",
        "/dead/preview?verb=replay&handler=h.act",
    ):
        await browser.goto(base + path)
        assert await browser.locator("main script, main img, main b").count() == 0, path
        assert "\u202e" not in await browser.content(), path
    await expect(browser.locator("h1")).to_have_text("Replay 1 dead letter?")
    await browser.goto(f"{base}/deliveries/{hostile.id}")
    await expect(browser.locator(".tree")).to_contain_text("<script>alert(1)</script>")
    for path in ("/deliveries?key=", "/deliveries?type=", "/dead?reason=", "/dead/letters?handler="):
        await browser.goto(f"{base}{path}{HOSTILE}")
        assert await browser.locator("main script, main img, main b").count() == 0, path
    assert [url for url in asked if not url.startswith(base)] == []


async def test_masked_values_are_nowhere(rig: Rig, console: StartConsole, browser: Page) -> None:
    """Not on a page, not in its source, and not by a search for them; what cannot be masked is not shown."""
    sent = await sample(rig, "work_order.completed", "evt-1", actor={"name": "Xavier Quintão"})
    unread = await rig.accept(delivery_of("Quintão, not JSON".encode()))
    base = console(CONSOLE_MASK="actor.name")
    for path in (f"/deliveries/{sent.id}", f"/deliveries/{unread.id}", "/deliveries", "/deliveries?text=***"):
        await browser.goto(base + path)
        assert "Quint" not in await browser.content(), path
    await expect(browser.locator("tbody tr")).to_have_count(1)
    await browser.goto(f"{base}/deliveries?text=Quint")
    await expect(browser.locator("tbody tr")).to_have_count(0)
    about = sent.subject.partition(":")[2]
    for mask, rows in (("actor.name", 1), ("work_order.id", 0)):
        await browser.goto(f"{console(CONSOLE_MASK=mask)}/deliveries?subject={about}")
        await expect(browser.locator("tbody tr")).to_have_count(rows)
    base = console(AUDIT_MASK="actor.name")
    await browser.goto(f"{base}/deliveries/{sent.id}")
    assert "Quint" not in await browser.content()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 360), ("dark", 375)])
async def test_everybody_can_use_it(
    rig: Rig, console: StartConsole, chromium: Browser, scheme: Any, width: int
) -> None:
    """Axe finds nothing serious on any page, in light and dark; on a phone no page is wider than the screen."""
    sent = await a_morning(rig)
    base = console()
    page = await chromium.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    dead_id = f"{sent[0].id}:h.update"
    for path in (
        "/",
        "/deliveries",
        f"/deliveries/{sent[0].id}",
        f"/deliveries/{sent[-1].id}",
        "/deliveries/unknown",
        "/dead",
        "/dead/letters",
        f"/dead/letters/{dead_id}",
        f"/dead/preview?verb=replay&id={dead_id}",
        "/dead/preview?verb=drop&handler=h.update",
        "/runs",
    ):
        await page.goto(base + path)
        assert await serious(page) == [], path
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
    await page.close()


async def test_a_hidden_page_asks_for_nothing(rig: Rig, console: StartConsole, browser: Page) -> None:
    """Its stream is closed while it is hidden, and what was missed is loaded when it is seen again."""
    await a_morning(rig)
    await browser.goto(f"{console()}/deliveries")
    rows = browser.locator("tbody tr")
    await expect(rows).to_have_count(6)
    hide = """hidden => {
      Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    await browser.evaluate(hide, True)
    asked: list[str] = []
    browser.on("request", lambda request: asked.append(request.url))
    await rig.send("evt-unseen")
    await browser.wait_for_timeout(2500)
    assert asked == []
    await browser.evaluate(hide, False)
    await expect(rows).to_have_count(7)
