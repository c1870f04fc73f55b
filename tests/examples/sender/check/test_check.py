import asyncio
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from examples.sender.check.context import CheckContext, Commands
from examples.sender.check.findings import CHECKS, Finding
from examples.sender.check.run import checks, findings
from examples.sender.http.recording import Answer, RecordingReceiver
from tests.examples.sender.check.flawed import FLAWS, Flaw, good
from tests.examples.sender.check.serving import PATH, serving
from tests.examples.sender.conftest import Run

pytestmark = pytest.mark.anyio


async def checked(url: str, folder: Path, flaw: Flaw) -> dict[str, Finding]:
    """Every check, the effects included where the receiver writes them under `folder`."""

    async def count(event_ids: Sequence[str]) -> list[int]:
        files = [folder / event_id for event_id in event_ids]
        return [len(file.read_text().splitlines()) if file.exists() else 0 for file in files]

    restart = f"sh {folder}/restart" if (folder / "restart").exists() else None
    context = CheckContext(url, flaw.limits, commands=Commands(f"touch {folder}/slow", f"rm {folder}/slow", restart))
    context.count = count if flaw.counted else None
    return {finding.check: finding async for finding in findings(context)}


@pytest.fixture(scope="module")
async def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Finding]]:
    """What the checks find in every flawed receiver: some at a time, for most of it is waiting.

    A finding that was not expected may be about the others that ran beside it: that receiver is checked again, with few
    others.
    """
    many, few = asyncio.Semaphore(20), asyncio.Semaphore(3)

    async def find(name: str, some: asyncio.Semaphore) -> tuple[str, dict[str, Finding]]:
        flaw, folder = FLAWS[name], tmp_path_factory.mktemp("receiver")
        async with some, flaw.serve(flaw.answers(folder), folder) as url:
            return name, await checked(url, folder, flaw)

    told = dict(await asyncio.gather(*(find(name, many) for name in FLAWS)))
    disturbed = [name for name, one in told.items() if list(failed(one)) != [FLAWS[name].check]]
    return told | dict(await asyncio.gather(*(find(name, few) for name in disturbed)))


def failed(one: dict[str, Finding]) -> dict[str, Finding]:
    return {check: finding for check, finding in one.items() if finding.status == "failed"}


@pytest.mark.parametrize("name", FLAWS)
async def test_a_flawed_receiver_fails_exactly_the_check_made_for_it(
    name: str, found: dict[str, dict[str, Finding]]
) -> None:
    """Each flaw is found by its own check and by no other, with what Glartek would do and how to mend it."""
    told = failed(found[name])
    assert list(told) == [FLAWS[name].check], told
    assert all(finding.glartek and finding.mend for finding in told.values())


def test_there_is_a_flawed_receiver_for_every_check() -> None:
    """No check is without a receiver that it finds out."""
    assert {flaw.check for flaw in FLAWS.values()} == set(CHECKS)


async def test_a_good_receiver_passes_and_the_reports_agree(run: Run, tmp_path: Path) -> None:
    """Exit code 0, and terminal, JSON, JUnit XML and HTML tell the same; the token is in none of them."""
    files = ("--junit", str(tmp_path / "report.xml"), "--html", str(tmp_path / "report.html"))
    quick = ("--rate-seconds", "0.2", "--max-rate", "60", "--slow-body", "0.1", "--huge", "2000000", "--idle", "0.2")
    async with serving(good) as url:
        plain = await run("check", url, *files, *quick)
        report = (await run("check", url, "--json", "--only", "only-200-or-201", "--skip", "not-json")).json()
    assert plain.code == 0, plain.out
    suite = ET.fromstring((tmp_path / "report.xml").read_text())  # noqa: S314 - our own
    html = (tmp_path / "report.html").read_text()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (str(len(CHECKS)), "0", "6")
    for check in CHECKS.values():
        assert check.title.replace("'", "&#x27;") in html
        assert check.title in plain.out or check.name in plain.out  # each reason to skip is told once, with names
    assert "http://" not in html.replace(url[:22], "").replace("<!doctype html>", "")  # needs nothing else
    assert PATH.rpartition("/")[2] not in html + plain.out + (tmp_path / "report.xml").read_text()
    assert report["findings"][0]["status"] == "passed"
    assert report["settings"]["timeout"] == 10
    properties = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert (properties["timeout"], properties["max_rate"]) == ("10", "60")
    assert "settings: timeout 10; prompt 2;" in plain.out


async def test_what_refuses_every_event_is_told_so_once(run: Run) -> None:
    """A wrong token or a dead endpoint fails one check; the others are skipped, for nothing can be judged."""
    async with RecordingReceiver(lambda _: Answer(404)) as receiver:
        refused = await run("check", receiver.url, "--json")
        url = receiver.url
    gone = await run("check", url, "--json")
    for finished, seen in ((refused, "404"), (gone, "cannot connect")):
        first, *others = sorted(finished.json()["findings"], key=lambda finding: finding["status"] == "skipped")
        assert finished.code == 1
        assert (first["check"], first["status"]) == ("only-200-or-201", "failed")
        assert seen in first["seen"]
        assert {finding["status"] for finding in others} == {"skipped"}


async def test_what_refuses_every_event_fails_whichever_checks_were_asked_for(run: Run) -> None:
    """With --only or --skip, too: else a receiver that is down would be all skipped, and green in CI."""
    async with RecordingReceiver() as receiver:
        gone = receiver.url
    for chosen in (("--only", "effect-once"), ("--skip", "only-200-or-201")):
        refused = await run("check", gone, *chosen)
        assert refused.code == 1
        assert "Nothing listens there" in refused.out


async def test_commands_that_do_not_work_are_skips_with_a_reason(run: Run) -> None:
    """A missing or failing --effects-cmd or --slow-cmd is no fault of the receiver, but not green in CI: code 2."""
    only = ("--only", "effect-once", "--only", "prompt-while-consumer-is-slow", "--json")
    async with serving(good) as url:
        missing = await run("check", url, *only, "--effects-cmd", "no-such-program", "--slow-cmd", "no-such-program")
        failing = await run("check", url, *only, "--effects-cmd", "echo many", "--slow-cmd", "false")
    for finished in (missing, failing):
        assert finished.code == 2
        assert {finding["status"] for finding in finished.json()["findings"]} == {"skipped"}
    assert "should print a number" in failing.out


async def test_a_count_of_none_counts_although_grep_ends_with_1(run: Run, tmp_path: Path) -> None:
    """`grep -c` of a log says 0 for a lost event, and ends with 1: the event is told as lost, the check not skipped."""
    log = tmp_path / "log"
    log.touch()
    count = ("--effects-cmd", f"grep -c {{id}} {log}", "--effects-wait", "0.1", "--only", "effect-once", "--json")
    async with serving(good) as url:
        (finding,) = (await run("check", url, *count)).json()["findings"]
    assert (finding["status"], "1 without any effect" in finding["seen"]) == ("failed", True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "URL is missing"),
        (("no url",), "expected an http:// or https:// URL"),
        (("http://127.0.0.1:9/", "--only", "keepalive"), "did you mean keep-alive"),
        (("http://127.0.0.1:9/", "--secret", "whsec_?"), "--secret: expected whsec_"),
        (("http://127.0.0.1:9/", "--samples", "/nowhere"), "expected a folder"),
        (("http://127.0.0.1:9/", "--junit", "/nowhere/report.xml"), "/nowhere/report.xml: cannot be written"),
        (("http://127.0.0.1:9/", "--ledger", "--effects-cmd", "x"), "either --effects-cmd or --ledger"),
    ],
)
async def test_wrong_usage_is_one_line(run: Run, arguments: tuple[str, ...], expected: str) -> None:
    """What is wrong, and what was expected, before anything is sent; exit code 2."""
    finished = await run("check", *arguments)
    assert (finished.code, finished.out) == (2, "")
    assert expected in finished.err
    assert finished.err.count("\n") == 1


async def test_list_names_every_check(run: Run) -> None:
    """`check --list` needs no URL."""
    assert [row["check"] for row in (await run("check", "--list", "--json")).json()] == list(checks())
