"""The external system's settings, and its target's module: read at start, every mistake one line."""

import importlib
import pkgutil
import re
import traceback
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from examples.handlers.external_system import targets
from examples.handlers.external_system.auth import Secrets
from examples.handlers.external_system.session import Link
from examples.handlers.external_system.target import Target
from worker import EnvSettings, Seconds, SettingsError

_SECRETS = ("token", "username", "password", "api_key", "client_id", "client_secret")
_HERE = Path(__file__).parent
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
SHIPPED = sorted(module.name for module in pkgutil.iter_modules(targets.__path__))


def _base_url(value: str) -> str:
    try:
        url = urlsplit(value)
        secure = url.scheme == "https" or (url.scheme == "http" and url.hostname in _LOOPBACK)
    except ValueError:
        secure = False
    if not secure or not url.hostname or url.query or url.fragment:
        raise ValueError("expected a URL such as https://erp.example.com (http only for 127.0.0.1)")
    return value.rstrip("/")


def _header_value(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("expected printable ASCII, as a header holds it")
    return value


HeaderSecret = Annotated[SecretStr, AfterValidator(_header_value)]


class ExternalSettings(EnvSettings):
    """Where the external system is, what it takes, and the secrets that its module asks for."""

    external_url: Annotated[str, AfterValidator(_base_url)] = Field(
        description="base URL of the external system, such as https://erp.example.com"
    )
    external_target: str = Field(
        "generic_rest", description=f"{', '.join(SHIPPED)}, or a module of your own such as acme.target"
    )
    external_token: HeaderSecret | None = Field(None, description="bearer token, for auth=bearer")
    external_username: SecretStr | None = Field(None, description="user, for auth=basic")
    external_password: SecretStr | None = Field(None, description="and its password")
    external_api_key: HeaderSecret | None = Field(None, description="API key, for auth=api_key(…)")
    external_client_id: SecretStr | None = Field(None, description="OAuth2 client, for auth=oauth2(…)")
    external_client_secret: SecretStr | None = Field(None, description="and its secret")
    external_timeout: Seconds = Field(8.0, gt=0, le=25, description="longest wait for one answer of the target")
    external_breaker_failures: int = Field(
        5, ge=1, description="failures in a row after which nothing is sent for a while (circuit breaker)"
    )
    external_breaker_open: Seconds = Field(
        30.0,
        gt=0,
        le=300,
        description="how long at first; twice as long each time that it still fails, 5 minutes at most",
    )


def prepare(settings: ExternalSettings, *, shown: bool = False) -> Link:
    """The target that the settings name; where it is only `shown`, every secret is `***` and none need be set.

    Raises `SettingsError` with one line for each mistake.
    """
    target = _load(settings.external_target)
    given = {name: SecretStr("***") if shown else getattr(settings, f"external_{name}") for name in _SECRETS}
    secrets = Secrets(settings.external_url, given)
    auth = target.auth(secrets)
    wrong = []
    for name, secret in given.items():
        if secret is None and name in secrets.asked:
            wrong.append(f"EXTERNAL_{name.upper()}: is not set; target {target.name} needs it")
        if secret is not None and name not in secrets.asked and not shown:
            wrong.append(f"EXTERNAL_{name.upper()}: is set, but target {target.name} does not use it; unset it")
    if wrong:
        raise SettingsError(*wrong)
    return Link(target, settings, auth, [secrets(name) for name in sorted(secrets.asked)])


def _load(name: str) -> Target:
    """The `TARGET` of a module, or of one that ships by its short name. Raises `SettingsError`."""
    module = f"{targets.__name__}.{name}" if name in SHIPPED else name
    expected = f"EXTERNAL_TARGET: expected {', '.join(SHIPPED)} or a module of your own such as acme.target"
    if not re.fullmatch(r"\w+(\.\w+)*", module):
        raise SettingsError(f"{expected}, got {name!r}")
    try:
        found = getattr(importlib.import_module(module), "TARGET", None)
    except Exception as error:  # noqa: BLE001 - whatever somebody's module does when it is imported
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise SettingsError(f"{expected}; there is no module {error.name!r} in {Path.cwd()}") from None
        raise SettingsError(f"EXTERNAL_TARGET: {_where(error)}: {type(error).__name__}: {error}") from None
    if not isinstance(found, Target):
        raise SettingsError(f"EXTERNAL_TARGET: {module!r} has no TARGET; expected TARGET = Target(name=…, …) in it")
    return found


def _where(error: Exception) -> str:
    """`file:line` of what was being imported: neither Python's importing nor what the module called of this package."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    frames = [
        f"{frame.filename}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.endswith(".py")
        and Path(frame.filename).parent not in {_HERE, Path(importlib.__file__).parent}
    ]
    return frames[-1] if frames else "its import"
