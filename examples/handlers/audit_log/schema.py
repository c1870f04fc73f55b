"""The log's table: what guards it, which version it has, and how an older one becomes the newest.

Triggers refuse every change, every deletion and every replacement; the hash chain shows what got round them.
"""

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
_NO_REPLACEMENT = (  # INSERT OR REPLACE deletes without waking the trigger against DELETE, unless a client asks for it
    "CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log "
    "WHEN EXISTS (SELECT 1 FROM audit_log WHERE seq >= NEW.seq OR event_key = NEW.event_key) "
    "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END"
)
_TRIGGERS = {
    "sqlite": (
        f"CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log {_REFUSE}",
        f"CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log {_REFUSE}",
        _NO_REPLACEMENT,
    ),
    "postgresql": (
        """
        CREATE OR REPLACE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'audit_log is append-only'; END $$
        """,
        """
        CREATE TRIGGER audit_log_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
        FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse()
        """,
    ),
}
_INDEXES = (
    "CREATE INDEX ix_audit_log_received_at ON audit_log (received_at)",
    "CREATE INDEX ix_audit_log_subject_id ON audit_log (subject_id)",
)
_MIGRATIONS: dict[
    int, dict[str, tuple[str, ...]]
] = {  # from this version to the next; a row is never touched, so the chain stays as it is
    1: {"sqlite": _INDEXES, "postgresql": _INDEXES},  # had no index to find a subject or a time by
    2: {"sqlite": (_NO_REPLACEMENT,), "postgresql": ()},
}


class Refused(Exception):
    """What the database holds is nothing that this version of the kit can use; the message says what to do."""


def prepare(connection: Connection) -> None:
    """Make the log where there is none, bring an older one up to date; write nothing else. Raises `Refused`."""
    found, dialect = version(connection), connection.dialect.name
    if found is None:
        metadata.create_all(connection)
        for statement in _TRIGGERS[dialect]:
            connection.exec_driver_sql(statement)
        connection.execute(_VERSION.insert().values(version=SCHEMA_VERSION))
    elif found < SCHEMA_VERSION:
        for older in range(found, SCHEMA_VERSION):
            for statement in _MIGRATIONS[older][dialect]:
                connection.exec_driver_sql(statement)
        connection.execute(_VERSION.update().values(version=SCHEMA_VERSION))


def version(connection: Connection) -> int | None:
    """The version of the log in this database, None where there is no log. Raises `Refused`."""
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
