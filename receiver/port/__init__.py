"""The guard of the public port: what a stranger may take of this process before the token has been checked, and after.

    connection ─▶ connections.py     how many, for how long: the idle ones are closed first
    its bytes  ─▶ protocol.py        uvicorn's HTTP protocol, with a budget and a deadline for every head
    its body   ─▶ bodies.py          memory for the bodies of all requests, and a deadline for each

It knows HTTP, and nothing of deliveries, Redis or settings.
"""
