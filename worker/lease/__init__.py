"""arq's worker with a lease: nothing it claims is lost, and nothing it lost is finished twice.

`worker` is the subclass of arq's Worker, `calls` runs a claimed job as arq means it, `claims` is what it asks of Redis.
It knows jobs, not events, and imports nothing of this package's neighbours.
"""
