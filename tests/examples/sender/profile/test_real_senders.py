"""Senders that people really use, each as it comes, profiled by what they do on the wire."""

import asyncio
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.sender.http.recording import RecordingReceiver
from examples.sender.profile.conclusions import Profile, profile
from examples.sender.profile.proposal import Proposal, propose
from examples.sender.profile.script import Script, scenes
from examples.sender.profile.sightings import sightings
from tests.conftest import ROOT

pytestmark = pytest.mark.anyio
HERE = Path(__file__).with_name("real")
PACKAGES = ROOT / ".senders/node_modules"  # .ci/packages installs them
ANSWERS = ("200", "500", "reset after reading")
EVENTS = len(ANSWERS)


def by_node(folder: Path) -> list[str]:
    """The script beside the packages that it imports."""
    shutil.copy(HERE / "got.mjs", folder)
    (folder / "node_modules").symlink_to(PACKAGES)
    return ["node", str(folder / "got.mjs")]


@dataclass(frozen=True)
class Real:
    """How a sender is started, what it needs, and what is true of it."""

    command: Callable[[Path], list[str]]
    missing: str
    """What to install where it is not there; empty when it is."""
    http: str = "POST HTTP/1.1"


def needs(program: str, package: str) -> str:
    return "" if shutil.which(program) else f"{program} is not here: apt-get install {package}"


SENDERS = {
    "Java": Real(
        lambda _: ["java", "-XX:TieredStopAtLevel=1", str(HERE / "Sender.java")],
        needs("javac", "default-jdk-headless"),
        "POST HTTP/1.1, offers an upgrade to h2c",
    ),
    "Go": Real(lambda _: ["go", "run", str(HERE / "sender.go")], needs("go", "golang-go")),
    "curl": Real(lambda _: ["sh", str(HERE / "curl.sh")], needs("curl", "curl")),
    "requests": Real(
        lambda _: [sys.executable, str(HERE / "by_requests.py")],
        "" if importlib.util.find_spec("requests") else "pip install requests",
    ),
    "got": Real(by_node, "" if (PACKAGES / "got").exists() else "got is not here: .ci/packages installs it"),
}


@pytest.fixture(scope="module")
async def profiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Profile, Proposal]]:
    """All that are here, side by side: most of it is their start."""

    async def one(name: str) -> tuple[str, tuple[Profile, Proposal]]:
        folder = tmp_path_factory.mktemp(name)
        known = scenes("/hook", late=1)
        script = Script([known[answer] for answer in ANSWERS], tries=1)
        environment = os.environ | {"GO111MODULE": "off", "GOCACHE": os.environ.get("GOCACHE", "/tmp/go-cache")}  # noqa: S108
        async with RecordingReceiver(script.answer, path="/hook") as receiver:
            words = [*SENDERS[name].command(folder), receiver.url, str(EVENTS)]
            process = await asyncio.create_subprocess_exec(*words, env=environment, stderr=asyncio.subprocess.PIPE)
            _, err = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == 0, err.decode()
            found = profile(receiver.arrivals, script.given, "/hook", receiver.malformed)
            return name, (found, propose(sightings(receiver.arrivals, by_sender=False)))

    return dict(await asyncio.gather(*(one(name) for name, real in SENDERS.items() if not real.missing)))


@pytest.mark.parametrize("name", SENDERS)
async def test_a_real_sender_s_profile_is_right(name: str, profiled: dict[str, tuple[Profile, Proposal]]) -> None:
    """Every event arrives whole, each answer has its consequence, and the id is found."""
    if SENDERS[name].missing:
        pytest.skip(SENDERS[name].missing)
    found, proposal = profiled[name]
    again = {reaction.answer: reaction.sent_again for reaction in found.reactions}
    assert (found.events, found.malformed, found.doubts) == (EVENTS, [], [])
    assert list(found.http) == [SENDERS[name].http]
    assert again == {"200": 0, "500": 1, "reset after reading": 1, "then 200": 0}
    assert (found.repeats, found.byte_identical) == (2, 2)
    assert proposal.settings["EVENT_ID_PATHS"] == "id"
    assert proposal.replay
    assert (proposal.replay.recognised, proposal.replay.missed, proposal.replay.lost) == (2, 0, 0)
