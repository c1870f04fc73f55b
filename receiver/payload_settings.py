"""The settings that say how a body is read, and which deliveries are the same: all that `explain` and a test need."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from receiver import auth
from receiver.environment import EnvSettings, Words, Zone, comma_separated
from receiver.events import payload_file
from receiver.events.paths import Paths
from receiver.events.payload_file import PayloadMapError
from receiver.events.payload_map import PayloadMap
from receiver.idempotency import SIGNED_HEADERS, IdempotencyRule
from receiver.sources import words_of


def _places(value: tuple[str, ...] | None) -> Paths | None:
    if value is None:
        return None
    if not value:
        raise ValueError("expected at least 1 path, such as meta.eventId")
    return Paths(value)


Places = Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(comma_separated), AfterValidator(_places)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(comma_separated)]


class PayloadMapSettings(EnvSettings):
    """Where the payload map is: all that writing it needs."""

    payload_map: Path | None = Field(
        None, description="your payload.toml, which says where the fields of your payloads are; unset, the kit's own"
    )


class PayloadSettings(PayloadMapSettings):
    """How a body is read: all that `explain` and a preview need."""

    max_body_bytes: int = Field(
        1024 * 1024, ge=1024, description="largest body accepted, and largest once unpacked, in bytes"
    )
    event_id_paths: Places = Field(
        None, description="where the event id may be in the body, instead of the payload map's paths"
    )
    event_type_paths: Places = Field(None, description="the same for the event type")
    occurred_at_paths: Places = Field(None, description="the same for the event's time")
    payload_timezone: Zone | None = Field(
        None,
        description="zone of times without an offset, such as Europe/Lisbon, instead of the payload map's; without "
        "both, such times are not read",
    )
    idempotency_sources: Words = Field(
        ("event-id", "webhook-id", "cloudevents", "idempotency-key", "body"),
        min_length=1,
        description="where a delivery's idempotency key comes from: the first that is present",
    )

    @field_validator("idempotency_sources")
    @classmethod
    def _check_sources(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        sources = tuple(words_of(words))
        IdempotencyRule(sources)
        return sources

    @model_validator(mode="after")
    def _check_map(self) -> Self:
        try:
            _ = self.where
        except PayloadMapError as error:
            raise ValueError(f"PAYLOAD_MAP: {error}") from None
        return self

    @cached_property
    def where(self) -> PayloadMap:
        """Where the fields of a payload are: by the file, and by the settings that override it."""
        chosen = payload_file.read(self.payload_map) if self.payload_map else payload_file.ours()
        overrides = {
            "id": self.event_id_paths,
            "type": self.event_type_paths,
            "time": self.occurred_at_paths,
            "zone": self.payload_timezone,
        }
        given: dict[str, Any] = {name: value for name, value in overrides.items() if value}
        return replace(chosen, **given)

    def idempotency_rule(self) -> IdempotencyRule:
        """The idempotency rule that these settings describe."""
        return self._rule(signed=False)

    def _rule(self, *, signed: bool) -> IdempotencyRule:
        return IdempotencyRule(self.idempotency_sources, self.where, self.max_body_bytes, signed=signed)


class SignatureSettings(PayloadSettings):
    """Whether deliveries must be signed, which decides how they are told apart, too."""

    signing_secrets: Secrets = Field(
        (),
        description="whsec_… secrets; when set, every delivery must carry a Standard Webhooks signature, and headers "
        "that it does not cover are ignored",
    )

    @field_validator("signing_secrets")
    @classmethod
    def _check_secrets(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in secrets:
            auth.secret_key(secret.get_secret_value())
        return secrets

    @model_validator(mode="after")
    def _check_signed_sources(self) -> Self:
        signed = {f"header:{name}" for name in SIGNED_HEADERS}
        unsigned = [
            word for word in self.idempotency_sources if word.startswith("header:") and word.lower() not in signed
        ]
        if self.signing_secrets and unsigned:
            raise ValueError(
                f"IDEMPOTENCY_SOURCES: {unsigned[0]!r} is not covered by the signature that SIGNING_SECRETS asks for; "
                "expected webhook-id, event-id, body:<path>, body-without:<path> or body"
            )
        return self

    def idempotency_rule(self) -> IdempotencyRule:
        """The rule that these settings describe; of a signed delivery only what is signed counts."""
        return self._rule(signed=bool(self.signing_secrets))
