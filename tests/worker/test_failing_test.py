"""A dead letter saved as a test, in a customer's clone: it fails now, and passes once the handler is mended."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from receiver import events
from receiver.environment import load
from receiver.payload_settings import PayloadSettings
from tests.clones import clone, kit, make, sh
from tests.conftest import Process, Start
from tests.worker.conftest import Rig, delivery_of
from tests.worker.test_groups import NOW, letter
from worker import failing_test

__all__ = ["clone", "kit"]

SENT = '"text": action.title or "An Action without a title"'
BROKEN = '"text": event.payload["action"]["title"].upper()'


async def broken(rig: Rig, clone: Path, start: Start, **fields: object) -> str:
    """A package whose handler fails for an Action without a title; the id of the dead letter that one has become."""
    make(clone, "new", "NAME=acme")
    handlers = clone / "acme/handlers.py"
    handlers.write_text(handlers.read_text().replace(SENT, BROKEN))
    payload = events.BY_NAME["action.created"].sample()
    payload["action"] |= {"title": None, "priority": "High", "description": "Ana Silva fell", **fields}
    delivery = await rig.accept(delivery_of(json.dumps(payload).encode()))
    worker = command(start, rig, clone)
    worker.wait_for("dead letter")
    await rig.closed(delivery)
    return f"{delivery.id}:handlers.page"


def command(start: Start, rig: Rig, clone: Path, *arguments: str) -> Process:
    """`python -m worker` with the customer's package."""
    own = {"HANDLERS": "acme:ROUTES", "ACME_PAGER_URL": "https://pager.example.com", "MAX_TRIES": "1"}
    return start("-m", "worker", *arguments, PYTHONPATH=str(clone), REDIS_URL=rig.url, **own)


def mend(clone: Path) -> None:
    handlers = clone / "acme/handlers.py"
    handlers.write_text(handlers.read_text().replace(BROKEN, SENT))


def pytested(clone: Path, test: str, code: int) -> str:
    return sh(clone, sys.executable, "-m", "pytest", test, code=code)


async def test_it_fails_until_the_handler_is_mended(rig: Rig, clone: Path, start: Start) -> None:
    """As it is, beside the handler: formatted, typed, green in `make check`, and without what anybody wrote."""
    dead_id = await broken(rig, clone, start)
    saved = command(start, rig, clone, "dead", "save-test", dead_id, "--into", str(clone))
    assert saved.wait() == 0, saved.output
    assert "it fails now: AttributeError: 'NoneType' object has no attribute 'upper'" in saved.output
    test = clone / f"acme/test_handlers_page_{dead_id[:8]}.py"
    assert "Ana Silva" not in test.with_suffix(".json").read_text() + test.read_text()
    assert "AttributeError" in pytested(clone, str(test), 1)
    ruff = str(Path(sys.executable).parent / "ruff")
    sh(clone, ruff, "format", "--check", "acme")
    sh(clone, ruff, "check", "acme")
    sh(clone, sys.executable, "-m", "mypy", "acme")
    again = command(start, rig, clone, "dead", "save-test", dead_id, "--into", str(clone))
    assert (again.wait(), "is there already; --force writes over it" in again.output) == (2, True)
    mend(clone)
    assert "7 passed" in pytested(clone, "acme", 0)
    gone = command(start, rig, clone, "dead", "save-test", dead_id, "--into", str(clone), "--force")
    assert (gone.wait(), "does not fail for its redacted sample" in gone.output) == (1, True)


def test_values_are_kept_at_the_paths_that_are_named() -> None:
    """In any spelling, of every item of a list, and nothing else."""
    payload = {"action": {"title": "Oil leak", "labels": [{"name": "a b", "by": "c d"}], "note": "e f"}}
    settings = load(PayloadSettings)
    kept = failing_test.redacted(
        payload, ["Action.Title", "action.labels.name", "no.such", "action.title.deeper"], settings
    )
    assert kept["action"]["title"] == "Oil leak"
    assert kept["action"]["labels"][0]["name"] == "a b"
    assert "c d" not in str(kept)
    assert "e f" not in str(kept)
    assert failing_test.redacted(payload, ["action.labels.*.by"], settings)["action"]["labels"][0]["by"] == "c d"


@pytest.mark.parametrize(
    ("reason", "status"),
    [("HTTPStatusError: chat.example.com answered 503", 503), ("it is 404 m long", None), ("status: 422, no", 422)],
)
def test_what_was_answered_is_read_from_the_reason(reason: str, status: int | None) -> None:
    """Where it says so."""
    assert failing_test.answered(reason) == status


def test_it_is_formatted_with_a_payload_map_too() -> None:
    """Its lines stay short for a handler with a long name, whose package `make new` has given a payload.toml."""
    settings = load(PayloadSettings).model_copy(update={"payload_map": Path("acme/payload.toml")})
    long = "update_maintenance_order"
    code = failing_test.make(letter(0, "ValueError", f"handlers.{long}"), {}, "acme.handlers", settings).code
    ruff = Path(sys.executable).parent / "ruff"
    formatted = subprocess.run([ruff, "format", "-"], input=code, capture_output=True, text=True, check=True).stdout
    assert formatted == code


def test_hostile_text_is_no_code() -> None:
    """A reason is what somebody else wrote: it stays in its docstring, in one line."""
    hostile = 'a""" \n\nimport os; os.abort()  # \\" \\N{BULLET} \u2028 ' + "x" * 500
    made = failing_test.make(letter(0, hostile, "handlers.page"), {}, "acme.handlers", load(PayloadSettings))
    compile(made.code, "test", "exec")
    assert "\n\nimport os" not in made.code
    assert max(map(len, made.code.splitlines())) <= 120
    assert f"{NOW:%Y-%m-%d}" in made.code
