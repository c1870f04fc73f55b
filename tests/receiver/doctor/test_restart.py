"""What a server would forget at a restart is seen where it can be, and advice says how to set it for good."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.doctor import restart
from receiver.queue.connection import connect, until_redis_answers
from receiver.queue.valkey import server_binary
from tests.receiver.doctor.test_doctor import found, settings

SAFE = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (None, "CONFIG SET appendonly yes and CONFIG REWRITE, or `appendonly yes` in its file"),
        ("/etc/v.conf", "CONFIG SET appendonly yes and CONFIG REWRITE, or `appendonly yes` in /etc/v.conf"),
        ("", "CONFIG SET appendonly yes, and start the server with --appendonly yes (it has no file to keep that in)"),
    ],
)
def test_advice_outlasts_a_restart(file: str | None, words: str) -> None:
    """CONFIG SET alone is forgotten."""
    assert restart.advice("appendonly", "yes", file) == words


@pytest.mark.parametrize(
    ("url", "lines", "level"),
    [
        ("unix:///v.sock", "appendonly yes\nappendfsync always\n", "ok"),
        ("redis://localhost:6379/0", 'AppendOnly "yes"\nappendfsync always\nmaxmemory-policy noeviction', "ok"),
        ("unix:///v.sock", "appendonly no\nappendfsync always\n", "warning"),
        ("unix:///v.sock", "# appendonly yes\nsave 60 1\n", "warning"),
        ("redis://elsewhere:6379/0", "appendonly no\n", "ok"),
    ],
)
def test_a_file_on_this_host_is_held_against_what_the_server_does(
    tmp_path: Path, url: str, lines: str, level: str
) -> None:
    """Its last word counts, and what it does not say is the server's default."""
    file = tmp_path / "valkey.conf"
    file.write_text(lines, encoding="utf-8")
    finding = restart.check(url, SAFE, str(file))
    assert finding.level == level
    assert ("CONFIG REWRITE" in finding.mend) is (level == "warning")


def test_a_file_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    """Nor does a server without one."""
    for file in (str(tmp_path / "nowhere"), "", None):
        assert restart.check("unix:///v.sock", SAFE, file).level == "ok"


@pytest.fixture
def with_file(tmp_path: Path) -> Iterator[str]:
    """The URL of a server that has its settings from a file."""
    socket, conf = tmp_path / "valkey.sock", tmp_path / "valkey.conf"
    conf.write_text(f"port 0\nunixsocket {socket}\ndir {tmp_path}\n", encoding="utf-8")
    server = subprocess.Popen([server_binary(), conf], stdout=subprocess.DEVNULL)
    yield f"unix://{socket}"
    server.kill()
    server.wait()


async def test_a_server_that_was_only_told_while_it_ran_is_found(with_file: str, tmp_path: Path) -> None:
    """What CONFIG SET changed is a warning until CONFIG REWRITE has kept it."""
    client, config = connect(with_file), settings(with_file, tmp_path)
    await until_redis_answers(client.ping)
    await client.config_set("appendonly", "yes")
    await client.config_set("appendfsync", "always")
    assert (await found(client, config))["restart"].seen.startswith("appendonly yes, appendfsync always is not in")
    await client.config_rewrite()
    assert "restart" not in await found(client, config)
    await client.aclose()
