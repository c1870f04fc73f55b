"""`NAME_FILE`: a secret's value in a file, as Docker, Kubernetes and systemd provide credentials."""

from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource


class SecretFiles(PydanticBaseSettingsSource):
    """The values of the secret settings whose `NAME_FILE` is set in the environment or in `.env`.

    A final line break is not part of the value; an empty file counts as not set.
    """

    def __init__(self, settings_class: type[BaseSettings], *named: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_class)
        self._named = [source for source in named if isinstance(source, EnvSettingsSource)]

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, _, _ = self.get_field_value(field, name)
            if value:
                found[name] = value
        return found

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The text of the field's file, if the field is a secret and has one."""
        variable = f"{self.config.get('env_prefix', '')}{field_name}_file"
        path = next((named for source in self._named if (named := source.env_vars.get(variable.lower()))), None)
        if path is None or not is_secret(field):
            return None, field_name, False
        return value_in(variable.upper(), path), field_name, False


class SecretFileError(Exception):
    """A file that cannot be read. The message is one line with the variable's name, without the file's content."""

    def __init__(self, variable: str, path: str, error: OSError | UnicodeDecodeError) -> None:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        super().__init__(f"{variable}: {path!r} cannot be read ({why}); expected a file that holds the value alone")


def value_in(variable: str, path: str) -> str:
    """The text of the file at `path`, without final line breaks. Raises `SecretFileError`, which names `variable`."""
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SecretFileError(variable, path, error) from None


def is_secret(field: FieldInfo | None) -> bool:
    """Whether a setting's value must not be shown; an unknown setting counts as secret."""
    return field is None or "Secret" in str(field.annotation)
