"""The queue in Redis: what a job is, which states it has, and which script makes each step. It knows neither HTTP nor
handlers, and imports nothing of its neighbours.

A **job** is a call that waits to be made, in arq's layout (`jobs.py`): its data at `arq:job:<id>`, its id in the sorted
set `<p>queue` by the time at which it is due. Two functions are called: `deliver` with a delivery, which runs every
handler that its event is routed to, and `retry` with a delivery and one handler. A job's id is never used twice.

| a job | is where | gets there by |
|---|---|---|
| waits | `<p>queue`, by due time, in order of acceptance | `accept`, `record`, `replay`, `finish`, `adopt` |
| runs | `<p>leases`, by when its lease ends; its token at `arq:in-progress:<id>` | `claim`; `renew` keeps it there |
| is lost with its worker | the same, its lease run out | the next `claim` takes it first, and counts a crash |
| has ended | nowhere | `finish` |

A **delivery** has a record, `<p>delivery:<id>`, from `accept` on: it is what drops duplicates, and where each handler's
outcome is written by `record`. It expires once nothing of it is open.

| a delivery's handler | is where | gets there by |
|---|---|---|
| is to be run | its record has no field of its name | `accept`, which writes record and job |
| waits for its turn | `retry 0` in the record, its place in a line, and a job | `claim` (place), `record` (job) |
| is called | the same, its job due | `record`, `turn`, `drop` |
| waits for another try | `retry <attempt>` in the record, and a job; still in its line | `record`, `replay` |
| done, skipped | in the record | `record` |
| dead | in the record, and a dead letter in `<p>dead` | `record`; `bury` where the job is not the kit's |
| dropped | gone from `<p>dead` | `drop` |

A conflict, other bytes under a key that was taken, becomes a dead letter in `accept`. Four scripts make no
such step: `turn` tells whether it is a delivery's turn; `letters`, `move` and `yield` make room. docs/states.md is a
picture of all this.

Three rules make every step safe to repeat. A script is one atomic step, and gives the same answer when it is asked
again, because a reply may be lost. Whoever holds a job acts under its claim's token: a worker that was overtaken
changes nothing. What would lose data if it came first comes last: a job leaves the queue once it is among the leases, a
record is written once its job is there.

`connection` connects, and waits for a Redis that is away; `scripts` runs a script; `batching` lets calls travel
together; `keys` names every key, with its lifetime; `permissions` is what a Redis user needs; `letters` and `room` keep
payloads of dead letters out of the way of live work; `watermark` notices a Redis that lost its data; `valkey` is the
embedded server.
"""
