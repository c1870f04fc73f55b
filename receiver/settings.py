"""Configuration: environment variables (and `.env`), read once, typed, and refused at start when wrong.

`Settings` is what receiver and worker must agree on; `ReceiverSettings` adds the receiver's own. Every process and
every handler loads its settings with `load`, so that a mistake is one line that names the variable and says what
was expected.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from receiver import events
from receiver.environment import EnvSettings, Seconds, Words, comma_separated
from receiver.idempotency import IdempotencyRule
from receiver.payload_settings import PayloadSettings, SignatureSettings

_PLACEHOLDERS = (
    "changeme",
    "placeholder",
    "yourtoken",
    "yoursecret",
    "replaceme",
    "example",
    "insecure",
    "default",
)


def _redis_url(value: SecretStr) -> SecretStr:
    try:
        is_one = _is_redis_url(value.get_secret_value())
    except ValueError:  # whose text may repeat the URL, password and all
        is_one = False
    if not is_one:
        raise ValueError(
            "expected redis://host:6379/0, rediss://… for TLS, unix:///path/to/socket "
            "or sentinel://host:26379,host:26379/master-name"
        )
    return value


def _is_redis_url(text: str) -> bool:
    """Whether `connect` can use it. Raises ValueError on some that it cannot."""
    url = urlsplit(text)
    if url.scheme == "unix":
        return bool(url.path)
    if url.scheme == "sentinel":
        hosts = re.fullmatch(r"([^,:]+(:\d+)?,?)+", url.netloc.rpartition("@")[2])
        return bool(hosts and re.fullmatch(r"(/[^/]+(/\d+)?)?/?", url.path))
    if url.scheme not in {"redis", "rediss"} or not url.hostname:
        return False
    return url.port != 0 and re.fullmatch(r"/?\d*", url.path) is not None


def _token(value: SecretStr) -> SecretStr:
    token = value.get_secret_value()
    advice = "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
    if any(word in events.normalised(token) for word in _PLACEHOLDERS):
        raise ValueError(f"is a placeholder; {advice}")
    if len(token) < 20 or len(set(token)) < 8:  # noqa: PLR2004 - the contract's length; a repeated letter is no secret
        raise ValueError(f"expected at least 20 characters that cannot be guessed; {advice}")
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", token):
        raise ValueError(f"expected only letters, digits and - . _ ~, so that the URL needs no escaping; {advice}")
    return value


Token = Annotated[SecretStr, AfterValidator(_token)]
Tokens = Annotated[tuple[Token, ...], NoDecode, BeforeValidator(comma_separated), Field(min_length=1)]


class Settings(PayloadSettings):
    """What receiver and worker share."""

    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] = Field(
        description="where Redis or Valkey is; `make run` brings its own"
    )
    key_prefix: str = Field(
        "glartek:",
        pattern=r"^[\w.-]+:$",
        description="prefix of every Redis key except arq's job keys; each system that shares a Redis needs its own",
    )
    dedupe_window: Seconds = Field(
        7 * 86400.0, ge=1, description="how long an event id is remembered after its last outcome"
    )
    dedupe_window_body: Seconds = Field(
        3600.0, ge=1, description="the same for deliveries whose key is a hash of the body"
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto is console on a terminal, json elsewhere"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe line written")
    traces: bool = Field(
        False,
        description="whether each POST and each run of a handler is a span of OpenTelemetry; docs/operations.md says "
        "what that needs",
    )


class SpoolSettings(EnvSettings):
    """Where the spool is: all that looking at it needs."""

    spool_path: Path = Field(
        Path(".data/spool.db"), description="where deliveries wait on disk while Redis cannot take them"
    )


class ReceiverSettings(Settings, SignatureSettings, SpoolSettings):
    """The receiver's own."""

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 in a container")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on")
    health_host: str = Field("127.0.0.1", description="address of HEALTH_PORT")
    health_port: int | None = Field(
        None, ge=1, le=65535, description="port of its own for `/healthz`, which is then not on the public one"
    )
    webhook_token: Tokens = Field(
        description="the secret in the URL, at least 20 characters; several, separated by commas, while replacing one"
    )
    body_timeout: Seconds = Field(5.0, gt=0, le=9, description="how long a body may take to arrive")
    max_buffered_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        description="bytes of bodies held at once; above it the largest that is still arriving is answered 503; the "
        "receiver takes 60 MB of memory and up to three times this",
    )
    head_timeout: Seconds = Field(
        5.0, gt=0, le=60, description="how long a request's head may take to arrive, or an answer to be read"
    )
    max_head_bytes: int = Field(
        32 * 1024, ge=4096, le=1024 * 1024, description="largest head: request line and headers together, in bytes"
    )
    keep_alive: Seconds = Field(
        75.0,
        gt=0,
        description="how long a connection may be idle; must be longer than the proxy in front keeps it (nginx: 60s)",
    )
    max_connections: int = Field(
        4000,
        ge=1,
        description="most open connections, fewer if the system allows fewer files; then the longest idle are closed",
    )
    max_connections_per_address: int = Field(
        1000, ge=0, description="the same for one client address; 0 for no limit, which a receiver behind a proxy needs"
    )
    wait_replicas: int = Field(
        0, ge=0, le=10, description="replicas that must have a delivery, too; with fewer of them it waits in the spool"
    )

    shadow_sources: Words = Field(
        (),
        description="candidates for IDEMPOTENCY_SOURCES, computed for each delivery without effect on it: "
        "`python -m receiver keys` shows what each would have done",
    )

    @field_validator("shadow_sources")
    @classmethod
    def _check_candidates(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        return cls._check_sources(words)

    def shadow_rule(self) -> IdempotencyRule:
        """The candidates, found as the enforced sources are."""
        signed = bool(self.signing_secrets)
        return IdempotencyRule(self.shadow_sources, self.where, self.max_body_bytes, signed=signed)

    @model_validator(mode="after")
    def _check_room(self) -> Self:
        if self.max_buffered_bytes < self.max_body_bytes:
            raise ValueError(
                f"MAX_BUFFERED_BYTES: expected room for one body of MAX_BODY_BYTES ({self.max_body_bytes}), "
                f"got {self.max_buffered_bytes}"
            )
        return self
