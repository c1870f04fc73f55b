"""A handler's secret may be in a file, as the kit's own may."""

import re
from pathlib import Path

import pytest
from pydantic_settings import EnvSettingsSource

from examples.handlers.audit_log.settings import AuditSettings
from examples.handlers.external_system.settings import ExternalSettings
from examples.handlers.teams import TeamsSettings
from receiver.environment import EnvSettings
from receiver.secret_files import SecretFiles, is_secret
from receiver.settings import ReceiverSettings
from worker.settings import WorkerSettings

CLASSES = (ReceiverSettings, WorkerSettings, TeamsSettings, AuditSettings, ExternalSettings)
SOUNDS_SECRET = re.compile(r"token|secret|password|username|client_id|_key$|(redis|database|webhook|anchor)_url$")
FIELDS = [(one, name) for one in CLASSES for name in one.model_fields if SOUNDS_SECRET.search(name)]


@pytest.mark.parametrize(("settings_class", "name"), FIELDS, ids=lambda value: getattr(value, "__name__", value))
def test_every_secret_may_be_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings_class: type[EnvSettings], name: str
) -> None:
    """Whatever sounds like a secret is one, and `NAME_FILE` names a file with its value."""
    assert is_secret(settings_class.model_fields[name])
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    monkeypatch.setenv(f"{name}_FILE".upper(), str(file))
    assert SecretFiles(settings_class, EnvSettingsSource(settings_class))() == {name: "s3cret"}


def test_no_secret_of_the_kit_sounds_like_none() -> None:
    """The list above has all of them."""
    listed = set(FIELDS)
    assert not [
        name
        for one in CLASSES
        for name, field in one.model_fields.items()
        if is_secret(field) and (one, name) not in listed
    ]
