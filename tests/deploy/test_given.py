"""Receiver, worker and console as each deployment starts them: with the settings and the secret files that it gives."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from dotenv import dotenv_values

from tests.conftest import ROOT, Process, Start, wait_until
from tests.deploy.test_compose import SERVICES
from tests.deploy.test_kubernetes import FOLDER, OBJECTS, PODS
from tests.deploy.test_systemd import UNITS
from tests.deploy.valkey import running
from tests.receiver.conftest import event, listening

HANDLERS = """
async def note(event, ctx):
    with open("handled", "a") as file:
        file.write(event.id)

ROUTES = {"*": [note]}
"""
AS_COPIED = {name: value or "" for name, value in dotenv_values(ROOT / ".env.example").items()}
"""`.env` (Compose) and `/etc/glartek/kit.env` (systemd) as docs/deploy.md begins with them."""


def by_compose(name: str, secrets: Path, to: Path) -> dict[str, str]:
    """Its `environment` over `.env`, and the secrets that are mounted for it."""
    for secret in SERVICES[name]["secrets"]:
        shutil.copy(secrets / secret, to)
    return AS_COPIED | {
        one: value.replace("/run/secrets", str(to)) for one, value in SERVICES[name]["environment"].items()
    }


def by_systemd(name: str, secrets: Path, to: Path) -> dict[str, str]:
    """Its unit's `Environment`, over which `EnvironmentFile` goes, and the credentials that are loaded for it."""
    unit = (UNITS / f"glartek-{name}.service").read_text(encoding="utf-8")
    for credential, secret in re.findall(r"^LoadCredential=(\w+):/etc/glartek/secrets/(\w+)$", unit, re.MULTILINE):
        shutil.copy(secrets / secret, to / credential)
    words = [word for line in re.findall(r"^Environment=(.+)$", unit, re.MULTILINE) for word in shlex.split(line)]
    return {one: value.replace("%d", str(to)) for one, value in (word.split("=", 1) for word in words)} | AS_COPIED


def by_kubernetes(name: str, secrets: Path, to: Path) -> dict[str, str]:
    """Its `env` over the ConfigMap, and the Secret that kustomization.yaml says to make for it."""
    text = (FOLDER / "kustomization.yaml").read_text(encoding="utf-8").replace("\\\n#", "")
    [made] = re.findall(rf"generic {name} (.*)", text)
    for secret in re.findall(r"--from-file=(\w+)", made):
        shutil.copy(secrets / secret, to)
    shared: dict[str, str]
    [shared] = [thing["data"] for thing in OBJECTS if thing["kind"] == "ConfigMap"]
    [container] = PODS[name]["containers"]
    return shared | {one["name"]: one["value"].replace("/run/secrets/kit", str(to)) for one in container["env"]}


@pytest.mark.parametrize("given", [by_compose, by_systemd, by_kubernetes])
def test_the_processes_work_with_what_they_are_given(
    given: Callable[[str, Path, Path], dict[str, str]], start: Start, tmp_path: Path
) -> None:
    """An event is stored and handled, the worker is healthy, the console opens for its password and no other."""
    (tmp_path / "h.py").write_text(HANDLERS)
    environment: dict[str, dict[str, str]] = {}
    on_this_machine = {"HANDLERS": "h:ROUTES", "SPOOL_PATH": str(tmp_path / "spool.db")}
    on_this_machine |= {"PORT": "0", "CONSOLE_PORT": "0"}

    with running(tmp_path) as valkey:
        (valkey.secrets / "redis_url").chmod(0o600)
        (valkey.secrets / "redis_url").write_text(valkey.url)

        def run(name: str, *arguments: str) -> Process:
            folder = tmp_path / f"secrets of {name}"
            folder.mkdir()
            environment[name] = given(name, valkey.secrets, folder) | on_this_machine
            return start("-m", *arguments, **environment[name])

        worker, console = run("worker", "worker"), run("console", "worker", "console")
        receiver = listening(run("receiver", "receiver"))
        token = valkey.secret("webhook_token")
        assert receiver.post(event("one"), path=f"/webhooks/glartek/{token}").status == 200
        handled = tmp_path / "handled"
        wait_until(lambda: handled.exists() and handled.read_text() == "one", explain=lambda: worker.output)
        healthy = start("-m", "worker", "healthy", **environment["worker"])
        assert healthy.wait() == 0, healthy.output

        address = re.findall(r'"address": "[^"]*:(\d+)"', console.wait_for("console listening"))[0]
        pages = f"http://127.0.0.1:{address}/deliveries"
        for password, status in (("", 401), (token, 401), (valkey.secret("console_password"), 200)):
            assert httpx2.get(pages, auth=("rui", password), trust_env=False).status_code == status
        said = [process.output for process in (worker, console, receiver.process)]
    assert not [output for output in said for name in ("webhook_token", "redis_url") if valkey.secret(name) in output]
