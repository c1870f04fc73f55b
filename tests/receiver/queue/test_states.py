"""The scripts of the queue are those that docs/states.md draws and that `receiver.queue` tells of."""

import re

import receiver.queue
from receiver.queue.scripts import LUA
from tests.conftest import ROOT

SCRIPTS = {path.stem for path in LUA.glob("*.lua")} - {"prelude", "duplicates"}  # which stand in front of others
PAGE = (ROOT / "docs" / "states.md").read_text(encoding="utf-8")
PICTURE = PAGE.partition("```mermaid\n")[2].partition("```")[0]


def test_every_arrow_names_the_script_that_makes_the_step() -> None:
    """An arrow without a script would be a step that nobody makes."""
    labels = re.findall(r"^ +\S+ --> \w+(.*)$", PICTURE, re.MULTILINE)
    assert labels
    assert {label.removeprefix(": ").partition(",")[0] for label in labels} <= SCRIPTS


def test_the_steps_to_an_end_are_those_of_the_theory_of_operation() -> None:
    """A handler is done, and a job has ended, by the scripts that `receiver.queue` names for it."""
    rows = {cells[0]: cells[-1] for line in (receiver.queue.__doc__ or "").splitlines() if (cells := _cells(line))}
    for state, row in {"done": "done, skipped", "ended": "ended"}.items():
        drawn = set(re.findall(rf"--> {state}: (\w+)", PICTURE))
        assert drawn == set(re.findall(r"`(\w+)`", rows[row])), state


def _cells(line: str) -> list[str]:
    return line.strip("| ").split(" | ") if line.startswith("| ") else []


def test_every_state_is_reached_by_an_arrow() -> None:
    """And every arrow begins and ends at one."""
    states = set(re.findall(r'state ".+" as (\w+)$', PICTURE, re.MULTILINE))
    arrows = re.findall(r"^ +(\S+) --> (\w+)", PICTURE, re.MULTILINE)
    assert {end for _, end in arrows} == states
    assert {start for start, _ in arrows} <= {*states, "[*]"}


def test_the_page_names_every_script_and_no_other() -> None:
    """On an arrow, or as one that makes no step."""
    on_arrows = set(re.findall(r"--> \w+: (\w+)", PICTURE))
    without_a_step = set(re.findall(r"`(\w+)`", PAGE.partition("Nine scripts")[2].partition("\n\n")[0]))
    assert on_arrows | without_a_step == SCRIPTS
    assert not on_arrows & without_a_step
    assert len(without_a_step) == 9


def test_the_theory_of_operation_names_every_script() -> None:
    """In the tables of `receiver.queue`, or below them."""
    told = receiver.queue.__doc__ or ""
    steps = "".join(line.rpartition(" | ")[2] for line in told.splitlines() if line.startswith("| "))
    named = set(re.findall(r"`(\w+)`", steps))
    assert named <= SCRIPTS
    assert named | set(re.findall(r"`(\w+)`", told)) >= SCRIPTS
