"""Every Redis key and its lifetime, with the reason.

Keys of the kit, the queue included, start with `KEY_PREFIX`, so that two systems can share a Redis. arq's keys of a job
keep arq's names, so that arq's tools and a stock arq worker with the queue's name understand them. Scripts use several
keys at once, so Redis Cluster is not supported; one Redis or Valkey with replicas (Sentinel, a managed service) is.

| key | type | holds | lives |
|---|---|---|---|
| `<p>queue` | zset | waiting jobs by due time (ms) | until claimed |
| `<p>queue:health-check` | string | arq's health check of a worker | 6 s, renewed every 5 |
| `<p>delivery:<id>` | hash | one delivery's record (below) | while work is open, then the dedupe window |
| `<p>attempts:<id>` | list | the last 100 attempts with a reason: handler, number, time, state | as its record |
| `<p>trace:<id>` | hash | where each handler failed last: files and lines, no values | the dedupe window after it |
| `<p>payload:<id>` | string | a finished delivery's job, for `replay` | KEEP_PAYLOADS after the last outcome, or less |
| `<p>kept` | list | these payloads, oldest first: id, bytes, expiry time (ms) | until there are too many bytes |
| `<p>kept-bytes` | string | the sum of the list's bytes, expired ones included | as the list |
| `<p>dead` | zset | ids of dead letters and conflicts, by time | for ever: only `dead drop` and `replay` remove |
| `<p>dead:<id>` | hash | one dead letter: payload (`letters.py`), reason, tries, times | as its entry in `<p>dead` |
| `<p>notes` | hash | what people noted of a group of dead letters, by its id | for ever, the last 1000 |
| `<p>folders` | hash | the folders that dead letters' payloads were moved to: host and path by name | for ever |
| `<p>wanted:<folder>` | set | files of a folder that a command has asked for | until its receiver has answered |
| `<p>recalled:<folder>/<file>` | string | the answer: the content of the file | a minute |
| `<p>unneeded:<folder>` | set | files of a folder whose dead letter was replayed or dropped | until they are removed |
| `<p>leases` | zset | running jobs, by expiry of their lease on the lease clock | while running |
| `<p>crashes` | hash | how often a running job's worker was lost | while the job exists |
| `<p>claimed:<worker>` | string | the token of a worker's last claim, to repeat a lost reply | an hour |
| `<p>lease-clock` | hash | the lease clock, which stops while Redis or all workers are away | for ever |
| `<p>order` | string | the last score; scores rise strictly, in order of acceptance | for ever |
| `<p>life` | string | a random name for this Redis's data: another name means other data | for ever |
| `<p>lost` | string | when and how Redis lost its data, for `doctor` | 7 days |
| `<p>wake` | list | each entry wakes a waiting worker at once; at most 32 | until popped |
| `<p>worker:<id>` | string | what a running worker reports of itself, for `doctor` | 15 s, renewed every 5 |
| `<p>counts` | hash | accepted, duplicates, conflicts, and `<handler> done`, `skipped` or `dead` | for ever |
| `<p>metrics` | hash | counts and durations for `/metrics`, which only rise (below) | for ever |
| `<p>metrics:<n>` | hash | the counts of ten minutes, for `status`: those fields that scripts count | 26 h |
| `<p>processes` | hash | what each process reports of itself: time (ms), number, JSON | until it ends, or a minute |
| `<p>alerts` | string | which alerts are open, what waits to be sent (`receiver/alerts/book.py`) | for ever |
| `<p>alerting` | string | the process that alerts at the moment | three times ALERTS_EVERY and 10 s, renewed |
| `<p>hours` | hash | events accepted in each full hour, by hours since 1970 | five weeks |
| `<p>recent` | list | keys of the records accepted last, 10 000 to 20 000 | for ever |
| `<p>doubtful` | list | the last duplicates known by content alone, oldest first | 7 days after the last, or less |
| `<p>doubtful-bytes` | string | the sum of the list's bytes | as the list |
| `<p>shadow` | hash | what SHADOW_SOURCES would have done: counts by candidate, examples | 30 days after the last |
| `<p>shadow:<n>` | hash | the deliveries and keys that this is told by: two, of 100 000 each | 24 h after the last |
| `<p>seen` | zset | `<type> <id>` of Work Orders and Actions by time, 100 000 at most, for `gaps` | REMEMBER_EVENTS |
| `<p>types` | zset | types whose fields are counted, by time, 40 at most, for `drift` | REMEMBER_EVENTS from its last |
| `<p>fields:<type>` | hash | the fields of a type, 300 at most: samples that had them, redacted example | as its type |
| `<p>turn:<handler>:<subject>` | zset | deliveries in line at a handler, by place in the queue | until they leave it |
| `<p>turn:<handler>` | zset | the same, for a handler with one line for all its events | until they leave it |
| `<p>pace:<handler>` | zset | past and reserved starts of a handler with a rate, by time (ms) | its longest time |
| `arq:job:<job>` | string | the job, in msgpack | no expiry: arq's 24 h would lose a queue over a weekend |
| `arq:in-progress:<job>` | string | the token of the claim that runs the job | no expiry: the lease ends it |
| `arq:retry:<job>` | string | how often the job was started | while the job exists |
| `arq:queue` | zset | jobs that version 0.1 queued, moved to `<p>queue` | until a worker finds them |

Fields of a delivery's record are single letters because there are millions of them: `k` idempotency key, `s` its
source (`event-id` if absent), `d` first 16 bytes of the body's SHA-256, `a` accepted at (µs), `t` event type, `q`
when it was written (Unix ms), where that was over 5 s after `a`: it waited in a spool, `n` duplicates dropped, `l`
when the last ten of them came (Unix ms), `c` conflicts kept, `u` subject (until the event is routed). A handler's
outcome is in a field with the handler's name (which always has a dot): `<state> <attempt> <ms after a>`, where the
state is done, skipped, retry or dead; an unknown state of a later version counts as an end, like done.

Fields of `<p>metrics` are words. `accept` counts `accepted <type>`, `duplicates <type> <source>` and `conflicts <type>
<source>`; `record` and `finish` count `ended <handler> <state> <type>` (a retry is `failed` or `asked`), `record` and
`bury` count `dead <handler> <reason>`; these are in `<p>metrics:<n>`, too, except what `bury` counts. `tally` adds what
each process counts: `refused <status>`, `spooled`, `log_lines_dropped <process>`, `seen <type>` (Unix time), and the
histograms `to_start`, `to_done <handler>` and `run <handler>`, each with the number of a bucket, or `us` for the sum of
all (µs). A type is one of the catalog's or `other`, so the number of fields has a bound.
"""

from dataclasses import dataclass

OLD_QUEUE = "arq:queue"
"""The queue of version 0.1, for any prefix; workers take over the jobs of their own prefix."""
JOB = "arq:job:"
IN_PROGRESS = "arq:in-progress:"
RETRY = "arq:retry:"


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of the kit's own keys under one prefix."""

    prefix: str

    def delivery(self, delivery_id: str) -> str:
        return f"{self.prefix}delivery:{delivery_id}"

    def attempts(self, delivery_id: str) -> str:
        return f"{self.prefix}attempts:{delivery_id}"

    def trace(self, delivery_id: str) -> str:
        return f"{self.prefix}trace:{delivery_id}"

    def payload(self, delivery_id: str) -> str:
        return f"{self.prefix}payload:{delivery_id}"

    def dead_letter(self, dead_letter_id: str) -> str:
        return f"{self.prefix}dead:{dead_letter_id}"

    def retry_job_id(self, delivery_id: str, handler: str, attempt: int) -> str:
        """The id of the job after a handler's attempt. It includes the prefix, because arq's keys of a job do not.

        Two systems on one Redis may get the same event from one Glartek. Without the prefix, one system's worker would
        end the other's job and delete its payload. prelude.lua makes these ids too.
        """
        return f"{delivery_id}:{handler}:{attempt}:{self.prefix}"

    def line(self, handler: str, subject: str | None = None) -> str:
        """The line of one subject at a handler, or the one line of all its events."""
        return f"{self.prefix}turn:{handler}" if subject is None else f"{self.prefix}turn:{handler}:{subject}"

    def pace(self, handler: str) -> str:
        return f"{self.prefix}pace:{handler}"

    def worker(self, worker_id: str) -> str:
        return f"{self.prefix}worker:{worker_id}"

    def claimed(self, worker: str) -> str:
        return f"{self.prefix}claimed:{worker}"

    def wanted(self, folder: str) -> str:
        return f"{self.prefix}wanted:{folder}"

    def unneeded(self, folder: str) -> str:
        return f"{self.prefix}unneeded:{folder}"

    def recalled(self, place: str) -> str:
        return f"{self.prefix}recalled:{place}"

    @property
    def notes(self) -> str:
        return f"{self.prefix}notes"

    @property
    def folders(self) -> str:
        return f"{self.prefix}folders"

    @property
    def kept(self) -> str:
        return f"{self.prefix}kept"

    @property
    def kept_bytes(self) -> str:
        return f"{self.prefix}kept-bytes"

    @property
    def queue(self) -> str:
        return f"{self.prefix}queue"

    @property
    def dead(self) -> str:
        return f"{self.prefix}dead"

    @property
    def leases(self) -> str:
        return f"{self.prefix}leases"

    @property
    def crashes(self) -> str:
        return f"{self.prefix}crashes"

    @property
    def lease_clock(self) -> str:
        return f"{self.prefix}lease-clock"

    @property
    def order(self) -> str:
        return f"{self.prefix}order"

    @property
    def life(self) -> str:
        return f"{self.prefix}life"

    @property
    def lost(self) -> str:
        return f"{self.prefix}lost"

    @property
    def wake(self) -> str:
        return f"{self.prefix}wake"

    @property
    def recent(self) -> str:
        return f"{self.prefix}recent"

    @property
    def doubtful(self) -> str:
        return f"{self.prefix}doubtful"

    @property
    def shadow(self) -> str:
        return f"{self.prefix}shadow"

    @property
    def seen(self) -> str:
        return f"{self.prefix}seen"

    @property
    def types(self) -> str:
        return f"{self.prefix}types"

    def fields(self, event_type: str) -> str:
        return f"{self.prefix}fields:{event_type}"

    @property
    def counts(self) -> str:
        return f"{self.prefix}counts"

    @property
    def metrics(self) -> str:
        return f"{self.prefix}metrics"

    def metrics_of(self, ten_minutes: int) -> str:
        """What was counted in the ten minutes that began at this many of them after 1970."""
        return f"{self.metrics}:{ten_minutes}"

    @property
    def processes(self) -> str:
        return f"{self.prefix}processes"

    @property
    def alerts(self) -> str:
        return f"{self.prefix}alerts"

    @property
    def alerting(self) -> str:
        return f"{self.prefix}alerting"

    @property
    def hours(self) -> str:
        return f"{self.prefix}hours"
