"""The queue in Redis: what a job is, its states, and the script that makes each step. It depends neither on HTTP nor on
handlers, and imports nothing from other packages of the kit.

A **job** is a function call to make, in arq's layout (`jobs.py`): its data at `arq:job:<id>`, its id in the sorted set
`<p>queue` with its due time as score. There are two functions: `deliver`, with a delivery, runs every handler that the
event is routed to; `retry`, with a delivery and a handler, runs that handler. A job's id is never reused.

| a job | is stored in | moved there by |
|---|---|---|
| waiting | `<p>queue`, by due time, in order of acceptance | `accept`, `record`, `replay`, `finish`, `adopt` |
| running | `<p>leases`, by expiry of its lease; its token at `arq:in-progress:<id>` | `claim`, then `renew` |
| lost with its worker | the same, with an expired lease | the next `claim` takes it first, and counts a crash |
| ended | nowhere | `finish` |

A **delivery** has a record, `<p>delivery:<id>`, from `accept` on. The record detects duplicates; `record` writes each
handler's outcome into it. It expires after its last handler has ended.

| a delivery's handler | is stored as | written by |
|---|---|---|
| not run yet | no field of its name in the record | `accept`, which writes record and job |
| waiting for earlier events | `retry 0` in the record, a place in a line, and a job | `claim` (place), `record` (job) |
| first of its line | the same, with its job due | `record`, `turn`, `drop` |
| waiting for another try | `retry <attempt>` in the record, and a job; it stays in its line | `record`, `replay` |
| done, skipped | a field in the record | `finish` where all succeed at once in a first run, else `record` |
| dead | a field in the record, and a dead letter in `<p>dead` | `record`; `bury` if the job is not the kit's |
| dropped | removed from `<p>dead` | `drop` |

A conflict (a known idempotency key with a different body) becomes a dead letter in `accept`. Nine scripts move no job:
`turn` tells whether a delivery is the first of its line and the rate allows a start; `letters`, `move` and `yield`
make room; `shadow` counts what candidates for the idempotency key would have done, `fields` which fields a type has;
`tally` and `figures` write and read the metrics; `alerts` lets one process alert at a time. docs/states.md has a
picture of these states.

Three rules make every step idempotent. Each script is atomic, and gives the same answer when it is called again,
because a reply may be lost. A worker acts on a job under its fencing token, so a worker that has lost its lease changes
nothing. The step that removes data comes last: a job leaves the queue after it is in the leases, and a record is
written after its job.

`connection` connects, and waits while Redis is away; `scripts` runs a script, with `prelude.lua` in front of each and
`duplicates.lua` in front of `accept`; `batching` groups calls; `keys` lists every key and its lifetime; `permissions`
lists what a Redis user needs; `letters` and `room` keep payloads of dead letters from filling Redis; `watermark`
detects a Redis that lost its data; `valkey` is the embedded server.
"""
