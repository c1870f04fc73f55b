"""The tree as a template: imports point one way, and what is left without `examples/` is a whole kit."""

import shutil
from pathlib import Path

from tests.conftest import ROOT, TOKEN, Start, wait_until
from tests.receiver.conftest import event, listening


def test_without_the_examples_the_kit_is_whole(start: Start, valkey_url: str, tmp_path: Path) -> None:
    """A customer deletes `examples/`, points HANDLERS at a module of their own, and receives and handles events."""
    for package in ("receiver", "worker"):
        shutil.copytree(ROOT / package, tmp_path / package)
    (tmp_path / "my_handlers.py").write_text(
        "from pathlib import Path\n\n\n"
        "async def note(event, ctx):\n    Path('noted').write_text(event.id)\n\n\n"
        "ROUTES = {'action.created': [note]}\n"
    )
    common = {"REDIS_URL": valkey_url, "PYTHONPATH": "", "KEY_PREFIX": "template:"}
    worker = start("-m", "worker", **common, HANDLERS="my_handlers:ROUTES")
    receiver = listening(start("-m", "receiver", **common, WEBHOOK_TOKEN=TOKEN, PORT="0"))
    assert receiver.post(event("of a customer")).status == 200
    noted = tmp_path / "noted"
    wait_until(lambda: noted.exists() and noted.read_text() == "of a customer", explain=lambda: worker.output)
