"""What the log needs of PostgreSQL: one writer at a time, a pooler in between, a server that may be replaced."""

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, ExceptionContext

_PATIENCE = 10.0  # seconds to wait for the lock, and that a process which was stopped may keep it
_LOCK = 0x676C6172  # "glar": the advisory lock for the tail of the log
_OPTIONS = {  # where the URL says nothing else; a server that is gone without a word is noticed within seconds
    "connect_timeout": "5",
    "tcp_user_timeout": "10000",
}
_ELSEWHERE = ("08", "57P", "25006")
"""SQLSTATEs of a server to leave: connection trouble, shutting down, and read-only since a failover."""


def connect(url: URL) -> Engine:
    engine = sa.create_engine(
        url.set(query={**_OPTIONS, **url.query}),
        hide_parameters=True,  # an error never shows a payload
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",  # what is read after the lock is the newest, whatever the server's default
        connect_args={
            "client_encoding": "utf8",  # whatever PGCLIENTENCODING says
            "prepare_threshold": None,  # a pooler may give the next transaction to a server that has not prepared it
        },
    )
    sa.event.listen(engine, "handle_error", _leave_server)
    return engine


def lock(connection: Connection) -> None:
    """Until the transaction ends; the server ends one that nobody goes on with: its process or its host may be gone."""
    limits = ("lock_timeout", "idle_in_transaction_session_timeout")
    connection.execute(sa.select(*(sa.func.set_config(name, f"{_PATIENCE:g}s", True) for name in limits)))
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def sqlstate(error: BaseException | None) -> str:
    """PostgreSQL's five characters for what went wrong; "" for anything else."""
    return getattr(error, "sqlstate", None) or ""


def _leave_server(context: ExceptionContext) -> None:
    if sqlstate(context.original_exception).startswith(_ELSEWHERE):
        context.is_disconnect = True  # SQLAlchemy then closes all pooled connections and opens new ones
