"""--reload, and what `make run` does about changes."""

import signal
from pathlib import Path

import httpx2
import pytest

from receiver.reload import folders, matters
from tests.conftest import TOKEN, Start
from tests.worker.test_up import children, ends, free_port, light, started

__all__ = ["light"]
HANDLER = "async def {name}(event, ctx): ...\n\n\nROUTES = {{'*': [{name}]}}\n"


def test_packages_are_watched_and_nothing_else(tmp_path: Path) -> None:
    """Own and the kit's, with their folders; neither tests, nor samples, nor what is in a folder that is no package."""
    for name in ("acme/deep/er", "acme/samples", "acme/__pycache__", "tests/x", ".data", "notes/more"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("acme", "tests"):
        (tmp_path / name / "__init__.py").touch()
    assert {str(folder.relative_to(tmp_path)) for folder in folders(tmp_path)} == {
        *(".", "acme", "acme/deep", "acme/deep/er", "notes")
    }


def test_a_toml_file_matters_in_a_package_or_as_the_payload_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anywhere else it is somebody's own, such as a scenario for the sender: nothing here reads it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAYLOAD_MAP", "config/where.toml")
    for name in ("acme/__init__.py", "acme/deep/map.toml", "config/where.toml", "config/x.toml", "acceptance.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*.toml")) if matters(path)] == [
        *("acme/deep/map.toml", "config/where.toml")
    ]


def test_make_run_takes_in_new_code_and_new_settings(start: Start, tmp_path: Path, light: dict[str, str]) -> None:
    """The worker alone for code, told by name; a slip waits for its mending; everything for `.env`; then it ends."""
    (tmp_path / "worker").mkdir()
    kit = start("-m", "worker.up", **light | {"SHUTDOWN_GRACE": "0.1s"})
    url = started(kit)
    event = b'{"id": "evt_%d", "type": "action.solved", "action": {"id": "a"}}'
    before = children(kit.pid)
    (tmp_path / "h.py").write_text("import no_such_thing\n")
    kit.wait_for("h.py changed: worker start again")
    kit.wait_for("h.py:1 in <module>: no module 'no_such_thing'")
    assert httpx2.post(url, content=event % 1).status_code == 200
    (tmp_path / "h.py").write_text(HANDLER.format(name="other"))
    kit.wait_for('"handler": "h.other", "attempt": 1, "outcome": "done"')
    assert len(set(before) & set(children(kit.pid))) == 3  # Valkey, receiver and console
    (tmp_path / "worker/of_the_kit.py").touch()
    kit.wait_for("worker/of_the_kit.py changed: worker and console start again")
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme/__init__.py").touch()
    kit.wait_for("acme changed: worker start again")
    (tmp_path / "acme/payload.toml").touch()
    kit.wait_for("acme/payload.toml changed: receiver and worker and console start again")  # it masks by the map
    (tmp_path / ".env").write_text("MAX_JOB=1\nWEBHOOK_TOKEN=short\n")
    kit.wait_for(".env changed: everything starts again")
    kit.wait_for("waiting for you to mend it")
    (tmp_path / ".env").write_text(f"MAX_JOB=1\nWEBHOOK_TOKEN={TOKEN}\n")
    kit.wait_for(f"/webhooks/glartek/{TOKEN}")
    kit.wait_for("MAX_JOB is no setting, and has no effect; did you mean MAX_JOBS?")
    new_url = url.rpartition("/")[0] + f"/{TOKEN}"
    assert httpx2.post(new_url, content=event % 2).status_code == 200
    kit.wait_for("Ctrl-C stops everything")
    ends(kit, signal.SIGINT)


@pytest.mark.parametrize("command", [("receiver", "serve"), ("worker", "run")])
def test_a_command_with_reload_starts_again_when_a_file_changes(
    start: Start, tmp_path: Path, valkey_url: str, command: tuple[str, str]
) -> None:
    """It says which, also in a folder that was not there before, and ends as the command does."""
    (tmp_path / "h.py").write_text(HANDLER.format(name="note"))
    settings = {"REDIS_URL": valkey_url, "WEBHOOK_TOKEN": TOKEN, "HANDLERS": "h:ROUTES", "PORT": free_port()}
    process = start("-m", *command, "--reload", **settings)
    ready = {"receiver": "receiver listening", "worker": "worker running"}[command[0]]
    process.wait_for(ready)
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme/__init__.py").touch()
    process.wait_for(f"changed: {command[0]} starts again")
    (tmp_path / "acme/more.py").touch()
    process.wait_for("acme/more.py changed")
    assert process.stop() == 0
