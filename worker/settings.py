"""The settings of the worker and of `make run`."""

from pathlib import Path

from pydantic import Field

from receiver.environment import EnvSettings, Seconds
from receiver.settings import Settings
from worker.outcomes import Keep
from worker.retries import Policy


class WorkerSettings(Settings):
    """The worker's own."""

    handlers: str = Field("examples.handlers:ROUTES", description="the route table, as module:attribute")
    max_jobs: int = Field(100, ge=1, le=1000, description="deliveries handled at the same time by one worker")
    max_held_bytes: int = Field(
        256 << 20,
        ge=1 << 20,
        description="bytes of memory for the events that one worker holds at once, besides its own 60 MB and what your "
        "handlers take; an event that may need more is handled alone",
    )
    handler_timeout: Seconds = Field(30.0, gt=0, description="how long one run of a handler may take")
    retry_base: Seconds = Field(2.0, gt=0, description="the first wait before a retry is at most this; it doubles")
    retry_cap: Seconds = Field(3600.0, gt=0, description="no wait before a retry is longer, unless the target says so")
    max_tries: int = Field(40, ge=1, description="tries of one handler for one event before it is a dead letter")
    max_age: Seconds = Field(3 * 86400.0, gt=0, description="age at which a failing handler's event is a dead letter")
    keep_payloads: Seconds = Field(
        3600.0, description="how long a finished delivery's payload is kept for `replay --force`; 0 for not at all"
    )
    keep_payloads_bytes: int = Field(
        64 << 20, ge=0, description="bytes of them in Redis at most: the oldest go first, all of them where it is short"
    )
    remember_events: Seconds = Field(
        30 * 86400.0,
        description="how long it is remembered which events a Work Order or an Action had, for `gaps`, and which "
        "fields a type has, for `drift`; 0 for not at all",
    )
    lease: Seconds = Field(5.0, ge=1, le=60, description="how long a lost worker's jobs wait before another takes them")
    shutdown_grace: Seconds = Field(4.0, ge=0, description="how long running handlers may go on after SIGTERM")

    def policy(self) -> Policy:
        return Policy(self.retry_base, self.retry_cap, self.max_tries, self.max_age)

    def keep(self) -> Keep:
        return Keep(self.keep_payloads, self.keep_payloads_bytes)


class UpSettings(EnvSettings):
    """The settings of `make run` itself."""

    data_dir: Path = Field(Path(".data"), description="where `make run` keeps its data: queue, spool, token, audit log")
