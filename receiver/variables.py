"""The names of settings: which there are, what their defaults look like, and which names in `.env` are none."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import BeforeValidator, SecretStr
from pydantic_settings import BaseSettings

from receiver.environment import UNITS, EnvSettings, duration, loaded, read_env_file


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


def of_this_process() -> list[str]:
    """The names of all settings that this process has read so far."""
    return [name for name, _, _ in variables(*loaded)]


def strays() -> list[str]:
    """One line for each name in the file that is no setting, but looks like one; own settings are known once loaded."""
    known = [name for settings_class in _all_of(EnvSettings) for name, _, _ in variables(settings_class)]
    files = {f"{name}_FILE" for name in known}
    return [line for name in read_env_file() if name not in {*known, *files} and (line := _stray(name, known))]


def _stray(name: str, known: Sequence[str]) -> str | None:
    near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.8)
    if not near and "_" in name:
        near = sorted({other for other in known if other.startswith(name.partition("_")[0] + "_")})[:5]
    return f"{name} is no setting, and has no effect; did you mean {' or '.join(near)}?" if near else None


def _all_of(settings_class: type[EnvSettings]) -> Iterator[type[EnvSettings]]:
    for derived in settings_class.__subclasses__():
        yield derived
        yield from _all_of(derived)


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
        case float() if default and _is_duration(field):
            fitting = ((size, unit) for unit, size in UNITS.items() if default % size == 0)
            size, unit = max(fitting, default=(1, "s"))
            return f"{default / size:g}{unit}"
    return str(default)


def _is_duration(field: Any) -> bool:
    return any(isinstance(one, BeforeValidator) and one.func is duration for one in field.metadata)
