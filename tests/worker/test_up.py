"""`make run`: everything on one machine, until asked to stop, and again with its data."""

import os
import re
import signal
import socket
from pathlib import Path

import httpx2
import pytest

from tests import parts
from tests.conftest import Process, Start, open_to_others, unused_port, wait_until

AWAY = "http://127.0.0.1:9"
CHILDREN = {
    "Valkey": "valkey-server",
    "receiver": "-m\0receiver\0",
    "console": "-m\0worker\0console\0",
    "worker": "-m\0worker\0",
}
"""What each process's command line has; the worker's is also in the console's, which is therefore killed before it."""


@pytest.fixture
def light(tmp_path: Path) -> dict[str, str]:
    """Settings with which no stand-in is started, and a worker without anything to import."""
    (tmp_path / "h.py").write_text("async def note(event, ctx): ...\n\n\nROUTES = {'*': [note]}\n")
    return {**free_ports(), "HANDLERS": "h:ROUTES", "TEAMS_WEBHOOK_URL": AWAY, "EXTERNAL_URL": AWAY}


def free_ports() -> dict[str, str]:
    return {"PORT": free_port(), "CONSOLE_PORT": free_port()}


def free_port() -> str:
    return str(unused_port())


def children(pid: int) -> list[int]:
    """The processes that this one has started and that have not ended."""
    tasks = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in tasks.split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def started(process: Process) -> str:
    """The Endpoint URL, once everything is up."""
    output = process.wait_for("Ctrl-C stops everything")
    found = re.search(r"http://\S+/webhooks/glartek/\S+", output)
    assert found
    return found[0]


def ends(kit: Process, number: signal.Signals) -> None:
    """A signal ends every process within five seconds, with exit code 0 and without a traceback."""
    pids = children(kit.pid)
    kit.signal(number)
    assert kit.wait(timeout=5) == 0
    assert not [pid for pid in pids if is_running(pid)]
    assert "Traceback" not in kit.output


def test_token_and_deliveries_survive_a_kill_of_everything(start: Start, tmp_path: Path, light: dict[str, str]) -> None:
    """After kill -9 of `make run` nothing goes on running, and a restart has the same URL and knows its deliveries.

    What it keeps is this user's alone: deliveries and the token.
    """
    kit = start("-m", "worker.up", **light)
    url = started(kit)
    event = b'{"id": "evt_1", "type": "action.solved", "action": {"id": "a"}}'
    assert httpx2.post(url, content=event).status_code == 200
    assert not open_to_others(tmp_path / ".data")
    pids = children(kit.pid)
    kit.signal(signal.SIGKILL)
    kit.wait()
    wait_until(lambda: not [pid for pid in pids if is_running(pid)])
    again = start("-m", "worker.up", **light | {"PORT": f" {light['PORT']} "})  # blanks are no part of a setting
    assert started(again) == url
    assert httpx2.post(url, content=event).status_code == 200
    told = start("-m", "worker", "show", "evt_1", "--json")  # which finds it by itself
    assert told.wait() == 0, told.output
    assert '"duplicates": 1' in told.output


def test_a_secret_in_a_file_is_set(start: Start, tmp_path: Path, light: dict[str, str]) -> None:
    """`NAME_FILE` is as good as `NAME`: nothing is brought along in its place; one that cannot be read is a line."""
    token, teams = tmp_path / "token", tmp_path / "teams"
    token.write_text("a-token-in-a-file-0123456789\n")
    teams.write_text(f"{light.pop('TEAMS_WEBHOOK_URL')}\n")
    kit = start("-m", "worker.up", **light, WEBHOOK_TOKEN_FILE=str(token), TEAMS_WEBHOOK_URL_FILE=str(teams))
    url = started(kit)
    assert url.endswith("/a-token-in-a-file-0123456789")
    assert _status(url, b'{"id": "evt_1", "type": "action.solved"}') == 200
    assert "a stand-in takes its place" not in kit.output
    ends(kit, signal.SIGTERM)
    wrong = start("-m", "worker.up", **light, WEBHOOK_TOKEN_FILE=str(tmp_path / "nowhere"))
    assert wrong.wait() == 2
    [line] = wrong.output.splitlines()[-1:]
    assert line.startswith("WEBHOOK_TOKEN_FILE: ")
    assert "Traceback" not in wrong.output


@pytest.mark.skipif(not parts.is_here("examples/sink.py"), reason="there are no stand-ins")
def test_the_stand_ins_that_no_handler_reads_are_not_told(start: Start, light: dict[str, str], tmp_path: Path) -> None:
    """What a module of a route reads at the start, and nothing for a module that is imported and in no route."""
    text = (
        "from worker import EnvSettings, load\n\n\nclass Own(EnvSettings):\n    {0}: str\n\n\n"
        "def configure():\n    load(Own)\n\n\nasync def handle(event, ctx): ...\n"
    )
    (tmp_path / "post.py").write_text(text.format("teams_webhook_url"))
    (tmp_path / "update.py").write_text(text.format("external_url"))
    (tmp_path / "mine.py").write_text("import post, update\n\nROUTES = {'*': [post.handle]}\n")
    ports = {name: light[name] for name in ("PORT", "CONSOLE_PORT")}
    kit = start("-m", "worker.up", **ports, HANDLERS="mine:ROUTES")
    started(kit)
    assert "TEAMS_WEBHOOK_URL is not set: a stand-in takes its place" in kit.output
    assert "EXTERNAL_URL is not set" not in kit.output
    ends(kit, signal.SIGTERM)


def test_whatever_dies_is_started_again_until_ctrl_c_ends_everything(start: Start, light: dict[str, str]) -> None:
    """After a kill -9 of Valkey, receiver and worker deliveries go on; SIGINT leaves none of the processes."""
    ports = {name: light[name] for name in ("PORT", "CONSOLE_PORT")}
    kit = start("-m", "worker.up", **ports, HANDLERS=light["HANDLERS"])
    url = started(kit)
    assert len(children(kit.pid)) == len(CHILDREN) + parts.is_here("examples/sink.py")  # and the stand-ins
    for name in CHILDREN:
        os.kill(_child(kit.pid, name), signal.SIGKILL)
        kit.wait_for(f"{name} had died")
    event = b'{"id": "evt_2", "type": "action.solved", "action": {"id": "a"}}'
    wait_until(lambda: _status(url, event) == 200)
    kit.wait_for('"handler": "h.note", "attempt": 1, "outcome": "done"')
    ends(kit, signal.SIGINT)


def test_a_worker_that_lacks_something_at_a_restart_is_started_again(
    start: Start, light: dict[str, str], tmp_path: Path
) -> None:
    """What ran once runs again when what it needs is back: everything else goes on meanwhile, until SIGTERM."""
    (tmp_path / "needs.py").write_text(
        "from pathlib import Path\n\nfrom worker import SettingsError\n\n\n"
        "def configure():\n    if Path('away').exists():\n        raise SettingsError('DATABASE: is away')\n\n\n"
        "async def note(event, ctx): ...\n\n\nROUTES = {'*': [note]}\n"
    )
    kit = start("-m", "worker.up", **light | {"HANDLERS": "needs:ROUTES"})
    url = started(kit)
    (tmp_path / "away").touch()
    os.kill(_child(kit.pid, "worker"), signal.SIGKILL)
    kit.wait_for("worker had died (2) and was started again")
    assert _status(url, b'{"id": "evt_3", "type": "action.solved", "action": {"id": "a"}}') == 200
    (tmp_path / "away").unlink()
    kit.wait_for('"handler": "needs.note", "attempt": 1, "outcome": "done"')
    ends(kit, signal.SIGTERM)


def _child(pid: int, name: str) -> int:
    lines = {child: Path(f"/proc/{child}/cmdline").read_text(encoding="utf-8") for child in children(pid)}
    return next(child for child, line in lines.items() if CHILDREN[name] in line)


def _status(url: str, body: bytes) -> int | None:
    try:
        return httpx2.post(url, content=body).status_code
    except httpx2.HTTPError:
        return None


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"WEBHOOK_TOKEN": "short"}, "WEBHOOK_TOKEN: expected at least 20 characters"),
        ({"CONSOLE_PORT": "-1"}, "CONSOLE_PORT: expected greater than or equal to 0"),
        ({"HANDLERS": "nowhere:ROUTES"}, "HANDLERS: no module 'nowhere'"),
        ({"DATA_DIR": "/proc/nowhere"}, "/proc/nowhere"),
    ],
)
def test_a_wrong_setting_stops_the_start(
    start: Start, light: dict[str, str], settings: dict[str, str], line: str
) -> None:
    """A wrong setting is one clear line and exit code 2, without a traceback."""
    kit = start("-m", "worker.up", **light | settings)
    assert kit.wait() == 2
    assert line in kit.output
    assert "Traceback" not in kit.output


def test_two_at_once_do_not_share_their_data(start: Start, light: dict[str, str]) -> None:
    """A second run in the same folder says that the first one is there."""
    first = start("-m", "worker.up", **light)
    started(first)
    second = start("-m", "worker.up", **light | free_ports())
    assert second.wait() == 2
    assert "in use by another run" in second.output


def test_an_occupied_port_is_one_line(start: Start, light: dict[str, str]) -> None:
    """A port that is taken stops the start with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        kit = start("-m", "worker.up", **light | {"PORT": str(taken.getsockname()[1])})
        assert kit.wait() == 2
    assert "stop what is using it, or set HOST or PORT" in kit.output
    assert "Traceback" not in kit.output
