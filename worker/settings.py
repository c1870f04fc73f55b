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
    retry_base: Seconds = Field(2.0, gt=0, description="longest wait before the first retry; it doubles with each one")
    retry_cap: Seconds = Field(
        3600.0, gt=0, description="longest wait before any retry, unless the target asks for more"
    )
    max_tries: int = Field(40, ge=1, description="tries of one handler for one event before it is a dead letter")
    max_age: Seconds = Field(
        3 * 86400.0, gt=0, description="how long a failing handler is tried again after its first run"
    )
    keep_payloads: Seconds = Field(
        3600.0, description="how long a finished delivery's payload is kept for `replay --force`; 0 for not at all"
    )
    keep_payloads_bytes: int = Field(
        64 << 20,
        ge=0,
        description="most bytes of them in Redis: the oldest are deleted first, more where Redis is short",
    )
    remember_events: Seconds = Field(
        30 * 86400.0,
        description="how long the events that a Work Order or an Action had (`gaps`) and the fields of each type "
        "(`drift`) are remembered; 0 for not at all",
    )
    lease: Seconds = Field(5.0, ge=1, le=60, description="how long the jobs of a worker that died wait for another")
    shutdown_grace: Seconds = Field(4.0, ge=0, description="how long running handlers may go on after SIGTERM")

    def policy(self) -> Policy:
        return Policy(self.retry_base, self.retry_cap, self.max_tries, self.max_age)

    def keep(self) -> Keep:
        return Keep(self.keep_payloads, self.keep_payloads_bytes)


class UpSettings(EnvSettings):
    """The settings of `make run` itself."""

    data_dir: Path = Field(Path(".data"), description="where `make run` keeps its data: queue, spool, token, audit log")
