"""Pages over more than anybody reads: each looks so far and no further, and says so."""

import time

import httpx2

from tests.worker.conftest import KEYS, Rig
from tests.worker.console.conftest import StartConsole
from worker.console import chosen, deliveries

MANY = 12_000


async def fill(rig: Rig) -> None:
    """Deliveries that are done, and one dead letter for each."""
    now = time.time_ns() // 1000
    for start in range(0, MANY, 1000):
        async with rig.redis.pipeline(transaction=False) as pipe:
            for number in range(start, start + 1000):
                name, accepted = f"{number:024x}", now - (MANY - number) * 1000
                record = {"k": f"e{number}", "t": "action.created", "a": accepted, "h.act": "dead 1 5"}
                about = {"at": accepted // 1000, "reason": f"no {number}", "handler": "h.act", "delivery": name}
                pipe.hset(KEYS.delivery(name), mapping=record)
                pipe.execute_command("RPUSH", KEYS.recent, KEYS.delivery(name))
                pipe.hset(KEYS.dead_letter(f"{name}:h.act"), mapping=about | {"job": "x"})
                pipe.zadd(KEYS.dead, {f"{name}:h.act": accepted // 1000})
            await pipe.execute()


async def test_every_page_says_how_far_it_looked(rig: Rig, console: StartConsole) -> None:
    """A list ends after so many looks, and goes on from there; groups are of the newest until all are asked for."""
    await fill(rig)
    with httpx2.Client(base_url=console(), timeout=30) as client:
        page = client.get("/deliveries", params={"key": "e7"}).text
        assert f"looked at {deliveries.LOOK} of the {MANY} deliveries" in page
        assert "Look further" in page
        page = client.get("/deliveries", params={"text": "nowhere"}).text
        assert f"looked at {deliveries.LOOK_INSIDE} of the {MANY} deliveries" in page
        for path, words in (("/dead", {}), ("/dead/letters", {"handler": "h.act"})):
            assert f"ooked at {chosen.LOOK} of {MANY}" in client.get(path, params=words).text
            assert f"ooked at {MANY} of {MANY}" in client.get(path, params={**words, "look": "far"}).text
        assert f"{MANY}, newest first" in client.get("/dead/letters").text
        page = client.get("/dead/preview", params={"verb": "drop", "handler": "h.act"}).text
        assert f"Drop {chosen.LOOK} or more" in page


ASKED = {
    "/": 100,
    "/deliveries": 250,
    "/deliveries?key=e7": 2_050,
    "/deliveries?text=nowhere": 1_850,
    f"/deliveries/{5:024x}": 20,
    "/dead": 10_060,
    "/dead/letters": 70,
    f"/dead/letters/{5:024x}:h.act": 15,
    "/dead/preview?verb=replay&handler=h.act": 10_060,
    "/runs": 10,
}
"""Commands that a page may ask of Redis, whatever is there: who accepts and handles has to wait for each."""


async def test_what_a_page_asks_of_redis_has_a_bound(rig: Rig, console: StartConsole) -> None:
    """Not one of them grows with what was accepted or died."""
    await fill(rig)
    asked = {}
    with httpx2.Client(base_url=console(), timeout=30) as client:
        client.get("/runs").raise_for_status()  # so that it is connected
        for path in ASKED:
            before = (await rig.redis.info("stats"))["total_commands_processed"]
            client.get(path).raise_for_status()
            asked[path] = (await rig.redis.info("stats"))["total_commands_processed"] - before
    assert {path: count for path, count in asked.items() if count > ASKED[path]} == {}


async def test_the_next_page_begins_where_this_one_ended(rig: Rig, console: StartConsole) -> None:
    """Whatever has arrived since: no delivery is shown twice, none is left out."""
    await fill(rig)
    found: list[str] = []
    with httpx2.Client(base_url=console()) as client:
        address = "/deliveries"
        for _ in range(4):
            page = client.get(address).text
            found += [part[:24] for part in page.split('href="/deliveries/')[1:]]
            address = "/deliveries" + page.split('rel="next" href="')[1].partition('"')[0].replace("&amp;", "&")
            await rig.send(f"later-{len(found)}")
    assert found == [f"{MANY - 1 - number:024x}" for number in range(200)]
