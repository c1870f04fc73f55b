"""arq's worker with leases: no claimed job is lost, and a job whose lease was lost is not finished twice.

`worker` is the subclass of arq's Worker, `calls` runs a claimed job with arq's semantics, `claims` has its calls to
Redis. This package depends on jobs, not on events, and imports only `receiver.queue`.
"""
