"""The head leaves the database: to the log, a file and a URL, at the start and on a schedule."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import LogCapture

from examples.handlers import audit_log
from examples.handlers.audit_log import database
from examples.handlers.audit_log.anchors import Anchors
from examples.handlers.audit_log.record import Record
from tests.conftest import wait_until
from tests.examples.handlers.conftest import Serve


class Keeper:
    """Where heads are posted to: somebody else's server."""

    def __init__(self, serve: Serve) -> None:
        self.status = 200
        self.heads: list[str] = []

        async def keep(request: Request) -> Response:
            if self.status == 200:
                self.heads.append((await request.json())["head"])
            return Response(status_code=self.status)

        self.url = f"{serve(Starlette(routes=[Route('/s3cret', keep, methods=['POST'])]))}/s3cret"


@pytest.fixture
def keeper(serve: Serve) -> Keeper:
    return Keeper(serve)


def heads(logs: LogCapture) -> list[str]:
    return [entry["head"] for entry in logs.entries if entry["event"] == "audit log: head"]


def test_a_head_goes_to_the_log_a_file_and_a_url(
    engine: sa.Engine, record: Callable[..., Record], logs: LogCapture, keeper: Keeper, tmp_path: Path
) -> None:
    """Once for each head that is another one; an empty log has none."""
    anchors = Anchors(engine, 60, tmp_path / "anchors", keeper.url)
    expected = []
    for number in range(3):
        anchors.send()
        anchors.send()
        database.append(engine, [record(number)])
        expected.append(str(database.head(engine)))
    assert heads(logs) == keeper.heads == expected[:2]
    lines = (tmp_path / "anchors").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["head"] for line in lines] == expected[:2]


def test_the_head_is_sent_at_the_start_and_on_a_schedule(
    engine: sa.Engine, record: Callable[..., Record], logs: LogCapture
) -> None:
    """Without an event at the start, and without one at the time of the schedule."""
    database.append(engine, [record(1)])
    anchors = Anchors(engine, 0.02)
    anchors.start()
    wait_until(lambda: len(heads(logs)) == 1)
    database.append(engine, [record(2)])
    wait_until(lambda: len(heads(logs)) == 2)
    anchors.stop()
    assert heads(logs)[-1] == str(database.head(engine))


def test_the_handler_anchors_where_its_settings_say(
    url: str,
    engine: sa.Engine,
    record: Callable[..., Record],
    monkeypatch: pytest.MonkeyPatch,
    keeper: Keeper,
    tmp_path: Path,
) -> None:
    """AUDIT_ANCHOR_PATH and AUDIT_ANCHOR_URL have the head as soon as a worker starts."""
    database.append(engine, [record(1)])
    for name, value in (("DATABASE_URL", url), ("ANCHOR_PATH", str(tmp_path / "anchors")), ("ANCHOR_URL", keeper.url)):
        monkeypatch.setenv(f"AUDIT_{name}", value)
    audit_log.configure()
    wait_until(lambda: keeper.heads == [str(database.head(engine))])
    assert keeper.heads[0] in (tmp_path / "anchors").read_text(encoding="utf-8")
    audit_log.close()


def test_what_does_not_arrive_is_sent_again(
    engine: sa.Engine, record: Callable[..., Record], logs: LogCapture, keeper: Keeper, tmp_path: Path
) -> None:
    """A keeper, a disk or a database that is away is one line without a secret, and nothing else stops."""
    database.append(engine, [record(1)])
    keeper.status = 503
    anchors = Anchors(engine, 60, None, keeper.url)
    anchors.send()
    assert logs.entries[-1] == {
        "event": "audit log: the head was not anchored",
        "reason": "127.0.0.1 answered 503",
        "again_in_s": 60,
        "log_level": "warning",
    }
    keeper.status = 200
    anchors.send()
    assert keeper.heads == [str(database.head(engine))]
    assert "s3cret" not in str(logs.entries)

    Anchors(engine, 60, None, "http://127.0.0.1:1/s3cret").send()
    assert logs.entries[-1]["reason"] == "127.0.0.1: ConnectError"
    Anchors(engine, 60, tmp_path / "none" / "anchors").send()
    assert "No such file or directory" in logs.entries[-1]["reason"]


def test_a_database_that_is_away_does_not_end_the_schedule(
    engine: sa.Engine, record: Callable[..., Record], logs: LogCapture
) -> None:
    """The head that could not be read is sent once it can be."""
    database.append(engine, [record(1)])
    with engine.execution_options(writes=True).begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_log RENAME TO elsewhere")
    anchors = Anchors(engine, 0.02)
    anchors.start()
    wait_until(lambda: any(entry["log_level"] == "warning" for entry in logs.entries))
    assert "audit_log" in logs.entries[0]["reason"]
    with engine.execution_options(writes=True).begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO audit_log")
    wait_until(lambda: heads(logs))
    anchors.stop()


@pytest.mark.parametrize("left", [0, 2])
def test_a_worker_says_that_an_anchored_row_is_gone(
    engine: sa.Engine, record: Callable[..., Record], tamper: Callable[..., None], logs: LogCapture, left: int
) -> None:
    """The end cut off while it runs, and grown again or not, is an error in the log at the next anchor."""
    database.append(engine, [record(number) for number in range(10)])
    anchored = str(database.head(engine))
    anchors = Anchors(engine, 60)
    anchors.send()
    tamper(engine, "DELETE FROM audit_log WHERE seq > 7")
    database.append(engine, [record(10 + number) for number in range(left)])
    anchors.send()
    errors = [entry for entry in logs.entries if entry["log_level"] == "error"]
    assert errors == [
        {
            "event": "audit log: an anchored row is gone or changed; run verify",
            "anchor": anchored,
            "log_level": "error",
        }
    ]
