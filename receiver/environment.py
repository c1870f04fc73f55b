"""Reads settings from environment variables and `.env`, once and typed; a wrong one stops the start.

A handler's own settings are read in the same way: derive a class from `EnvSettings` and pass it to `load`.
"""

import os
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from receiver import running
from receiver.secret_files import SecretFileError, SecretFiles, is_secret
from receiver.visible import visible

_ENCODING = "utf-8-sig"  # Windows' editors begin UTF-8 with a byte order mark, which is no part of the first name
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


class SettingsError(Exception):
    """One line for each wrong setting: its name, what was expected, what to do. Stops the start with exit code 2."""

    def __init__(self, *lines: str) -> None:
        self.lines = tuple(visible(line, 1000) for line in lines)  # they quote the given value
        super().__init__("\n".join(self.lines))


def duration(value: Any) -> Any:
    """Seconds from `30s`, `10m`, `1h`, `7d` or a plain number. Raises ValueError."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", value, re.ASCII)  # no other script's digits
    if match is None:
        raise ValueError("expected a duration such as 30s, 10m, 1h or 7d")
    return float(match[1]) * UNITS[match[2] or "s"]


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


class _Environment(EnvSettingsSource):
    """The environment; pydantic's own source takes names in small letters for settings, too."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return _in_capitals(os.environ)


class _EnvFile(DotEnvSettingsSource):
    """A file of variables, read in the same way."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return _in_capitals(_values_in(self.env_file))


def _in_capitals(given: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """What is set by a name in capitals, under the name of its field. `host` beside `HOST` is no setting."""
    return {name.lower(): value for name, value in given.items() if value and name == name.upper()}


class EnvSettings(BaseSettings):
    """The base of every settings class: read from environment variables and `.env`, and immutable.

    A secret's value may be in a file whose path is in `NAME_FILE`; `NAME` itself takes precedence.
    What is set nowhere is taken from the `make run` that is up in this folder, so that commands find it. ENV_FILE names
    another file than `.env`; where it is empty, as in tests, neither is read.
    """

    model_config = SettingsConfigDict(
        env_file_encoding=_ENCODING, env_ignore_empty=True, extra="ignore", frozen=True, str_strip_whitespace=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _check_whole(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what only Python calls a whole number, and pydantic takes: 8_000, +8000, 8000.0."""
        is_whole = cls.model_fields[info.field_name or ""].annotation in (int, int | None)
        if is_whole and isinstance(value, str) and not re.fullmatch(r"\s*-?\d+\s*", value, re.ASCII):
            raise ValueError("expected a whole number in digits only")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - made below, as the next
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - made below, for the file that is to be read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - a folder of secret files; NAME_FILE replaces it
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file, environment = env_file(), _Environment(settings_cls)
        if file is None:
            return init_settings, environment, SecretFiles(settings_cls, environment)
        dotenv = _EnvFile(settings_cls, file)
        files = SecretFiles(settings_cls, environment, dotenv)
        up = _EnvFile(settings_cls, running.found(_data_dir(environment, dotenv)))
        return init_settings, environment, dotenv, files, up


def env_file() -> Path | None:
    """The file that settings are read from, besides the environment."""
    name = os.environ.get("ENV_FILE", ".env")
    return Path(name) if name else None


def read_env_file() -> dict[str, str]:
    """What is set in that file. Raises `SettingsError` when it cannot be read."""
    return {name: value for name, value in _values_in(env_file()).items() if value}


def _values_in(file: Any) -> Mapping[str, str | None]:
    """What stands in the file; nothing where there is none. Raises `SettingsError`."""
    if not file or not Path(file).is_file():
        if file and str(file) == os.environ.get("ENV_FILE"):
            raise SettingsError(f"ENV_FILE: expected a file of variables, got {str(file)!r}, which is none")
        return {}
    try:
        text = Path(file).read_text(encoding=_ENCODING)
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read ({error.strerror}); mend its permissions") from None
    if broken := next((one.original.line for one in parse_stream(StringIO(text)) if one.error), 0):
        raise SettingsError(f"{file}: from line {broken} on: expected NAME=value")
    return dotenv_values(stream=StringIO(text))


def _data_dir(*sources: PydanticBaseSettingsSource) -> Path:
    """Where `make run` keeps its data: DATA_DIR."""
    given = (source.env_vars.get("data_dir") for source in sources if isinstance(source, EnvSettingsSource))
    return Path(next(filter(None, given), ".data"))


S = TypeVar("S", bound=BaseSettings)
loaded: dict[type[BaseSettings], None] = {}
"""The settings classes that this process has read so far, in this order."""


def load(settings_class: type[S], **overrides: Any) -> S:
    """The settings from the environment. Raises `SettingsError` with one line for each wrong variable."""
    loaded[settings_class] = None
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
    if detail["type"] == "too_short":
        return f"{variable}: expected at least 1 value"
    if detail["type"] == "missing":
        return f"{variable}: is not set; {meaning or 'it is required'}"
    message = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    message = re.sub("^String should (?=match|have)", "to ", message)
    got = "" if is_secret(field) else f", got {str(detail['input'])[:60]!r}"
    expected = message if message.startswith(("expected", "is ")) else f"expected {message}"
    return f"{variable}: {expected}{got}"
