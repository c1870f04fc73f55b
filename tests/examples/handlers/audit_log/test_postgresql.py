"""What PostgreSQL's operators meet: another encoding, a failover, a pooler in front."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from examples.handlers import audit_log
from examples.handlers.audit_log import database
from examples.handlers.audit_log.__main__ import app
from examples.handlers.audit_log.record import Record
from examples.handlers.audit_log.seal import Seal
from examples.handlers.audit_log.verify import verify
from examples.handlers.audit_log.writer import LogUnavailable, Writer
from receiver.environment import SettingsError
from tests.conftest import ROOT, wait_until
from worker import GiveUp

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


def execute(server: Any, statement: str, name: str = "postgres") -> list[tuple[Any, ...]]:
    with psycopg.connect(server.get_uri(database=name), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_does_not_hold_every_text_is_refused_at_the_start(
    postgresql: Any, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """The line says how to make one that does."""
    name = encoding.lower()
    execute(postgresql, f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    monkeypatch.setenv("AUDIT_DATABASE_URL", postgresql.get_uri(database=name, driver="psycopg"))
    with pytest.raises(SettingsError) as refused:
        audit_log.configure()
    line = f"AUDIT_DATABASE_URL: the database's encoding is {encoding}, which does not hold every text; make one with "
    assert str(refused.value).startswith(line)
    remedy = str(refused.value).removeprefix(line).partition(", and name it here")[0]
    execute(postgresql, "DROP DATABASE IF EXISTS audit")
    execute(postgresql, remedy)
    monkeypatch.setenv("AUDIT_DATABASE_URL", postgresql.get_uri(database="audit", driver="psycopg"))
    audit_log.configure()
    audit_log.close()


def test_the_clients_own_encoding_is_no_matter(
    new_postgresql_database: Callable[[], str], record: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGCLIENTENCODING, which a host may set for its own tools, would not let an emoji through."""
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    engine = database.connect(new_postgresql_database())
    database.create(engine)
    database.append(engine, [record(1, "🔧")])
    [row] = database.rows(engine)
    engine.dispose()
    assert "🔧" in row["payload"]


@pytest.mark.anyio
async def test_a_value_over_a_limit_of_postgresql_fails_alone(
    new_postgresql_database: Callable[[], str], record: Callable[..., Record]
) -> None:
    """Its driver files the limit of an index with lost connections: the other forty are written all the same."""
    engine = database.connect(new_postgresql_database())
    database.create(engine)
    records = [record(number) for number in range(41)]
    records[20] = replace(
        records[20], subject_id="".join(chr(0x1F300 + number * number % 977) for number in range(2700))
    )
    writer = Writer(engine, Seal())
    outcomes = await asyncio.gather(*map(writer.append, records), return_exceptions=True)
    failed = [(number, outcome) for number, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
    assert [(number, type(error)) for number, error in failed] == [(20, GiveUp)]
    assert "index row" in str(failed[0][1])
    assert verify(database.rows(engine)).rows == 40
    engine.dispose()


@pytest.mark.anyio
async def test_after_a_failover_the_next_try_is_written(
    start_postgresql: Callable[..., Any], record: Callable[..., Record]
) -> None:
    """The pooled connection to a server that has become read-only is thrown away, and the new one is found."""
    primary = start_postgresql()
    execute(primary, "CREATE DATABASE audit")
    standby = start_postgresql(standby_of=primary)
    hosts = [server.get_postmaster_info().socket_dir for server in (primary, standby)]
    where = "&".join(f"host={host}" for host in hosts)
    url = f"postgresql+psycopg://postgres@/audit?{where}&target_session_attrs=read-write"
    engine = database.connect(url)
    database.create(engine)
    writer = Writer(engine, Seal())
    await writer.append(record(1))
    wait_until(
        lambda: execute(standby, "SELECT count(*) FROM pg_tables WHERE tablename = 'audit_log'", "audit") == [(1,)]
    )
    wait_until(lambda: execute(standby, "SELECT count(*) FROM audit_log", "audit") == [(1,)])

    execute(primary, "ALTER SYSTEM SET default_transaction_read_only = on")
    execute(primary, "SELECT pg_reload_conf()")
    wait_until(lambda: execute(primary, "SHOW default_transaction_read_only") == [("on",)])
    execute(standby, "SELECT pg_promote()")
    with pytest.raises(LogUnavailable, match="read-only transaction"):
        await writer.append(record(2))
    await writer.append(record(2))
    assert verify(database.rows(engine)).rows == 2
    assert execute(standby, "SELECT count(*) FROM audit_log", "audit") == [(2,)]
    engine.dispose()


@pytest.fixture
def pgbouncer(postgresql: Any, tmp_path: Path) -> Iterator[int]:
    """The port of a real PgBouncer in transaction mode, with one server connection for all."""
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = Path(postgresql.pgdata).parent / "pgbouncer.ini"
    config.write_text(
        f"""
[databases]
* = host={postgresql.get_postmaster_info().socket_dir} user=postgres pool_size=1
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
""",
        encoding="utf-8",
    )
    as_user = ["-u", postgresql.system_user] if postgresql.system_user else []  # it does not run as root
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([PGBOUNCER, *as_user, str(config)], stderr=log) as process,
    ):
        wait_until(lambda: _listens(port), explain=lambda: (tmp_path / "log").read_text(encoding="utf-8"))
        yield port
        process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_a_pooler_in_transaction_mode_works(postgresql: Any, pgbouncer: int, record: Callable[..., Record]) -> None:
    """Two workers take turns on one server connection, again and again: nothing of one is in the other's way."""
    execute(postgresql, "CREATE DATABASE pooled")
    engines = [database.connect(f"postgresql+psycopg://any@127.0.0.1:{pgbouncer}/pooled") for _ in range(2)]
    for engine in engines:
        database.create(engine)
    for number in range(20):
        for engine in engines:
            database.append(engine, [record(number)])
    reports = [verify(database.rows(engine)) for engine in engines]
    for engine in engines:
        engine.dispose()
    assert [(report.rows, report.problems) for report in reports] == [(20, [])] * 2


def test_the_roles_in_the_readme_are_all_that_is_needed(
    postgresql: Any, record: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its statements, run as they stand: the worker can append and the auditor verify, and neither can do more."""
    readme = Path(audit_log.__file__).with_name("README.md").read_text(encoding="utf-8")
    as_administrator, as_owner = re.findall(r"```sql\n(.*?)```", readme, re.DOTALL)
    [make_the_table] = re.findall(r"python -c '(.*audit_log.*)'", readme)
    execute(postgresql, "DROP DATABASE IF EXISTS audit")
    for statement in as_administrator.strip().split("\n"):
        execute(postgresql, statement)

    def url(role: str) -> str:
        return str(postgresql.get_uri(database="audit", driver="psycopg")).replace("//postgres:", f"//{role}:")

    environment = {**os.environ, "AUDIT_DATABASE_URL": url("audit_owner"), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", make_the_table], env=environment, check=True, cwd=ROOT)
    owner, worker, auditor = (database.connect(url(role)) for role in ("audit_owner", "audit_worker", "auditor"))
    with owner.begin() as connection:
        connection.exec_driver_sql(as_owner)

    database.create(worker)
    database.append(worker, [record(1)])
    monkeypatch.setenv("AUDIT_DATABASE_URL", url("auditor"))
    assert CliRunner().invoke(app, ["verify"]).stdout.startswith("intact: 1 rows")
    for engine, statement in (
        (worker, "UPDATE audit_log SET actor = ''"),
        (worker, "DROP TRIGGER audit_log_no_change ON audit_log"),
        (worker, "CREATE OR REPLACE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'"),
        (auditor, "INSERT INTO audit_log SELECT * FROM audit_log"),
    ):
        with pytest.raises(sa.exc.ProgrammingError, match=r"denied|must be owner"), engine.begin() as connection:
            connection.exec_driver_sql(statement)
    for engine in (owner, worker, auditor):
        engine.dispose()
