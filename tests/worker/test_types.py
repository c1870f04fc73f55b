"""What an editor and strict mypy know of a handler's event and context."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

HANDLER = """\
from worker import Context, Event


async def act(event: Event, ctx: Context) -> None:
    reveal_type(event.occurred_at)
    if event.work_order is not None:
        reveal_type(event.work_order.due_date)
        reveal_type(event.work_order.assignees)
        event.work_order.asignees
    if event.action is not None:
        reveal_type(event.action.assigned_to)
        event.action.prio
    reveal_type(await ctx.http.get("https://x.example"))
    reveal_type(ctx.received_at)
    reveal_type(await ctx.redis.get("key"))
    ctx.log.info("said", n=ctx.attempt + 1)
    ctx.logg
"""
SAID = [
    ("note", 'Revealed type is "datetime.datetime | None"'),
    ("note", 'Revealed type is "datetime.datetime | None"'),
    ("note", 'Revealed type is "list[worker.views.Ref] | None"'),
    ("error", '"WorkOrder" has no attribute "asignees"; maybe "assignees"?  [attr-defined]'),
    ("note", 'Revealed type is "worker.views.Ref | None"'),
    ("error", '"Action" has no attribute "prio"  [attr-defined]'),
    ("note", 'Revealed type is "httpx2._models.Response"'),
    ("note", 'Revealed type is "datetime.datetime"'),
    ("note", 'Revealed type is "Any"'),
    ("error", '"Context" has no attribute "logg"  [attr-defined]'),
]


def test_fields_are_known_and_slips_are_found(tmp_path: Path) -> None:
    """Each with its type; a field that the typed view does not have is an error, not Any."""
    (tmp_path / "acts.py").write_text(HANDLER, encoding="utf-8")
    config = ROOT / "pyproject.toml"
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--no-pretty", str(tmp_path / "acts.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line.split(": ", 2)[1:] for line in done.stdout.splitlines() if "acts.py" in line]
    assert [(kind, said) for kind, said in lines] == SAID, done.stdout
