"""docker-compose.yml: by the Compose specification's schema, and what it promises of each service."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from receiver.alerts.settings import AlertSettings
from receiver.environment import EnvSettings
from receiver.settings import ReceiverSettings
from tests import parts
from tests.conftest import ROOT, Start
from tests.deploy.valkey import secrets
from worker.console.settings import ConsoleSettings
from worker.settings import WorkerSettings

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def secret_settings(*classes: type[EnvSettings]) -> set[str]:
    """The variables of these settings that must not be seen."""
    fields = {name: field for settings in classes for name, field in settings.model_fields.items()}
    return {
        name.upper() for name, field in fields.items() if "Secret" in str(field.annotation) or "Token" in str(field)
    }


DELETED = tuple(f"{Path(part).name.partition('_')[0].upper()}_" for part in parts.HANDLERS if not parts.is_here(part))
SECRETS = {
    "receiver": secret_settings(ReceiverSettings, AlertSettings),
    "worker": secret_settings(WorkerSettings, AlertSettings, *parts.handler_settings().values())
    | {  # what the files of deploy/ go on handing to handlers that were deleted
        variable.removesuffix("_FILE")
        for variable in SERVICES["worker"]["environment"]
        if variable.startswith(DELETED) and variable.endswith("_FILE")
    },
    "console": secret_settings(ConsoleSettings),
}


def test_it_follows_the_compose_specification() -> None:
    """By the specification's own JSON schema."""
    command = ["check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    answer = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_compose_itself_hands_no_service_the_secret_of_another(tmp_path: Path) -> None:
    """By `docker compose config` with all profiles, and with every secret in `.env`, where `make run` has them."""
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    secrets(tmp_path / "secrets")
    in_env = {name: f"in-env-{name.lower()}" for name in set().union(*SECRETS.values())}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in in_env.items()))
    (tmp_path / ".env.worker").write_text("ACME_SECRET=in-env-acme\n")
    resolved: dict[str, dict[str, Any]] = yaml.safe_load(docker_compose(tmp_path, "config"))["services"]
    assert set(resolved) == set(SERVICES)
    own_by_env = {"worker": {"ACME_SECRET"}}
    for name, service in resolved.items():
        seen = {one for one, value in service.get("environment", {}).items() if str(value).startswith("in-env-")}
        assert seen <= SECRETS.get(name, set()) - {"REDIS_URL"} | own_by_env.get(name, set()), name
    assert resolved["worker"]["environment"]["ACME_SECRET"] == "in-env-acme"


def docker_compose(folder: Path, *arguments: str) -> str:
    """What Compose prints; it needs no engine for that. Skips the test where it is not installed."""
    own = shutil.which("docker-compose") or shutil.which(ROOT / ".senders" / "compose" / "compose" / "docker-compose")
    command = [own] if own else ["docker", "compose"]
    if (
        shutil.which(command[0]) is None
        or subprocess.run([*command, "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("Docker Compose is not installed: .ci/packages")
    answer = subprocess.run(
        [*command, "--profile", "*", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_no_more_rights_and_no_more_room_than_it_needs(name: str) -> None:
    """Its system read-only, no capabilities, no way to gain any, and bounds for memory, processes and logs."""
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    added = {"caddy": ["NET_BIND_SERVICE"], "backup": ["CHOWN", "DAC_OVERRIDE", "FOWNER"]}
    assert service.get("cap_add", []) == added.get(name, [])
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["pids_limit"]
    assert service.get("mem_limit")
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert service.get("healthcheck") or name in {"caddy", "backup", "sink", "sender"}


def test_only_the_proxy_is_reached_from_outside() -> None:
    """Everything else is published on 127.0.0.1 or not at all; Redis and the database have no way out either."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"receiver", "console", "prometheus", "grafana", "caddy"}
    loopback = [port for name in published if name != "caddy" for port in published[name]]
    assert all(port.startswith("127.0.0.1:") for port in loopback)
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("valkey", "valkey-replica", "sentinel", "postgres"):
        assert SERVICES[name]["networks"] == ["inside"]


@pytest.mark.parametrize("name", SECRETS)
def test_each_process_is_given_its_own_secrets_as_files(name: str) -> None:
    """Each of its secret settings by a file that it may read, and no secret of the other, whatever .env says."""
    service, own = SERVICES[name], SECRETS[name]
    environment = service["environment"]
    files = {
        variable.removesuffix("_FILE"): file for variable, file in environment.items() if variable.endswith("_FILE")
    }
    assert set(files) == own
    assert {Path(file).name for file in files.values()} == set(service["secrets"])
    assert all(Path(file).name == variable.lower() for variable, file in files.items())
    others = set().union(*SECRETS.values()) - own
    assert {variable for variable in others if environment.get(variable) == ""} == others
    assert environment["REDIS_URL"] == "", ".env has the one of another Redis"


def test_every_secret_is_one_that_the_script_makes(tmp_path: Path) -> None:
    """`deploy/secrets` makes each file that a service is given, and no service is given another's."""
    made = {path.name for path in secrets(tmp_path / "secrets").iterdir()}
    assert {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()} <= made
    assert {secret["file"] for secret in COMPOSE["secrets"].values()} == {
        f"secrets/{name}" for name in COMPOSE["secrets"]
    }
    given = {name: set(service.get("secrets", [])) for name, service in SERVICES.items()}
    assert set().union(*given.values()) == set(COMPOSE["secrets"])
    assert given["receiver"] & given["worker"] == {"redis_url", "alerts_teams_url"}
    assert given["caddy"] == given["sink"] == given["backup"] == set()


def test_what_it_mounts_is_there() -> None:
    """Every file of the tree that a service is given exists, and every volume is declared."""
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("./") and source != "./backups":
                assert (ROOT / source).is_file(), source
            elif re.match(r"\w", source):
                assert source in COMPOSE["volumes"]


def test_its_valkey_keeps_what_was_acknowledged() -> None:
    """Every command is on the disk before it is answered, nothing is evicted, the data outlives the container."""
    lines = (ROOT / "deploy" / "valkey" / "valkey.conf").read_text(encoding="utf-8").splitlines()
    assert {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction", "maxmemory 512mb"} <= set(lines)
    assert "valkey:/data" in SERVICES["valkey"]["volumes"]
    assert "--dir /data" in SERVICES["valkey"]["command"]


def test_every_command_of_the_kit_that_it_runs_exists(start: Start) -> None:
    """Each `python -m …` of a service or of its health check."""
    commands = [service["command"] for service in SERVICES.values() if service.get("command", [""])[0] == "python"]
    kit = [command[1:] for command in commands if command[1] == "-m"]
    assert kit[:3] == [["-m", "receiver"], ["-m", "worker"], ["-m", "worker", "console"]]
    for command in kit:
        if command[1].startswith("examples.") and not parts.is_here(command[1].replace(".", "/") + ".py"):
            continue
        words = [word for word in command[1:3] if not word.startswith("-")]
        process = start("-m", *words, "--help")
        assert process.wait() == 0, process.output


def test_the_workers_health_can_be_asked(start: Start) -> None:
    """The health check's command exists."""
    assert SERVICES["worker"]["healthcheck"]["test"] == ["CMD", "python", "-m", "worker", "healthy"]
    assert start("-m", "worker", "healthy", "--help").wait() == 0
