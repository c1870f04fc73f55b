"""`explain` tells where everything came from, and what would be done, before anything is."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from receiver.environment import load
from receiver.events import BY_NAME
from receiver.explain import reports
from receiver.payload_settings import PayloadSettings
from tests.conftest import ROOT, Start
from tests.theirs import COMPLETED, CREATED, PAYLOAD_TOML

HANDLERS = """
async def act(event, ctx): ...
async def preview(event, idempotency_key):
    return {"key": idempotency_key, "name": event.work_order.name}
ROUTES = {"work_order.completed": [act]}
"""


@pytest.fixture
def theirs(clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> PayloadSettings:
    (clean_environment / "payload.toml").write_text(PAYLOAD_TOML)
    monkeypatch.setenv("PAYLOAD_MAP", "payload.toml")
    return load(PayloadSettings)


def explained(config: PayloadSettings, payload: Any) -> dict[str, Any]:
    [report] = reports(config, {}, json.dumps(payload).encode())
    return report


def test_every_field_is_told_with_its_path(theirs: PayloadSettings) -> None:
    """Type, time and subject, too, and how the type was recognised."""
    report = explained(theirs, COMPLETED)
    assert report["type_from"] == "webhookType: 'Work Order Completed' is Glartek's title"
    assert (report["time"], report["time_from"]) == ("2026-11-20T14:03:11+00:00", "triggeredAt: '2026-11-20 14:03:11'")
    assert (report["subject"], report["subject_from"]) == ("work_order:991", "data: workOrderId")
    assert report["fields"]["assignees"] == {"value": ["ana@example.com"], "from": "assignedUsers[]"}
    assert explained(theirs, CREATED)["fields"]["priority"] == {"value": "High", "from": "prio"}
    assert "due_date" in report["missing"]
    assert report["not_understood"] == [{"path": "tenant", "guess": None}]


def test_what_was_not_understood_is_told_with_the_nearest_guess(clean_environment: Path) -> None:
    """The lines to write into payload.toml, for a payload that the kit has never seen."""
    assert clean_environment
    report = explained(load(PayloadSettings), COMPLETED)
    guesses = {other["path"]: other["guess"] for other in report["not_understood"]}
    assert guesses["eventGuid"].startswith('perhaps [event] id = "eventGuid"')
    assert guesses["triggeredAt"].startswith('perhaps [event] time = "triggeredAt"')
    assert guesses["workOrderId"].startswith('perhaps [work_order] id = "workOrderId"')
    assert guesses["doneAt"].startswith('perhaps [work_order] finished_at = "doneAt"')
    assert (report["subject"], report["subject_from"]) == ("", "data: none of id has a text in it")


@pytest.mark.parametrize(
    ("payload", "time_from"),
    [
        ({"time": "2026-11-20 14:03"}, "time: '2026-11-20 14:03' has no offset; set time_zone"),
        ({"time": "soon"}, "time: 'soon' is no time that can be read"),
        ({}, "none of occurred_at, "),
    ],
)
def test_why_a_time_was_not_read_is_told(clean_environment: Path, payload: Any, time_from: str) -> None:
    """And what to do about it."""
    assert clean_environment
    report = explained(load(PayloadSettings), payload)
    assert report["time"] is None
    assert report["time_from"].startswith(time_from)


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ("action.created", "is the kit's name"),
        ("ACTION CREATED", "is the same in other letters"),
        ("Opened", "is one of your words for it"),
        ("Action Lost", "is no type that the kit knows"),
    ],
)
def test_how_a_type_was_recognised_is_told(words: str, how: str, clean_environment: Path) -> None:
    """By which of the names, or that it was not."""
    (clean_environment / "payload.toml").write_text('[types]\n"action.created" = "Opened"')
    config = load(PayloadSettings, payload_map=Path("payload.toml"))
    assert how in explained(config, {"type": words})["type_from"]


def test_nothing_of_a_sample_is_left_over(clean_environment: Path) -> None:
    """The kit understands its own payloads, but for three fields that no view has."""
    assert clean_environment
    for event_type in BY_NAME.values():
        report = explained(load(PayloadSettings), event_type.sample())
        assert {other["path"] for other in report["not_understood"]} <= {"changed", "previous_assignees", "resolution"}
        assert report["time"] is not None


def test_each_event_of_a_batch_is_explained(clean_environment: Path) -> None:
    """And one too long is told as the dead letter that it would be."""
    (clean_environment / "payload.toml").write_text('[event]\nbatch = "@"')
    config = load(PayloadSettings, payload_map=Path("payload.toml"))
    two = reports(config, {}, b'[{"id":"a","type":"action.created"},{"id":"b"}]')
    assert [(report["part"], report["key"]) for report in two] == [("1 of 2", "a"), ("2 of 2", "b")]
    [long] = reports(config, {}, b"[%s1]" % (b"1," * 1000))
    assert long["unreadable"] == "the body holds 1001 events; expected 1000 at most"


def test_a_folder_is_explained_with_what_the_handlers_would_do(start: Start, tmp_path: Path) -> None:
    """Without Redis and without running a handler; a module without a preview is named, a recording's headers count."""
    (tmp_path / "mine.py").write_text(HANDLERS)
    (tmp_path / "payload.toml").write_text(PAYLOAD_TOML)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/1.json").write_text(json.dumps(COMPLETED))
    (tmp_path / "in/2.json").write_text(json.dumps(CREATED))
    (tmp_path / "in/2.head").write_text("POST / HTTP/1.1\nWebhook-Id: w2\n\n# arrived 2026-11-20T14:03:11Z\n")
    settings = {"PAYLOAD_MAP": "payload.toml", "HANDLERS": "mine:ROUTES"}
    shown, as_json = (start("-m", "receiver", "explain", "in", *more, **settings) for more in ([], ["--json"]))
    assert as_json.wait() == 0, as_json.output
    one, two = json.loads(as_json.output)
    sent = {"key": f"mine.act:{one['delivery']}", "name": "Pump 7 weekly"}
    assert one["handlers"] == [{"handler": "mine.act", "sends": sent, "why_not": None}]
    assert (two["keys"]["webhook-id"], two["handlers"]) == ("w2", [])
    assert shown.wait() == 0, shown.output
    assert "mine.act would send:" in shown.output


def test_explain_without_a_route_table_says_so(start: Start, tmp_path: Path) -> None:
    """What the receiver knows is shown all the same."""
    (tmp_path / "body.json").write_text(json.dumps(CREATED))
    process = start("-m", "receiver", "explain", "body.json", HANDLERS="nowhere:ROUTES")
    assert process.wait() == 0, process.output
    assert "handlers: cannot be told: HANDLERS: no module 'nowhere'" in process.output


def test_what_your_modules_print_is_no_part_of_the_report(tmp_path: Path) -> None:
    """Nor does a preview that ends the process end the report; a command without stdin reads nothing."""
    text = "print('imported')\n" + HANDLERS.replace(
        "    return", "    print('called'); raise SystemExit(3)\n    return"
    )
    (tmp_path / "mine.py").write_text(text + "act.__module__ = 'mine'\n")
    (tmp_path / "body.json").write_text(json.dumps(COMPLETED))
    told = _explained(tmp_path, "body.json", HANDLERS="mine:ROUTES")
    assert told["handlers"] == [{"handler": "mine.act", "sends": None, "why_not": "SystemExit: 3"}]
    (tmp_path / "mine.py").write_text(HANDLERS + "act.__module__ = 'made.at.runtime'\n")
    assert "no preview" in _explained(tmp_path, "body.json", HANDLERS="mine:ROUTES")["handlers"][0]["why_not"]
    assert _explained(tmp_path, "-")["unreadable"]


def test_a_letter_that_stdout_has_not_is_escaped(tmp_path: Path) -> None:
    """In a locale without UTF-8, such as pt_PT, whose letters are Latin-1's."""
    (tmp_path / "body.json").write_text(json.dumps(CREATED | {"webhookType": "œuvre"}))
    command = [sys.executable, "-m", "receiver", "explain", "body.json"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert rb"\u0153uvre" in ended.stdout


def _explained(folder: Path, file: str, **settings: str) -> Any:
    """What stdout says, of a process without stdin."""
    command = f"exec {sys.executable} -m receiver explain --json {file} <&-"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{folder}", **settings}
    ended = subprocess.run(["sh", "-c", command], cwd=folder, env=environment, capture_output=True, check=False)
    assert ended.stdout, ended.stderr.decode()
    return json.loads(ended.stdout)
