"""HTTP in, queue out: what stands between Glartek and the queue.

    POST ─▶ endpoint ─▶ delivery ─▶ intake ══▶ arq queue

`endpoint.py` checks token and size, has the delivery stored and answers 200. `idempotency.py` makes a value of headers
and body, a `Delivery`, with its key; `intake.py` stores both in one atomic step, in Redis or in the spool. The worker
does the rest. This package imports neither `worker` nor `examples`.
"""

VERSION = "0.1.0"
"""Of the kit: what a process says of itself. pyproject.toml has the same."""
