"""HTTP in, queue out: what stands between Glartek and the queue.

    POST ─▶ endpoint ─▶ delivery ─▶ intake ══▶ arq queue

`endpoint.py` checks token and size, has the delivery stored and answers 200. `delivery.py` turns
headers and body into a value, `intake.py` stores it and its idempotency key in one atomic step. The worker
does the rest. This package imports neither `worker` nor `examples`.
"""

VERSION = "0.1.0"
"""Of the kit: what a process says of itself. pyproject.toml has the same."""
