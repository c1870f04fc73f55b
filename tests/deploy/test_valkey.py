"""Valkey with the configuration, the users and the passwords that `deploy/` ships."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from receiver.queue import permissions
from tests.commands import called
from tests.conftest import ROOT, TOKEN, Start, wait_until
from tests.deploy.proxies import program, required
from tests.deploy.valkey import Valkey, running, secrets
from tests.receiver.conftest import event, listening

HANDLERS = """
from worker import GiveUp

async def note(event, ctx):
    with open("handled", "a") as file:
        file.write(event.id + "\\n")

async def refuse(event, ctx):
    raise GiveUp("no")

ROUTES = {"action.created": [note], "action.solved": [refuse]}
"""


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with running(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey


def test_the_kit_works_as_the_user_that_it_is_given(valkey: Valkey, start: Start, tmp_path: Path) -> None:
    """Accepting, handling, dead letters, commands and doctor need no more rights; doctor finds nothing to mend."""
    (tmp_path / "h.py").write_text(HANDLERS)
    common = {"REDIS_URL": valkey.url, "SPOOL_PATH": str(tmp_path / "spool.db")}
    common |= {"WEBHOOK_TOKEN": TOKEN + TOKEN, "HANDLERS": "h:ROUTES"}
    worker = start("-m", "worker", **common, SHUTDOWN_GRACE="30s")
    receiver = listening(start("-m", "receiver", **common, PORT="0"))
    path = f"/webhooks/glartek/{TOKEN}{TOKEN}"
    assert receiver.post(event("good"), path=path).status == 200
    assert receiver.post(event("bad", type="action.solved"), path=path).status == 200
    handled = tmp_path / "handled"
    wait_until(lambda: handled.exists() and handled.read_text() == "good\n", explain=lambda: worker.output)

    def told(*arguments: str) -> str:
        command = start("-m", *arguments, **common)
        command.wait()
        return command.output

    wait_until(lambda: "h.refuse" in told("worker", "dead", "list", "--json"))
    assert '"done"' in told("worker", "show", "good", "--json")
    assert "replayed 1 of 1" in told("worker", "dead", "replay", "--all")
    wait_until(lambda: "h.refuse" in told("worker", "dead", "list", "--json"))
    assert "dropped 1 of 1" in told("worker", "dead", "drop", "--all")
    findings = json.loads(told("receiver", "doctor", "--json"))
    assert [finding for finding in findings if finding["level"] != "ok" and finding["check"] != "spool"] == []
    for output in (worker.output, receiver.process.output):
        assert "NOPERM" not in output
        assert '"warning"' not in output


def test_the_kits_user_may_do_what_readme_names_and_nothing_else() -> None:
    """The rules that tests/end_to_end/test_least_privilege.py tries, and all that README says to add, but SELECT."""
    acl = (ROOT / "deploy" / "valkey" / "users.acl").read_text(encoding="utf-8")
    [given] = re.findall(r"^user glartek on #\{glartek\} (.+)$", acl, re.MULTILINE)
    least = permissions.rules("glartek:")
    assert given.split()[: len(least)] == least
    optional = {*permissions.WITH_REPLICAS, *permissions.NICE_TO_KNOW, *called("examples/handlers")} - {"SCRIPT"}
    added = {f"+{command.lower()}" for command in optional - set(permissions.NEEDED)}
    of_deleted_handlers = {"+expire", "+incr"} - added
    assert set(given.split()[len(least) :]) == added | of_deleted_handlers


@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
def test_what_a_script_wrote_is_there_after_a_restart(name: str, tmp_path: Path) -> None:
    """Redis reads its append-only file as the default user, and many versions drop what that user may not do.

    A script's writes are in the file as MULTI and EXEC, and all that the kit stores is written by scripts
    (redis/redis#14541, valkey-io/valkey#3983).
    """
    if name == "redis-server":
        required(name)
    with running(tmp_path, program(name)) as valkey:
        with Redis.from_url(valkey.url) as kit:
            kit.eval("for n = 1, 3 do redis.call('SET', KEYS[n], n) end", 3, "glartek:1", "glartek:2", "glartek:3")
        valkey.send(signal.SIGKILL)
        valkey.start()
        with Redis.from_url(valkey.url) as kit:
            assert kit.mget("glartek:1", "glartek:2", "glartek:3") == [b"1", b"2", b"3"]


def test_users_are_made_anew_for_a_newer_kit(tmp_path: Path) -> None:
    """With the passwords that exist: an update may need another command, and `deploy/secrets` is what gives it."""
    folder = secrets(tmp_path / "secrets")
    current = (folder / "users.acl").read_text()
    (folder / "users.acl").chmod(0o600)
    (folder / "users.acl").write_text(current.replace(" +info", ""))
    assert (secrets(folder) / "users.acl").read_text() == current


@pytest.mark.parametrize("command", ["INFO", "KEYS *", "CONFIG SET save x", "FLUSHALL", "ACL LIST"])
def test_the_other_users_may_do_nothing_that_is_not_theirs(valkey: Valkey, command: str) -> None:
    """Nobody does anything without a password, and who may ask for the health may ask for nothing else."""
    for client in (Redis(port=valkey.port), valkey.health()):
        with client, pytest.raises(RedisError, match=r"Authentication required|no permissions|NOAUTH"):
            client.execute_command(*command.split())
    if command not in {"INFO", "KEYS *"}:
        with Redis.from_url(valkey.url) as kit, pytest.raises(RedisError, match="no permissions"):
            kit.execute_command(*command.split())


def test_secrets_are_made_once_and_for_their_owner(tmp_path: Path) -> None:
    """A second call changes nothing; nobody else enters the folder; .env's token is taken over."""
    (tmp_path / ".env").write_text(f"HANDLERS=h:ROUTES\nWEBHOOK_TOKEN={TOKEN}\n")
    folder = secrets(tmp_path / "secrets")
    first = {path.name: path.read_text() for path in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert first["webhook_token"] == TOKEN
    assert {path.name: path.read_text() for path in secrets(folder).iterdir()} == first
    passwords = [text for name, text in first.items() if name.endswith("_password") and text]
    assert len(passwords) == len(set(passwords)) == 6
    assert all(len(password) == 43 for password in passwords)
    assert not [password for password in passwords if password in first["users.acl"]]


def test_a_wrong_option_of_secrets_is_one_line(tmp_path: Path) -> None:
    """With exit code 2."""
    command = [str(ROOT / "deploy" / "secrets"), "--host", "x"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
