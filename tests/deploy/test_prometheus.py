"""deploy/prometheus: rules and dashboard, by Prometheus' own tool and against what `/metrics` has."""

import json
import re
import subprocess
from typing import Any

import pytest
import yaml

from receiver.alerts.troubles import KINDS
from receiver.figures import Figures, Memory, Process
from receiver.queue import keys as key_names
from tests.conftest import ROOT
from tests.deploy.proxies import required
from worker.console.metrics import render

FOLDER = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "rules.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ADDED = {"le", "job", "instance"}
"""Labels that Prometheus adds."""


def promtool(*arguments: str) -> None:
    required("promtool")
    answer = subprocess.run(["promtool", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def expressions() -> dict[str, str]:
    """Every PromQL expression of rules and dashboard, by where it stands."""
    found = {rule["alert"]: rule["expr"] for rule in RULES}
    for panel in DASHBOARD["panels"]:
        found |= {
            f"{panel['id']} {panel['title']} {target['refId']}": target["expr"] for target in panel.get("targets", ())
        }
    return found


def exposed() -> dict[str, set[str]]:
    """The labels of every sample that `/metrics` may have, by its name."""
    spool = {"path": "/s", "events": 0, "bytes": 0, "oldest": None, "set_aside": 0, "damaged": 0, "unusable": False}
    about = {"host": "a", "version": "1", "python": "3"}
    processes = (
        Process(0, {**about, "kind": "receiver", "sources": ["event-id"], "spool": spool}),
        Process(0, {**about, "kind": "worker", "handlers": ["h.act"]}),
    )
    fields = [
        "accepted other",
        "duplicates other body",
        "conflicts other body",
        "ended h.act done other",
        "ended h.act failed other",
    ]
    fields += ["dead h.act age", "refused 404", "spooled", "log_lines_dropped worker", "seen other"]
    fields += ["to_start 0", "to_done h.act 0", "run h.act 0"]
    metrics = dict.fromkeys(fields, 1)
    figures = Figures(0, 0, 0, 0, 0, 0, metrics, {}, processes, Memory(1, 2))
    found: dict[str, set[str]] = {"up": set()}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", render(figures).decode(), re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def test_prometheus_takes_rules_and_configuration() -> None:
    """`promtool check config`, and the rules with it."""
    promtool("check", "config", str(FOLDER / "prometheus.yml"))


def test_every_rule_fires_when_it_should_and_is_over_when_it_should() -> None:
    """`promtool test rules`: tests/deploy/alerts.yml has each alert firing, and not firing."""
    promtool("test", "rules", "tests/deploy/alerts.yml")
    cases = yaml.safe_load((ROOT / "tests" / "deploy" / "alerts.yml").read_text(encoding="utf-8"))["tests"]
    checks = [check for case in cases for check in case["alert_rule_test"]]
    fired = {check["alertname"] for check in checks if check.get("exp_alerts")}
    assert (
        fired
        == {rule["alert"] for rule in RULES}
        == {check["alertname"] for check in checks if "exp_alerts" not in check}
    )


@pytest.mark.parametrize("where", expressions())
def test_names_and_labels_are_those_of_the_code(where: str) -> None:
    """A metric that was renamed would leave an alert that never fires, and an empty panel."""
    expression, known = expressions()[where], exposed()
    names = set(re.findall(r"\bglartek_\w+|\bup\b", expression))
    assert names, expression
    assert names <= set(known), names - set(known)
    labels = {label for part in re.findall(r"\bby \(([^)]*)\)", expression) for label in part.split(", ")}
    labels |= set(re.findall(r'(\w+)=~?"', expression))
    allowed = ADDED.union(*(known[name] for name in names))
    assert labels <= allowed, labels - allowed


def test_every_metric_is_shown() -> None:
    """What is measured is on the dashboard, or an alert looks at it."""
    said = " ".join(expressions().values())
    histograms = {name.removesuffix("_bucket") for name in exposed() if name.endswith("_bucket")}
    parts = {f"{name}{end}" for name in histograms for end in ("_sum", "_count", "_bucket")}
    shown = {name for name in {*exposed(), *histograms} - parts if name in said}
    assert shown == {*exposed(), *histograms} - parts


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_each_rule_names_its_page_in_the_runbook(rule: dict[str, Any]) -> None:
    """By the section of its name."""
    assert rule["labels"]["severity"] in {"page", "ticket"}
    page, anchor = rule["annotations"]["runbook"].split("#")
    assert (page, anchor) == ("docs/operations.md", rule["alert"].lower())


@pytest.mark.parametrize("alert", sorted({*KINDS, *(rule["alert"] for rule in RULES)}))
def test_each_alert_has_its_page_in_the_runbook(alert: str) -> None:
    """Prometheus' and the kit's own: what it means, what to look at, what to type, why its threshold is what it is."""
    section = OPERATIONS.partition(f"### {alert}\n")[2].partition("\n### ")[0]
    assert re.search(r"^[`\w]", section, re.MULTILINE)
    for part in ("- Look at: ", "- Type: `", "- Threshold: "):
        assert section.count(part) == 1, part


def test_the_runbook_has_no_alert_that_is_gone() -> None:
    """And none twice."""
    alerts = re.findall(r"^### (Glartek\w+)$", OPERATIONS, re.MULTILINE)
    assert sorted(alerts) == sorted({*KINDS, *(rule["alert"] for rule in RULES)})


def test_the_fields_of_the_hash_are_documented() -> None:
    """Each word that a field of `<p>metrics` begins with stands in the table of the keys."""
    for word in (
        "accepted",
        "duplicates",
        "conflicts",
        "ended",
        "dead",
        "refused",
        "spooled",
        "seen",
        "to_start",
        "run",
    ):
        assert f"`{word}" in (key_names.__doc__ or "").replace("\n", " ")
