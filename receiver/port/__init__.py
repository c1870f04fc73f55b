"""The guard of the public port: limits on connections, memory and time, which also hold for requests without a token.

    connection ─▶ connections.py     how many connections, and how long one may be idle
    its bytes  ─▶ protocol.py        uvicorn's HTTP protocol, with a size limit and a deadline for every head
    its body   ─▶ framing.py         as long as its head says, or refused
               ─▶ bodies.py          a memory limit for the bodies of all requests, and a deadline for each

It depends on HTTP only: not on deliveries, Redis or settings.
"""
