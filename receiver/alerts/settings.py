"""The settings of alerts: where they go, and from where on something is trouble."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from receiver.alerts.teams import checked_url
from receiver.environment import EnvSettings, Seconds


class AlertSettings(EnvSettings):
    """Of receivers and workers alike, because either may be the one that alerts."""

    alerts_teams_url: Annotated[SecretStr | None, AfterValidator(lambda url: url and checked_url(url))] = Field(
        None,
        description="URL of the Teams workflow 'Send webhook alerts to a channel' that alerts go to; unset, they are "
        "log lines only",
    )
    alerts_every: Seconds = Field(15.0, ge=0.1, le=300, description="how often one process looks for problems")
    alerts_after: Seconds = Field(
        60.0,
        ge=0,
        description="how long a problem lasts before its alert: a restart takes seconds, a failover half a minute",
    )
    alerts_over_after: Seconds = Field(
        300.0,
        ge=0,
        description="how long a problem is gone before its alert is over; longer if it comes back, up to an hour",
    )
    alerts_oldest_ready: Seconds = Field(
        120.0, gt=0, description="age of the oldest event that could run: a burst of 50 000 is worked off in less"
    )
    alerts_spooled: Seconds = Field(
        300.0, gt=0, description="age of the oldest event in a spool: it drains within seconds once Redis is well"
    )
    alerts_disk_free: int = Field(
        512 << 20, ge=0, description="least free bytes on the disk of a spool: about half a million events"
    )
    alerts_redis_memory: float = Field(
        0.7, gt=0, le=1, description="share of maxmemory: above 0.6 the kit makes room, above 0.75 receivers spool"
    )
    alerts_silence: Seconds = Field(
        3 * 86400.0,
        gt=0,
        description="how long nothing may arrive, while fewer than two weeks are known to compare with; "
        "the default is a long weekend",
    )
    alerts_doctor: Seconds = Field(600.0, ge=1, description="how often a receiver runs the checks of `doctor`")
