"""Which figures are trouble. What happens in the whole kit is tests/end_to_end/test_alerts.py."""

from typing import Any

import pytest
import yaml

from receiver.alerts.settings import AlertSettings
from receiver.alerts.troubles import KINDS, Rising, counts, of_figures, runs
from receiver.environment import load
from receiver.figures import Figures, Memory, Process
from tests.conftest import ROOT

NOW = 1_000_000.0
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
WITHOUT_A_RULE = {"GlartekUnsafe", "GlartekDiskShort"}
"""Prometheus has exporters for disks, and `doctor` is no figure."""
PROMETHEUS_ALONE = {"GlartekConsoleDown"}
SPOOL = {"events": 0, "oldest": None, "set_aside": 0, "damaged": 0, "unusable": False, "free": 1 << 40}


def receiver(**spool: Any) -> Process:
    return Process(0, {"kind": "receiver", "host": "one", "spool": SPOOL | spool})


WORKER = Process(0, {"kind": "worker", "host": "two"})


def figures(*processes: Process, **more: Any) -> Figures:
    well = {"ready": 0, "waiting": 0, "oldest_ready": 0, "running": 0, "dead": 0}
    rest = {"metrics": {}, "counts": {}, "memory": Memory(1, 100)}
    return Figures(**{"now": NOW, **well, **rest, "processes": processes or (receiver(), WORKER), **more})


def names(seen: Figures, ended: Any = None, **limits: Any) -> list[str]:
    settings = load(AlertSettings, _env_file=None, **limits)
    return [one.name for one in of_figures(seen, ended or {}, {}, settings)]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (figures(), []),
        (figures(WORKER), ["GlartekNoReceiver"]),
        (figures(receiver()), ["GlartekNoWorker"]),
        (figures(receiver(), WORKER._replace(age=16)), ["GlartekNoWorker"]),
        (figures(oldest_ready=120), []),
        (figures(oldest_ready=121), ["GlartekBacklogOld"]),
        (figures(memory=Memory(70, 100)), []),
        (figures(memory=Memory(71, 100)), ["GlartekRedisMemory"]),
        (figures(memory=Memory(1 << 40, 0)), []),
        (figures(memory=None), []),
        (figures(receiver(events=1, oldest=NOW - 300), WORKER), []),
        (figures(receiver(events=1, oldest=NOW - 301), WORKER), ["GlartekSpoolNotDraining"]),
        (figures(receiver(events=0, oldest=NOW - 301), WORKER), []),
        (figures(receiver(set_aside=1), WORKER), ["GlartekSpoolNeedsHand"]),
        (figures(receiver(damaged=1, unusable=True), WORKER), ["GlartekSpoolNeedsHand"]),
        (figures(receiver(free=(512 << 20) - 1), WORKER), ["GlartekDiskShort"]),
        (figures(receiver(free=None), WORKER), []),
        (figures(Process(0, {"kind": "receiver", "host": "of an older version"}), WORKER), []),
        (figures(metrics={"seen other": int(NOW - 3 * 86400 - 1)}), ["GlartekSilence"]),
        (figures(metrics={"seen other": int(NOW - 4 * 86400), "seen action.created": int(NOW - 60)}), []),
    ],
)
def test_each_threshold(seen: Figures, expected: list[str]) -> None:
    """Just within it nothing is told, and just beyond it is."""
    assert names(seen) == expected


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        ({"done": 3, "failed": 3}, []),
        ({"done": 3, "failed": 4}, ["GlartekHandlerFailing"]),
        ({"failed": 5}, []),
        ({"asked": 100, "done": 1}, []),
        ({"failed": 5, "dead": 1}, ["GlartekHandlerFailing"]),
    ],
)
def test_a_handler_fails_in_more_than_half_of_its_runs(ended: dict[str, int], expected: list[str]) -> None:
    """One that asks for later does not, and fewer than six runs say nothing."""
    assert names(figures(), {"h.act": ended}) == expected


def test_runs_are_those_of_the_newest_minutes_where_they_say_enough() -> None:
    """So that a handler that recovered is well at once."""
    before = {"ended h.act failed other": 50, "ended h.b done other": 2, "accepted other": 9}
    assert runs([{}, before]) == {"h.act": {"failed": 50}, "h.b": {"done": 2}}
    assert runs([{"ended h.act done other": 4, "ended h.act done action.created": 2}, before])["h.act"] == {"done": 6}
    assert runs([{"ended h.act done other": 5}, before])["h.act"] == {"done": 5, "failed": 50}


def test_counts_are_grouped() -> None:
    """Dead letters by handler and class of reason, conflicts by the key's source; other refusals are no trouble."""
    metrics = {"dead h.act gave_up": 2, "dead h.act tries": 1, "refused 503": 4, "refused 404": 9}
    metrics |= {"conflicts other body": 1, "conflicts action.created body": 2, "accepted other": 7}
    found = {(one.name, one.about): one.value for one in counts(metrics)}
    assert found == {
        ("GlartekDeadLetters", "h.act gave_up"): 2,
        ("GlartekDeadLetters", "h.act tries"): 1,
        ("GlartekEventsNotStored", ""): 4,
        ("GlartekConflicts", "body"): 3,
    }
    assert all(isinstance(one, Rising) for one in counts(metrics))


@pytest.mark.parametrize("name", KINDS)
def test_each_alert_is_explained(name: str) -> None:
    """docs/operations.md has a section on it, which says to type what the alert says."""
    section = OPERATIONS.partition(f"### {name}\n")[2].partition("\n### ")[0]
    assert f"- Type: `{KINDS[name].command}`" in section


def test_alerts_and_rules_have_the_same_names() -> None:
    """But those that only one of the two can know."""
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text(encoding="utf-8"))
    named = {rule["alert"] for rule in rules["groups"][0]["rules"]}
    assert set(KINDS) - WITHOUT_A_RULE == named - PROMETHEUS_ALONE


def test_the_alert_of_conflicts_says_how_many_of_a_key_are_kept() -> None:
    """As many as tests/receiver/test_intake.py holds: who reads it must not rely on the others."""
    [conflicts] = counts({"conflicts other body": 12})
    assert conflicts.text.endswith("ten of a key are kept.")
