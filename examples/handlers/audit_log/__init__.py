"""Every event, once, in a log that can be shown to an auditor: appended to, chained by hashes, never changed.

    event ─▶ record (pure) ─▶ writer ─▶ database: lock, seen before?, head, insert

`python -m examples.handlers.audit_log verify | export | head` reads it.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated

import sqlalchemy as sa
from pydantic import AfterValidator, Field, SecretStr
from sqlalchemy.engine import Engine

from examples.handlers.audit_log import database, record
from examples.handlers.audit_log.database import Head
from examples.handlers.audit_log.schema import Refused
from examples.handlers.audit_log.writer import Writer
from receiver.settings import EnvSettings, SettingsError, Words, load
from worker import Context, Event

_HEAD_EVERY = 1000  # rows between two heads in the log: with one of them, verify sees a tail that was cut off


def _database_url(value: SecretStr) -> SecretStr:
    expected = "expected sqlite:///path/to/file.db or postgresql+psycopg://user:password@host/database"
    try:
        url = sa.make_url(value.get_secret_value())
    except (sa.exc.ArgumentError, ValueError):  # the latter for a port that is no number
        raise ValueError(expected) from None
    if url.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg"} or not url.database:
        raise ValueError(expected)
    if url.get_backend_name() == "sqlite" and (url.host or url.query or url.database == ":memory:"):
        raise ValueError(expected)  # with two slashes the path's first part would be a host
    return value


def _paths(value: tuple[str, ...]) -> tuple[str, ...]:
    """A path that can name nothing would leave in the log what it was to hide."""
    if not all(step.strip() for path in value for step in path.split(".")):
        raise ValueError("expected paths such as actor.name,work_order.assignees.*.name")
    return value


class AuditSettings(EnvSettings):
    """Where the log is, and what is hidden in it."""

    audit_database_url: Annotated[SecretStr, AfterValidator(_database_url)] = Field(
        SecretStr("sqlite:///.data/audit.db"), description="SQLAlchemy URL of the audit log, SQLite or PostgreSQL"
    )
    audit_mask: Annotated[Words, AfterValidator(_paths)] = Field(
        (), description="payload paths hidden before writing, such as actor.name,work_order.assignees.*.name"
    )


@lru_cache(maxsize=1)
def _settings() -> AuditSettings:
    return load(AuditSettings)


@lru_cache(maxsize=1)
def _writer() -> Writer:
    return Writer(opened(_settings(), database.create))


def opened(settings: AuditSettings, prepare: Callable[[Engine], None]) -> Engine:
    """The database, made ready by `prepare`. Raises `SettingsError` when it cannot be opened or used."""
    url = settings.audit_database_url.get_secret_value()
    engine = database.connect(url)
    try:
        prepare(engine)
    except (sa.exc.DBAPIError, OSError) as error:
        cause = str(getattr(error, "orig", error)).partition("\n")[0]
        shown = engine.url.set(query={}).render_as_string()  # without its password, which may be in the query too
        raise SettingsError(f"AUDIT_DATABASE_URL: cannot open {shown}: {cause}") from None
    except Refused as error:
        engine.dispose()
        raise SettingsError(f"AUDIT_DATABASE_URL: {error}") from None
    return engine


def configure() -> None:
    """Read the settings and open the log once, at start. Raises `SettingsError` with one line for each mistake."""
    _settings.cache_clear()
    _writer.cache_clear()
    _writer()


async def append(event: Event, ctx: Context) -> None:
    """Write the event into the log, unless it is there: a repeat changes nothing, whoever sends it."""
    entry = record.of_event(event, ctx.idempotency_key, ctx.received_at, _settings().audit_mask)
    appended = await _writer().append(entry)
    if appended.conflict:
        ctx.log.warning("audit log: conflict, the first is kept", seq=appended.seq)
    elif appended.new and appended.seq % _HEAD_EVERY == 0:
        ctx.log.info("audit log: head", head=str(Head(appended.seq, appended.hash)))
