"""Every event, once, in an append-only log for auditors, chained by hashes.

    event ─▶ masking ─▶ record (pure) ─▶ writer ─▶ database: lock, check for duplicates, read the head, insert
                                                      └─▶ anchors: copies of the head elsewhere

`python -m examples.handlers.audit_log verify | export | head` reads it; README.md says what it proves.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from examples.handlers.audit_log import database, masking, record
from examples.handlers.audit_log.anchors import Anchors
from examples.handlers.audit_log.schema import Refused
from examples.handlers.audit_log.settings import AuditSettings
from examples.handlers.audit_log.writer import Writer
from worker import Context, Event, Settings, SettingsError, load

__all__ = ["AuditSettings", "append", "configure"]


class AuditLog:
    """What a process needs to append to the log; created once, at start."""

    def __init__(self, settings: AuditSettings) -> None:
        seal = settings.seal()
        self.hide = _hider(settings.audit_mask)
        self.engine = opened(settings, lambda engine: database.create(engine, seal))
        self.writer = Writer(self.engine, seal)
        url = settings.audit_anchor_url.get_secret_value() if settings.audit_anchor_url else None
        self.anchors = Anchors(self.engine, settings.audit_anchor_every, settings.audit_anchor_path, url)
        self.anchors.start()

    def close(self) -> None:
        self.anchors.stop()
        self.engine.dispose()


def _hider(mask: Iterable[str]) -> Callable[[Event], Event]:
    if not mask:
        return lambda event: event
    settings = load(Settings)  # the paths of fields, to parse the masked payload
    return lambda event: masking.hidden(event, mask, settings)


@lru_cache(maxsize=1)
def _log() -> AuditLog:
    return AuditLog(load(AuditSettings))


def opened(settings: AuditSettings, prepare: Callable[[Engine], None]) -> Engine:
    """Connect to the database and run `prepare` on it. Raises `SettingsError` if it cannot be used."""
    engine = database.connect(settings.audit_database_url.get_secret_value())
    try:
        prepare(engine)
    except (sa.exc.DBAPIError, OSError, Refused) as error:
        engine.dispose()
        shown = engine.url.set(query={}).render_as_string()  # without the password, which may be in the query too
        where = "" if isinstance(error, Refused) else f"cannot open {shown}: "
        raise SettingsError(f"AUDIT_DATABASE_URL: {where}{database.cause(error)}") from None
    return engine


def configure() -> None:
    """Read the settings and open the log once, at start. Raises `SettingsError` with one line for each mistake."""
    close()
    _log()


def close() -> None:
    """Stop the anchors and close the database connections."""
    if _log.cache_info().currsize:
        _log().close()
        _log.cache_clear()


async def append(event: Event, ctx: Context) -> None:
    """Write the event into the log, unless its key is there already."""
    log = _log()
    entry = record.of_event(log.hide(event), ctx.idempotency_key, ctx.received_at)
    appended = await log.writer.append(entry)
    if appended.conflict:
        ctx.log.warning("audit log: conflict, the first is kept", seq=appended.seq)
