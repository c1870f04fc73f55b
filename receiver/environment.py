"""Reads settings from environment variables and `.env`, once and typed; a wrong one stops the start.

A handler's own settings are read in the same way: derive a class from `EnvSettings` and pass it to `load`.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from receiver.secret_files import SecretFileError, SecretFiles, is_secret
from receiver.visible import visible

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


class SettingsError(Exception):
    """One line for each wrong setting: its name, what was expected, what to do. Stops the start with exit code 2."""

    def __init__(self, *lines: str) -> None:
        self.lines = tuple(visible(line, 1000) for line in lines)  # they quote the given value
        super().__init__("\n".join(self.lines))


def duration(value: Any) -> Any:
    """Seconds from `30s`, `10m`, `1h`, `7d` or a plain number. Raises ValueError."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", value)
    if match is None:
        raise ValueError("expected a duration such as 30s, 10m, 1h or 7d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def comma_separated(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _zone(value: Any) -> Any:
    try:
        return ZoneInfo(value) if isinstance(value, str) else value
    except (ValueError, KeyError, OSError):  # unknown, a folder of zones, or not a valid file name
        raise ValueError("expected an IANA name such as Europe/Lisbon") from None


Seconds = Annotated[float, BeforeValidator(duration), Field(ge=0, le=100 * 366 * 86400)]
"""A duration in seconds; written `30s`, `10m`, `1h`, `7d` or as a plain number of seconds."""
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(comma_separated)]
"""Several values, separated by commas."""
Zone = Annotated[ZoneInfo, BeforeValidator(_zone)]
"""A time zone by its IANA name."""


class EnvSettings(BaseSettings):
    """The base of every settings class: read from environment variables and `.env`, and immutable.

    A secret's value may be in a file whose path is in `NAME_FILE`; `NAME` itself takes precedence.
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
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - a folder of secret files; NAME_FILE replaces it
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        files = SecretFiles(settings_cls, env_settings, dotenv_settings)
        return init_settings, env_settings, dotenv_settings, files


S = TypeVar("S", bound=BaseSettings)


def load(settings_class: type[S], **overrides: Any) -> S:
    """The settings from the environment. Raises `SettingsError` with one line for each wrong variable."""
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
    """(variable, default, meaning) of every setting; the generated tables and `.env.example` come from it."""
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
