"""A receiver and the proxies in front of it."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import TOKEN, Process
from tests.deploy.proxies import PROXIES, Certificate, Proxy, program, proxy
from tests.forks import Forks
from tests.receiver.conftest import Receiver, listening


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """What the proxies show."""
    return Certificate.made(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def receiver(valkey_url: str, tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Iterator[Receiver]:
    """A receiver with the settings that `deploy/` asks for behind a proxy."""
    folder = tmp_path_factory.mktemp("receiver")
    settings = {"REDIS_URL": valkey_url, "WEBHOOK_TOKEN": TOKEN, "PORT": "0", "SPOOL_PATH": str(folder / "spool.db")}
    process = Process(
        *("-m", "receiver"), env={**settings, "MAX_CONNECTIONS_PER_ADDRESS": "0"}, log=folder / "log", forks=forks
    )
    try:
        yield listening(process)
    finally:
        process.stop()


@pytest.fixture(scope="module")
def proxies(
    receiver: Receiver, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Proxy]]:
    """Those of the proxies that are installed, each in front of the receiver."""
    folder = tmp_path_factory.mktemp("proxies")
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(proxy(name, folder / name, certificate, receiver.port))
            for name in PROXIES
            if program(name)
        }
