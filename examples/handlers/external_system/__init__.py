"""A finished Work Order updates the external system (an ERP, a maintenance system): once, and never backwards.

    event ─▶ request (pure, from the target's file) ─▶ turn (order) ─▶ breaker ─▶ send ─▶ done

`EXTERNAL_TARGET` names the file that says what is sent where; `targets/` has three to start from, and
`python -m examples.handlers.external_system preview SAMPLE` shows the exact request before anything is sent.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from examples.handlers.external_system import order, request, target
from examples.handlers.external_system.auth import Authorizer
from examples.handlers.external_system.breaker import Breaker
from examples.handlers.external_system.order import Moment, Turn
from examples.handlers.external_system.send import Changed, Sender, TargetUnavailable
from receiver.settings import EnvSettings, Seconds, SettingsError, load
from worker import Context, Event, GiveUp, RetryLater

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_READINGS = 3  # times that a record is read anew because someone changed it meanwhile (412)
_SECRETS = {
    "none": (),
    "bearer": ("token",),
    "basic": ("username", "password"),
    "api_key": ("api_key",),
    "oauth2": ("client_id", "client_secret"),
}


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
    """Where the external system is, what it takes, and the secrets that its file does not hold."""

    external_url: Annotated[str, AfterValidator(_base_url)] = Field(
        description="base URL of the external system, such as https://erp.example.com"
    )
    external_target: str = Field(
        "generic_rest",
        description="generic_rest, sap_maintenance_order, servicenow, or the path of a target file of your own",
    )
    external_token: HeaderSecret | None = Field(None, description='bearer token, for auth.kind = "bearer"')
    external_username: SecretStr | None = Field(None, description='user, for auth.kind = "basic"')
    external_password: SecretStr | None = Field(None, description="and its password")
    external_api_key: HeaderSecret | None = Field(None, description='API key, for auth.kind = "api_key"')
    external_client_id: SecretStr | None = Field(None, description='OAuth2 client, for auth.kind = "oauth2"')
    external_client_secret: SecretStr | None = Field(None, description="and its secret")
    external_timeout: Seconds = Field(8.0, gt=0, le=25, description="longest wait for one answer of the target")
    external_breaker_failures: int = Field(
        5, ge=1, description="failures in a row after which the target is left alone for a while"
    )
    external_breaker_open: Seconds = Field(
        30.0,
        gt=0,
        le=300,
        description="how long at first; twice as long each time that it still fails, 5 minutes at most",
    )


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings and the target's file, read and checked together."""

    settings: ExternalSettings
    target: target.Target
    sender: Sender

    def breaker(self, ctx: Context) -> Breaker:
        key = f"{ctx.prefix}external:{self.target.name}:breaker"
        return Breaker(ctx.redis, key, self.settings.external_breaker_failures, self.settings.external_breaker_open)


def prepare(settings: ExternalSettings) -> Setup:
    """Raises `SettingsError` with one line for each mistake, those in the target's file with their line there."""
    try:
        chosen = target.load(settings.external_target)
    except target.TargetRefused as error:
        raise SettingsError(*(f"EXTERNAL_TARGET: {line}" for line in error.lines)) from None
    given = {name: getattr(settings, f"external_{name}") for names in _SECRETS.values() for name in names}
    needed = _SECRETS[chosen.auth.kind]
    missing = [f"EXTERNAL_{name.upper()}" for name in needed if given[name] is None]
    unused = [f"EXTERNAL_{name.upper()}" for name, secret in given.items() if secret is not None and name not in needed]
    kind = f'auth.kind = "{chosen.auth.kind}" of target {chosen.name}'
    if missing or unused:
        raise SettingsError(
            *(f"{variable}: is not set; {kind} needs it" for variable in missing),
            *(f"{variable}: is set, but {kind} does not use it; unset it or change the file" for variable in unused),
        )
    token_url = (chosen.auth.token_url or "").replace("{EXTERNAL_URL}", settings.external_url)
    authorizer = Authorizer(
        chosen.auth, {name: given[name] for name in needed}, token_url, timeout=settings.external_timeout
    )
    return Setup(settings, chosen, Sender(settings.external_url, chosen, authorizer, settings.external_timeout))


@lru_cache(maxsize=1)
def _setup() -> Setup:
    return prepare(load(ExternalSettings))


def configure() -> None:
    """Read settings and target once, at start. Raises `SettingsError` with one line for each mistake."""
    _setup.cache_clear()
    _setup()


async def update(event: Event, ctx: Context) -> None:
    """Send the Work Order's data to the external system, unless a later event did so already.

    An answer that never came is ambiguous: the retry carries the same idempotency key, or the record's ETag, so that
    a target that knows either applies it once.
    """
    setup = _setup()
    try:
        prepared = request.build(event, setup.target, ctx.idempotency_key)
    except request.Unmappable as error:
        raise GiveUp(str(error)) from None
    key = f"{ctx.prefix}external:{setup.target.name}:{prepared.work_order}"
    within = 4 * setup.settings.external_timeout  # token, lookup, conditions, update
    try:
        async with order.turn(ctx, key, Moment.of(event, ctx), within) as turn:
            await _apply(prepared, setup, turn, ctx)
    except TimeoutError:
        raise TargetUnavailable(f"the external system was not done within {within:g} s") from None


async def _apply(prepared: request.Prepared, setup: Setup, turn: Turn, ctx: Context) -> None:
    for _ in range(_READINGS):
        if await turn.stale():
            ctx.log.info("external system: stale update skipped", work_order=prepared.work_order)
            return
        try:
            status = await _guarded(prepared, setup, turn, ctx)
        except Changed:
            continue
        ctx.log.info("external system: updated", work_order=prepared.work_order, status=status)
        return
    raise TargetUnavailable(f"the record was changed by someone else {_READINGS} times while it was updated")


async def _guarded(prepared: request.Prepared, setup: Setup, turn: Turn, ctx: Context) -> int:
    """Send through the breaker, and tell it how the target is."""
    breaker = setup.breaker(ctx)
    probe = await breaker.admit()
    await turn.sending()
    try:
        status = await setup.sender.send(prepared, ctx.http)
    except TargetUnavailable:
        await breaker.failed(probe=probe)
        raise
    except RetryLater as later:
        await breaker.pause(later.seconds)
        raise
    except Changed:
        await breaker.succeeded()  # not what we wanted, but an answer
        raise
    except GiveUp:
        await turn.refused()
        await breaker.succeeded()
        raise
    await turn.accepted()
    await breaker.succeeded()
    return status
