"""The target's file: what is sent where, checked whole before the first event, every mistake with its line.

TOML, because Python reads it without help and it takes comments. `targets/` has three to start from.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

SHIPPED = Path(__file__).parent / "targets"

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_HEADER = re.compile(r"[A-Za-z0-9-]+")
_PATH = re.compile(r"[\w-]+(\.[\w-]+)*")
_KEY = r"""(?:"[^"]*"|'[^']*'|[\w-]+)"""
_KEYS = re.compile(rf"{_KEY}(?:\s*\.\s*{_KEY})*")
_HEADER_LINE = re.compile(rf"\s*\[\s*({_KEYS.pattern})\s*\]")
_KEY_LINE = re.compile(rf"\s*({_KEYS.pattern})\s*=")


class TargetRefused(Exception):
    """The file cannot be used: one line for each mistake, as `file:line: what was expected`."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def placeholders(template: str) -> list[str]:
    return _PLACEHOLDER.findall(template)


def fill(template: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def _path(value: str) -> str:
    if not _PATH.fullmatch(value):
        raise ValueError("expected a path such as work_order.status")
    return value


def _template(value: str) -> str:
    rest = _PLACEHOLDER.sub("", value)
    if "{" in rest or "}" in rest or not all(map(_PATH.fullmatch, placeholders(value))):
        raise ValueError("expected paths in braces, such as {work_order.code}")
    return value


def _url_path(value: str) -> str:
    if not value.startswith("/") or any(character.isspace() for character in value):
        raise ValueError("expected a path from / on, without spaces")
    return _template(value)


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not (_HEADER.fullmatch(name) and text.isascii() and text.isprintable()):
            raise ValueError(f"expected a header's name and printable ASCII, got {name!r}")
    return value


EventPath = Annotated[str, AfterValidator(_path)]
Template = Annotated[str, AfterValidator(_template)]
UrlPath = Annotated[str, AfterValidator(_url_path)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldRule(_Part):
    """Where one of the target's fields has its value from, and what is done to it on the way."""

    from_: EventPath | None = Field(None, alias="from")
    text: Template | None = None
    value: str | int | float | bool | None = None
    each: EventPath | None = None
    fields: "Fields | None" = None
    map: dict[str, str | int | float | bool] | None = None
    default: EventPath | None = None
    required: bool = False
    format: Literal["date", "utc", "unix", "odata"] | None = None
    max_length: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = [name for name in ("from_", "text", "value", "each") if getattr(self, name) is not None]
        if len(sources) != 1:
            raise ValueError("expected exactly one of from, text, value or each")
        if (self.each is None) != (self.fields is None):
            raise ValueError("expected each and fields together: the list, and the fields of its items")
        made = {"map", "default", "format", "max_length"} & self.model_fields_set
        if made and (self.each is not None or self.value is not None):
            raise ValueError(f"expected {' and '.join(sorted(made))} with from or text only")
        return self


def _short_form(value: Any) -> Any:
    return {"from": value} if isinstance(value, str) else value


Fields = dict[str, Annotated[FieldRule, BeforeValidator(_short_form)]]


class Auth(_Part):
    """How we show who we are; the secrets themselves are in the environment."""

    kind: Literal["none", "bearer", "basic", "api_key", "oauth2"] = "none"
    header: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9-]+$")] = None
    token_url: str | None = None
    scope: str | None = None
    credentials: Literal["header", "body"] = "header"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.kind == "api_key") != (self.header is not None):
            raise ValueError('expected header with kind = "api_key", and only there')
        if (self.kind == "oauth2") != (self.token_url is not None):
            raise ValueError('expected token_url with kind = "oauth2", and only there')
        if self.token_url is not None and not self.token_url.startswith(("{EXTERNAL_URL}/", "https://")):
            raise ValueError("expected token_url to begin with {EXTERNAL_URL}/ or https://")
        if self.scope is not None and self.kind != "oauth2":
            raise ValueError('expected scope only with kind = "oauth2"')
        if "credentials" in self.model_fields_set and self.kind != "oauth2":
            raise ValueError('expected credentials only with kind = "oauth2"')
        return self


class Lookup(_Part):
    """A GET that finds the target's own id of a record: `take` is a path into its answer."""

    path: UrlPath
    take: EventPath


class Target(_Part):
    """A target's whole file."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    method: Literal["POST", "PUT", "PATCH"]
    path: UrlPath
    idempotency_header: str = Field("Idempotency-Key", pattern=r"^[A-Za-z0-9-]*$")
    csrf: bool = False
    if_match: bool = False
    lookup: Lookup | None = None
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = {}
    auth: Auth = Auth()
    fields: Fields = Field(min_length=1)

    @model_validator(mode="after")
    def _lookup_used(self) -> Self:
        if (self.lookup is not None) != ("lookup" in placeholders(self.path)):
            raise ValueError("expected {lookup} in path together with a [lookup] table")
        if self.lookup is not None and "lookup" in placeholders(self.lookup.path):
            raise ValueError("expected {lookup} in path only: it is what [lookup] finds")
        return self


def load(name_or_path: str) -> Target:
    """The target in a file, or one of those shipped by its name. Raises `TargetRefused`."""
    shipped = SHIPPED / f"{name_or_path}.toml"
    file = shipped if shipped.is_file() else Path(name_or_path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        names = ", ".join(sorted(path.stem for path in SHIPPED.glob("*.toml")))
        raise TargetRefused(f"expected {names} or the path of a readable file, got {name_or_path!r}") from None
    return parse(text, file.name)


def parse(text: str, file: str) -> Target:
    """The target in a file's text. Raises `TargetRefused` with one line for each mistake."""
    try:
        return Target.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"line (\d+)", str(error))
        line = where[1] if where else len(text.splitlines())
        raise TargetRefused(f"{file}:{line}: not TOML: {error}") from None
    except ValidationError as error:
        lines = _line_numbers(text)
        raise TargetRefused(*(_mistake(file, lines, detail) for detail in error.errors(include_url=False))) from None


def _mistake(file: str, lines: Mapping[tuple[str, ...], int], detail: Any) -> str:
    place = tuple(str(step) for step in detail["loc"])
    known = next((place[:end] for end in range(len(place), 0, -1) if place[:end] in lines), ())
    where = f"{file}:{lines.get(known, 1)}: {'.'.join(place) + ': ' if place else ''}"
    message = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if detail["type"] == "missing":
        return f"{where}is missing"
    if detail["type"] == "extra_forbidden":
        return f"{where}is not known here"
    return f"{where}{message if message.startswith('expected') else 'expected ' + message}"


def _line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """The line of every table and key that begins a line; what is inside `{ … }` has the line of its key."""
    table: tuple[str, ...] = ()
    found: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER_LINE.match(line):
            table = tuple(_steps(header[1]))
            place = table
        elif key := _KEY_LINE.match(line):
            place = (*table, *_steps(key[1]))
        else:
            continue
        for end in range(1, len(place) + 1):
            found.setdefault(place[:end], number)
    return found


def _steps(keys: str) -> Iterator[str]:
    return (step.strip("\"'") for step in re.findall(_KEY, keys))
