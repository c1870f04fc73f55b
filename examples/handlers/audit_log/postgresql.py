"""The log in PostgreSQL: one writer at a time, support for a connection pooler and for failover."""

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, ExceptionContext

_LOCK_TIMEOUT = 10.0  # seconds to wait for the lock, and for which a stopped process may keep it
_LOCK = 0x676C6172  # "glar": the advisory lock for the tail of the log
_OPTIONS = {  # unless the URL says otherwise; they detect a lost server within seconds
    "connect_timeout": "5",
    "tcp_user_timeout": "10000",
}
_ELSEWHERE = ("08", "57P", "25006")
"""SQLSTATEs after which to reconnect: connection errors, a shutdown, and a server that is read-only after failover."""


def connect(url: URL) -> Engine:
    engine = sa.create_engine(
        url.set(query={**_OPTIONS, **url.query}),
        hide_parameters=True,  # keeps payloads out of error messages
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",  # reads after the lock must see the newest rows
        connect_args={
            "client_encoding": "utf8",  # overrides PGCLIENTENCODING
            "prepare_threshold": None,  # a pooler may send the next transaction to another server connection
        },
    )
    sa.event.listen(engine, "handle_error", _leave_server)
    return engine


def lock(connection: Connection) -> None:
    """Lock out other writers until the transaction ends. The server ends an idle one: its process may be gone."""
    limits = ("lock_timeout", "idle_in_transaction_session_timeout")
    connection.execute(sa.select(*(sa.func.set_config(name, f"{_LOCK_TIMEOUT:g}s", True) for name in limits)))
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def sqlstate(error: BaseException | None) -> str:
    """PostgreSQL's five-character error code; "" for other errors."""
    return getattr(error, "sqlstate", None) or ""


def _leave_server(context: ExceptionContext) -> None:
    if sqlstate(context.original_exception).startswith(_ELSEWHERE):
        context.is_disconnect = True  # SQLAlchemy then closes all pooled connections and opens new ones
