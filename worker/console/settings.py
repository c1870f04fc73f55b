"""The console's settings."""

from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from receiver.environment import EnvSettings, Words, load
from receiver.settings import Settings
from worker.masking import Mask, checked

_SHORTEST = 16  # characters of a password


def _password(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < _SHORTEST:
        raise ValueError(
            f"expected at least {_SHORTEST} characters; make one with: "
            "python -c 'import secrets; print(secrets.token_urlsafe(24))'"
        )
    return value


Password = Annotated[SecretStr, AfterValidator(_password)]


class ConsoleSettings(Settings):
    """The console's own."""

    console_host: str = Field(
        "127.0.0.1", description="address of the console; on any other than loopback its pages need CONSOLE_PASSWORD"
    )
    console_port: int = Field(8001, ge=0, le=65535, description="port of the console, which has `/metrics`")
    console_password: Password | None = Field(
        None, description="password to see all of the console, replay and drop; any user name is taken, and logged"
    )
    console_reader_password: Password | None = Field(None, description="password to look only")
    console_mask: Annotated[Words | None, AfterValidator(checked)] = Field(
        None, description="payload paths hidden in the console, such as actor.name; unset, those of AUDIT_MASK"
    )

    @property
    def is_on_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.console_host)

    def masks(self) -> tuple[str, ...]:
        """The paths that are hidden. Raises `SettingsError`."""
        return load(_AuditMask).audit_mask if self.console_mask is None else self.console_mask


class _AuditMask(EnvSettings):
    """What the audit log hides: nobody should have to say it twice, nor see here what is hidden there."""

    audit_mask: Mask = ()


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own, and no other's."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
