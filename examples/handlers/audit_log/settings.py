"""Settings of the audit log: database, masked paths, keys and anchors."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import sqlalchemy as sa
from pydantic import AfterValidator, Field, SecretStr

from examples.handlers.audit_log.seal import Seal
from worker import EnvSettings, Mask, Seconds

_SHORTEST_KEY = 32  # characters


def _database_url(value: SecretStr) -> SecretStr:
    expected = "expected sqlite:///path/to/file.db or postgresql+psycopg://user:password@host/database"
    try:
        url = sa.make_url(value.get_secret_value())
    except (sa.exc.ArgumentError, ValueError):  # ValueError for a port that is not a number
        raise ValueError(expected) from None
    if url.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg"} or not url.database:
        raise ValueError(expected)
    if url.get_backend_name() == "sqlite" and (url.host or url.query or url.database == ":memory:"):
        raise ValueError(expected)  # with two slashes the first part of the path is taken for a host
    return value


def _keys(value: SecretStr) -> SecretStr:
    if any(len(key) < _SHORTEST_KEY for key in _split(value)):
        raise ValueError(
            f"expected at least {_SHORTEST_KEY} characters for each key; make one with: "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return value


def _split(keys: SecretStr) -> list[bytes]:
    return [key.strip().encode() for key in keys.get_secret_value().split(",") if key.strip()]


def _http_url(value: SecretStr) -> SecretStr:
    try:
        url = urlsplit(value.get_secret_value())
        is_one = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise ValueError("expected https://host/path")
    return value


class AuditSettings(EnvSettings):
    """The audit log's own settings."""

    audit_database_url: Annotated[SecretStr, AfterValidator(_database_url)] = Field(
        SecretStr("sqlite:///.data/audit.db"), description="SQLAlchemy URL of the audit log, SQLite or PostgreSQL"
    )
    audit_mask: Mask = Field(
        (), description="payload paths hidden before writing, such as actor.name,work_order.assignees.*.name"
    )
    audit_key: Annotated[SecretStr, AfterValidator(_keys)] | None = Field(
        None,
        description="secret for an HMAC of every row, so that nobody without it can forge one; "
        "`NEW,OLD` once it is replaced",
    )
    audit_anchor_every: Seconds = Field(
        600.0,
        ge=1,
        description="how often the newest row's hash goes to the log and the two places below, if it is new",
    )
    audit_anchor_path: Path | None = Field(None, description="file, best on another machine, that gets each such hash")
    audit_anchor_url: Annotated[SecretStr, AfterValidator(_http_url)] | None = Field(
        None, description="URL that each such hash is posted to, as JSON"
    )

    def seal(self) -> Seal:
        """The seal for these keys."""
        return Seal(*(_split(self.audit_key) if self.audit_key else ()))
