"""Configuration: environment variables (and `.env`), read once, typed, and refused at start when wrong.

`Settings` is what receiver and worker must agree on; `ReceiverSettings` adds the receiver's own. Every process and
every handler loads its settings with `load`, so that a mistake is one line that names the variable and says what
was expected.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from receiver import auth, events
from receiver.delivery import Sources
from receiver.secret_files import SecretFileError, SecretFiles, is_secret
from receiver.visible import visible

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
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


class SettingsError(Exception):
    """One line for each wrong setting: its name, what was expected, what to do. Stops the start with exit code 2."""

    def __init__(self, *lines: str) -> None:
        self.lines = tuple(visible(line, 1000) for line in lines)  # they quote what was given, whatever that is
        super().__init__("\n".join(self.lines))


def duration(value: Any) -> Any:
    """Seconds from `30s`, `10m`, `1h`, `7d` or a plain number. Raises ValueError."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", value)
    if match is None:
        raise ValueError("expected a duration such as 30s, 10m, 1h or 7d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def _comma_separated(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _zone(value: Any) -> Any:
    try:
        return ZoneInfo(value) if isinstance(value, str) else value
    except (ValueError, KeyError, OSError):  # no such zone, a folder of zones, or what can be no file's name
        raise ValueError("expected an IANA name such as Europe/Lisbon") from None


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


Seconds = Annotated[float, BeforeValidator(duration), Field(ge=0, le=100 * 366 * 86400)]
"""A duration in seconds; written `30s`, `10m`, `1h`, `7d` or as a plain number of seconds."""
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)]
"""Several values, separated by commas."""
Zone = Annotated[ZoneInfo, BeforeValidator(_zone)]
"""A time zone by its IANA name."""
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_comma_separated)]
Token = Annotated[SecretStr, AfterValidator(_token)]
Tokens = Annotated[tuple[Token, ...], NoDecode, BeforeValidator(_comma_separated), Field(min_length=1)]


class EnvSettings(BaseSettings):
    """What every settings class of the kit is: environment variables and `.env`, never printed, never changed.

    The value of a secret may be in a file that `NAME_FILE` names; `NAME` itself wins.
    """

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", env_ignore_empty=True, extra="ignore", frozen=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - a folder of files: one way is enough
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        files = SecretFiles(settings_cls, env_settings, dotenv_settings)
        return init_settings, env_settings, dotenv_settings, files


class Settings(EnvSettings):
    """What receiver and worker share."""

    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] = Field(
        description="where Redis or Valkey is; `make run` brings its own"
    )
    key_prefix: str = Field(
        "glartek:",
        pattern=r"^[\w.-]+:$",
        description="prefix of every Redis key but arq's of a job; each system that shares a Redis needs its own",
    )
    max_body_bytes: int = Field(
        1024 * 1024, ge=1024, description="largest body accepted, and largest once unpacked, in bytes"
    )
    dedupe_window: Seconds = Field(
        7 * 86400.0, ge=1, description="how long an event id is remembered after its last outcome"
    )
    dedupe_window_body: Seconds = Field(3600.0, ge=1, description="the same for deliveries known by their bytes only")
    event_id_paths: Words = Field(
        events.EVENT_ID_PATHS, min_length=1, description="where the event id may be in the body"
    )
    event_type_paths: Words = Field(
        events.EVENT_TYPE_PATHS, min_length=1, description="where the event type may be in the body"
    )
    occurred_at_paths: Words = Field(
        events.OCCURRED_AT_PATHS, min_length=1, description="where the event's time may be in the body"
    )
    payload_timezone: Zone | None = Field(
        None, description="zone of times without an offset, such as Europe/Lisbon; unset, these are not read"
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto is console on a terminal, json elsewhere"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe line written")


class ReceiverSettings(Settings):
    """The receiver's own."""

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 in a container")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on")
    webhook_token: Tokens = Field(
        description="the secret in the URL, at least 20 characters; several, separated by commas, while replacing one"
    )
    signing_secrets: Secrets = Field(
        (), description="whsec_… secrets; when set, every delivery must carry a Standard Webhooks signature"
    )
    idempotency_sources: Words = Field(
        ("event-id", "webhook-id", "cloudevents", "idempotency-key", "body"),
        min_length=1,
        description="where a delivery's idempotency key comes from: the first that is present",
    )
    body_timeout: Seconds = Field(5.0, gt=0, le=9, description="how long a body may take to arrive")
    max_buffered_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        description="bytes of bodies held at once; beyond it the largest that still arrives is answered 503; the "
        "receiver takes 60 MB of memory and up to three times this",
    )
    head_timeout: Seconds = Field(
        5.0, gt=0, le=60, description="how long a request's head, or the reading of an answer, may take"
    )
    max_head_bytes: int = Field(
        32 * 1024, ge=4096, le=1024 * 1024, description="largest head: request line and headers together, in bytes"
    )
    keep_alive: Seconds = Field(
        75.0,
        gt=0,
        description="how long a connection may be idle; longer than the proxy in front keeps it (nginx: 60s)",
    )
    max_connections: int = Field(
        4000, ge=1, description="open connections, fewer where the system allows fewer files; the idle ones yield first"
    )
    max_connections_per_address: int = Field(
        1000, ge=0, description="the same for one address; 0 for no bound, where a proxy in front brings all of them"
    )
    wait_replicas: int = Field(
        0, ge=0, le=10, description="replicas that must have a delivery, too; with fewer of them it waits in the spool"
    )
    spool_path: Path = Field(
        Path(".data/spool.db"), description="where deliveries wait on disk while Redis cannot take them"
    )

    @field_validator("signing_secrets")
    @classmethod
    def _check_secrets(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in secrets:
            auth.secret_key(secret.get_secret_value())
        return secrets

    @field_validator("idempotency_sources")
    @classmethod
    def _check_sources(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        Sources(words, (), ())
        return words

    @model_validator(mode="after")
    def _check_room(self) -> Self:
        if self.max_buffered_bytes < self.max_body_bytes:
            raise ValueError(
                f"MAX_BUFFERED_BYTES: expected room for one body of MAX_BODY_BYTES ({self.max_body_bytes}), "
                f"got {self.max_buffered_bytes}"
            )
        return self

    def sources(self) -> Sources:
        """The idempotency rule that these settings describe."""
        return Sources(self.idempotency_sources, self.event_id_paths, self.event_type_paths, self.max_body_bytes)


S = TypeVar("S", bound=BaseSettings)


def load(settings_class: type[S], **overrides: Any) -> S:
    """The settings from the environment, or `SettingsError` with one line for each wrong variable."""
    try:
        return settings_class(**overrides)
    except SecretFileError as error:
        raise SettingsError(str(error)) from None
    except ValidationError as error:
        prefix = settings_class.model_config.get("env_prefix", "")
        lines = (_line(settings_class, prefix, detail) for detail in error.errors(include_url=False))
        raise SettingsError(*dict.fromkeys(lines)) from None


def _line(settings_class: type[BaseSettings], prefix: str, detail: Any) -> str:
    if not detail["loc"]:
        return str(detail["msg"]).removeprefix("Value error, ")
    name = str(detail["loc"][0])
    field = settings_class.model_fields.get(name)
    variable = f"{prefix}{name}".upper()
    meaning = field.description if field else None
    if detail["type"] == "missing":
        return f"{variable}: is not set; {meaning or 'it is required'}"
    message = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    got = "" if is_secret(field) else f", got {str(detail['input'])[:60]!r}"
    expected = message if message.startswith(("expected", "is ")) else f"expected {message}"
    return f"{variable}: {expected}{got}"


def variables(*settings_classes: type[BaseSettings]) -> Iterable[tuple[str, str, str]]:
    """(variable, default, meaning) of every setting; README and `.env.example` are held equal to it by a test."""
    seen = set()
    for settings_class in settings_classes:
        prefix = settings_class.model_config.get("env_prefix", "")
        for name, field in settings_class.model_fields.items():
            variable = f"{prefix}{name}".upper()
            if variable not in seen:
                seen.add(variable)
                yield (
                    variable,
                    _shown(field.get_default(call_default_factory=True), field),
                    field.description or "",
                )


def _shown(default: Any, field: Any) -> str:  # noqa: PLR0911 - one for each kind of default
    if field.is_required():
        return "required"
    match default:
        case None | ():
            return ""
        case bool():
            return str(default).lower()
        case tuple():
            return ",".join(map(str, default))
        case SecretStr():
            return default.get_secret_value()
        case float() if default:
            fitting = ((size, unit) for unit, size in _UNITS.items() if default % size == 0)
            size, unit = max(fitting, default=(1, "s"))
            return f"{default / size:g}{unit}"
    return str(default)
