"""Every event, once, in a log that can be shown to an auditor: appended to, chained by hashes, never changed.

    event ─▶ masking ─▶ record (pure) ─▶ writer ─▶ database: lock, seen before?, head, insert
                                                      └─▶ anchors: the head, elsewhere

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
    """What this process needs to append: made once, at start."""

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
    settings = load(Settings)  # say where the fields of a masked payload are
    return lambda event: masking.hidden(event, mask, settings)


@lru_cache(maxsize=1)
def _log() -> AuditLog:
    return AuditLog(load(AuditSettings))


def opened(settings: AuditSettings, prepare: Callable[[Engine], None]) -> Engine:
    """The database, made ready by `prepare`. Raises `SettingsError` when it cannot be opened or used."""
    engine = database.connect(settings.audit_database_url.get_secret_value())
    try:
        prepare(engine)
    except (sa.exc.DBAPIError, OSError, Refused) as error:
        engine.dispose()
        shown = engine.url.set(query={}).render_as_string()  # without its password, which may be in the query too
        where = "" if isinstance(error, Refused) else f"cannot open {shown}: "
        raise SettingsError(f"AUDIT_DATABASE_URL: {where}{database.cause(error)}") from None
    return engine


def configure() -> None:
    """Read the settings and open the log once, at start. Raises `SettingsError` with one line for each mistake."""
    close()
    _log()


def close() -> None:
    """Stop the anchors and give the database's connections back."""
    if _log.cache_info().currsize:
        _log().close()
        _log.cache_clear()


async def append(event: Event, ctx: Context) -> None:
    """Write the event into the log, unless it is there: a repeat changes nothing, whoever sends it."""
    log = _log()
    entry = record.of_event(log.hide(event), ctx.idempotency_key, ctx.received_at)
    appended = await log.writer.append(entry)
    if appended.conflict:
        ctx.log.warning("audit log: conflict, the first is kept", seq=appended.seq)
