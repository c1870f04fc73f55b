"""The log's table: its triggers, its version, and the migrations from older versions.

Triggers refuse every change, deletion and replacement; the hash chain shows changes that bypassed them.
"""

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

metadata = sa.MetaData()
TABLE = sa.Table(
    "audit_log",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("event_key", sa.Text, nullable=False, unique=True),
    sa.Column("event_id", sa.Text),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("occurred_at", sa.Text),
    sa.Column("received_at", sa.Text, nullable=False, index=True),
    sa.Column("actor", sa.Text),
    sa.Column("subject_type", sa.Text),
    sa.Column("subject_id", sa.Text, index=True),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("payload_sha256", sa.Text, nullable=False),
    sa.Column("recorded_at", sa.Text, nullable=False),
    sa.Column("prev_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)
_VERSION = sa.Table("audit_log_schema", metadata, sa.Column("version", sa.Integer, nullable=False))

SCHEMA_VERSION = 3
_REFUSE = "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END"
_SQLITE = {
    "audit_log_no_update": f"CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log {_REFUSE}",
    "audit_log_no_delete": f"CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log {_REFUSE}",
    "audit_log_no_replace": (  # INSERT OR REPLACE deletes rows without running the DELETE trigger
        "CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log "
        "WHEN EXISTS (SELECT 1 FROM audit_log WHERE seq >= NEW.seq OR event_key = NEW.event_key) "
        "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END"
    ),
}
_BODY = " BEGIN RAISE EXCEPTION 'audit_log is append-only'; END "
_POSTGRESQL = (
    f"CREATE OR REPLACE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS $${_BODY}$$",
    """
    CREATE TRIGGER audit_log_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse()
    """,
)
TRIGGERS = {"sqlite": tuple(_SQLITE.values()), "postgresql": _POSTGRESQL}
_INDEXES = (
    "CREATE INDEX ix_audit_log_received_at ON audit_log (received_at)",
    "CREATE INDEX ix_audit_log_subject_id ON audit_log (subject_id)",
)
# Statements from each version to the next. No row is changed, so the hash chain stays valid.
_MIGRATIONS: dict[int, dict[str, tuple[str, ...]]] = {
    1: {"sqlite": _INDEXES, "postgresql": _INDEXES},  # version 1 had no index on subject and time
    2: {"sqlite": (_SQLITE["audit_log_no_replace"],), "postgresql": ()},
}

# For `verify`: (name, definition) of everything that acts when a row is written, changed or read.
_GUARDS = {
    "sqlite": _SQLITE,
    "postgresql": {
        "audit_log_no_change": "O CREATE TRIGGER audit_log_no_change BEFORE DELETE OR UPDATE OR TRUNCATE ON audit_log "
        f"FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse() {_BODY}"
    },
}
_INSTALLED = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_log' COLLATE NOCASE",
    "postgresql": """
        SELECT tgname::text, concat_ws(' ', tgenabled, pg_get_triggerdef(t.oid, true), prosrc)
        FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid WHERE tgrelid = 'audit_log'::regclass AND NOT tgisinternal
        UNION ALL SELECT rulename::text, 'rule' FROM pg_rewrite WHERE ev_class = 'audit_log'::regclass
        UNION ALL SELECT 'row level security', 'on' FROM pg_class
        WHERE oid = 'audit_log'::regclass AND relrowsecurity
    """,
}


class Refused(Exception):
    """The database's content cannot be used by this version of the kit; the message says what to do."""


def prepare(connection: Connection) -> None:
    """Create the log, or migrate an older one. Raises `Refused`."""
    _refuse_narrow_encoding(connection)
    found, dialect = version(connection), connection.dialect.name
    if found is None:
        metadata.create_all(connection)
        for statement in TRIGGERS[dialect]:
            connection.exec_driver_sql(statement)
        connection.execute(_VERSION.insert().values(version=SCHEMA_VERSION))
    elif found < SCHEMA_VERSION:
        for older in range(found, SCHEMA_VERSION):
            for statement in _MIGRATIONS[older][dialect]:
                connection.exec_driver_sql(statement)
        connection.execute(_VERSION.update().values(version=SCHEMA_VERSION))


def version(connection: Connection) -> int | None:
    """The version of the log in this database, None if there is no log. Raises `Refused`."""
    tables = set(sa.inspect(connection).get_table_names())
    if TABLE.name not in tables:
        return None
    found: int | None = connection.scalar(sa.select(_VERSION.c.version)) if _VERSION.name in tables else None
    if found is None:
        raise Refused("the table audit_log is not one that this kit made; name another database or file")
    if found > SCHEMA_VERSION:
        raise Refused(
            f"the audit log has schema version {found}, made by a newer kit than this one "
            f"(it knows {SCHEMA_VERSION}); update the kit"
        )
    if found not in {*_MIGRATIONS, SCHEMA_VERSION}:
        raise Refused(
            f"the audit log has schema version {found}, too old for this kit; open it once with an earlier one"
        )
    return found


def unguarded(connection: Connection) -> Iterator[str]:
    """A line for each trigger (and, on PostgreSQL, rule) of the table that differs from the kit's."""
    missing = {**_GUARDS[connection.dialect.name]}
    for name, definition in connection.exec_driver_sql(_INSTALLED[connection.dialect.name]):
        if name not in missing:
            yield f"{name} acts on the table, and the kit did not make it"
        elif missing.pop(name) != definition:
            yield f"the trigger {name} is not as the kit made it: it may let changes through"
    for name in missing:
        yield f"the trigger {name} is gone: the table can be changed"


def _refuse_narrow_encoding(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise Refused(
                f"the database's encoding is {encoding}, which does not hold every text; make one with "
                "CREATE DATABASE audit ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0, and name it here"
            )
