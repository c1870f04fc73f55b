"""Who may see the console, and who may change something."""

import re
from pathlib import Path

import httpx2
import pytest

from tests.conftest import Start, hash_of
from tests.worker.conftest import KEYS, Rig, make_handler
from tests.worker.console.conftest import StartConsole
from worker import GiveUp
from worker.console.access import Visitor, refused_change

PASSWORD, READER = "an-operator-s-password", "a-reader-s-password"
PAGES = ("/", "/deliveries", "/dead", "/dead/letters", "/runs", "/live", "/static/console.css")


def give_up(_: int) -> None:
    raise GiveUp("not today")


async def dead_one(rig: Rig) -> str:
    """The id of a dead letter."""
    delivery = await rig.send("e1")
    async with rig.working({"*": [make_handler("act", give_up)]}):
        await rig.closed(delivery)
    return f"{delivery.id}:h.act"


def form_of(client: httpx2.Client, dead_id: str) -> dict[str, str]:
    """What the page on which one decides would send."""
    page = client.get("/dead/preview", params={"verb": "replay", "id": dead_id}).text
    return dict(re.findall(r'name="([a-z_]+)" value="([^"]*)"', page))


def test_on_another_address_there_are_no_pages_without_a_password(console: StartConsole) -> None:
    """One line says what to set; figures are open for Prometheus as before."""
    base = console(CONSOLE_HOST="0.0.0.0").replace("0.0.0.0", "127.0.0.1")
    for path in PAGES:
        answer = httpx2.get(base + path)
        assert (answer.status_code, answer.text.startswith("CONSOLE_PASSWORD: ")) == (403, True), path
    assert httpx2.get(f"{base}/metrics").status_code == 200


def test_with_a_password_every_page_asks_for_it(console: StartConsole) -> None:
    """Static files and the stream, too; a wrong one, and none, are refused alike."""
    base = console(CONSOLE_PASSWORD=PASSWORD)
    for path in PAGES:
        assert httpx2.get(base + path).status_code == 401, path
    for auth in (("ana", "wrong"), ("ana", ""), ("", READER)):
        assert httpx2.get(f"{base}/deliveries", auth=auth).status_code == 401
    answer = httpx2.get(f"{base}/deliveries", auth=("ana", PASSWORD))
    assert (answer.status_code, "ana" in answer.text) == (200, True)
    for header in ("Basic", "Basic !", "Basic /w==", "Bearer x", f"Digest {PASSWORD}"):
        assert httpx2.get(f"{base}/deliveries", headers={"authorization": header}).status_code == 401


def test_a_page_of_the_internet_is_not_this_machine(console: StartConsole) -> None:
    """DNS rebinding: a name that somebody else owns leads to 127.0.0.1, and gets nothing."""
    base = console()
    for host in ("evil.example.com", "127.0.0.1.evil.example.com", "", "localhost.evil.example.com:8001", "[", "[x]"):
        assert httpx2.get(f"{base}/deliveries", headers={"host": host}).status_code == 403, host
    for host in ("localhost:8001", "127.0.0.1:8001", "[::1]:8001", "LOCALHOST"):
        assert httpx2.get(f"{base}/deliveries", headers={"host": host}).status_code == 200, host


async def test_a_change_is_taken_from_the_console_s_own_page_only(rig: Rig, console: StartConsole) -> None:
    """With its token, from its own origin; anything else changes nothing."""
    dead_id = await dead_one(rig)
    base = console()
    with httpx2.Client(base_url=base) as client:
        form = form_of(client, dead_id)
        for headers in (
            {},
            {"origin": "http://evil.example.com"},
            {"origin": "null"},
            {"origin": "http://["},
            {"origin": base, "sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ):
            assert client.post("/dead/run", data=form, headers=headers).status_code == 403, headers
        own = {"origin": base, "sec-fetch-site": "same-origin"}
        for wrong in ({"token": ""}, {"token": "0" * 64}):
            assert client.post("/dead/run", data=form | wrong, headers=own).status_code == 403
        assert client.get("/dead/run").status_code == 405
        assert client.post("/dead/run", content=b"a=" + b"x" * 70_000, headers=own).status_code == 413
        assert client.post("/dead/run", content=b"a=&" * 1001, headers=own).status_code == 413
        assert await rig.operator.count() == 1
        assert client.post("/dead/run", data=form, headers=own).status_code == 303


async def test_a_reader_sees_and_changes_nothing(rig: Rig, console: StartConsole) -> None:
    """Neither with a form of their own, nor with the token of an operator."""
    dead_id = await dead_one(rig)
    base = console(CONSOLE_PASSWORD=PASSWORD, CONSOLE_READER_PASSWORD=READER)
    own = {"origin": base}
    with httpx2.Client(base_url=base, auth=("rui", PASSWORD)) as client:
        form = form_of(client, dead_id)
    with httpx2.Client(base_url=base, auth=("rui", READER)) as client:
        page = client.get(f"/dead/letters/{dead_id}")
        assert (page.status_code, "only to look" in page.text, '<form method="post"' in page.text) == (200, True, False)
        assert client.post("/dead/run", data=form, headers=own).status_code == 403
        assert client.post(f"/deliveries/{dead_id[:24]}/replay", data=form, headers=own).status_code == 403
    assert await rig.operator.count() == 1
    assert (await hash_of(rig.redis, KEYS.counts))["h.act dead"] == b"1"


def test_a_reader_is_refused_whatever_the_token() -> None:
    """The role decides by itself: a token that leaked makes nobody an operator."""
    headers, form = {"origin": "http://c", "host": "c"}, {"token": "t"}
    assert refused_change(Visitor("rui", may_change=False, token="t"), headers, form)
    assert refused_change(Visitor("rui", may_change=True, token="t"), headers, form) is None


def test_every_answer_keeps_a_browser_to_the_page(console: StartConsole) -> None:
    """Errors and refusals, too: no script or style but its own files, nothing framed, nothing kept."""
    base = console()
    for path in ("/deliveries", "/static/console.js", "/no/such/page", "/deliveries/x", "/dead?older_than=x"):
        headers = httpx2.get(base + path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'"), path
        assert "unsafe" not in policy
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


def test_an_empty_file_is_no_password(console: StartConsole, tmp_path: Path) -> None:
    """As `deploy/secrets` makes it for the reader: nobody gets in by giving none."""
    (tmp_path / "empty").write_text("")
    base = console(CONSOLE_PASSWORD=PASSWORD, CONSOLE_READER_PASSWORD_FILE=str(tmp_path / "empty"))
    for auth in (("rui", ""), ("", "")):
        assert httpx2.get(f"{base}/deliveries", auth=auth).status_code == 401


@pytest.mark.parametrize("name", ["CONSOLE_PASSWORD", "CONSOLE_READER_PASSWORD"])
def test_a_password_that_can_be_guessed_stops_the_start(name: str, valkey_url: str, start: Start) -> None:
    """One line names it, without its value."""
    console = start("-m", "worker", "console", REDIS_URL=valkey_url, **{name: "hunter2"})
    assert console.wait() == 2
    assert console.output.startswith(f"{name}: expected at least 16 characters")
    assert "hunter2" not in console.output
