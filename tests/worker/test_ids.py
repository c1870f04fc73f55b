"""Ids are short, and any beginning that only one has will do."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.environment import SettingsError
from tests.conftest import Process, Start
from tests.terminal import Terminal
from tests.worker.conftest import Rig, make_handler
from worker import GiveUp
from worker.ids import SHORT, matching, short, the_one

HEADS = st.text("0123456789abcdef", min_size=24, max_size=24)
ONE = "f01b39bcdcbf0da03171a18a"
ALIKE = "f01b39bc0000000000000000"


def test_the_shortest_form_means_one_alone() -> None:
    """Eight digits, a letter of the handler where a delivery has two, more digits where two are alike."""
    two = [f"{ONE}:teams.notify", f"{ONE}:audit_log.append", f"{'0' * 24}:conflict:1234"]
    assert [short(one, two) for one in two] == ["f01b39bc:t", "f01b39bc:a", "0" * 8]
    assert short(ONE, [ONE, ALIKE]) == "f01b39bcd"
    assert short(ONE, [ONE]) == ONE[:SHORT]


@given(st.lists(st.tuples(HEADS, st.sampled_from(["", ":a.b", ":a.bc", ":parse", ":conflict:12"])), min_size=1))
def test_what_is_shown_is_understood(parts: list[tuple[str, str]]) -> None:
    """Whatever ids there are, the short form of each is taken for that one."""
    ids = [head + tail for head, tail in parts]
    assert all(the_one(short(one, ids), ids) == one for one in ids)


@pytest.mark.parametrize(
    ("name", "meant"),
    [(ONE, [ONE]), ("f01b", [ONE, ALIKE]), ("f01b39bcd", [ONE]), ("01b3", []), ("", []), (ONE + "0", [])],
)
def test_a_beginning_means_all_that_begin_so(name: str, meant: list[str]) -> None:
    """And a whole id that one alone."""
    assert matching(name, [ONE, ALIKE]) == meant


def test_a_beginning_that_several_have_is_a_line() -> None:
    """It names them."""
    with pytest.raises(SettingsError, match=f"f01b: 2 ids begin so \\({ONE}, {ALIKE}\\); type more of it"):
        the_one("f01b", [ONE, ALIKE])


def give_up(_: int) -> None:
    raise GiveUp("not today")


@pytest.fixture
def run(start: Start, rig: Rig) -> Callable[..., Awaitable[Process]]:
    """Run `python -m worker …` to its end."""

    async def run_one(*arguments: str, **more: str) -> Process:
        process = start("-m", "worker", *arguments, REDIS_URL=rig.url, **more)
        await asyncio.to_thread(process.wait)
        return process

    return run_one


async def test_commands_take_the_ids_that_they_print(run: Callable[..., Awaitable[Process]], rig: Rig) -> None:
    """Whole at 80 columns, in `dead list` and `status`; taken by `show`, `replay` and `dead …`."""
    sent = [await rig.send(f"e{number}", "work_order.completed") for number in range(3)]
    async with rig.working({"*": [make_handler("external_system_update", give_up)]}):
        await rig.closed(*sent)
    for command in (("dead", "list"), ("status",)):
        said = await asyncio.to_thread(Terminal("worker", *command, REDIS_URL=rig.url, COLUMNS="80").end)
        assert all(one.id[:SHORT] in said for one in sent)
    first, second, third = (one.id[:SHORT] for one in sent)
    assert json.loads((await run("show", first, "--json")).output)["key"] == "e0"
    assert json.loads((await run("dead", "show", second, "--json")).output)["delivery"] == sent[1].id
    assert (await run("dead", "replay", second)).output.strip() == "replayed 1 of 1"
    assert (await run("dead", "drop", f"{third}:h.ext")).output.strip() == "dropped 1 of 1"
    assert (await run("replay", first)).output.strip() == "h.external_system_update: replayed"
    assert await rig.letters() == []
    unknown = await run("show", "0000")
    assert unknown.wait() == 2
    assert "0000: no such delivery is remembered" in unknown.output
