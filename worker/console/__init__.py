"""The private server: what operators and their machines look at. `python -m worker console`.

It listens on a port of its own, on loopback unless told otherwise, and never on the public one. It only reads Redis:
any number of consoles may run, none has to.

| module | what it does |
|---|---|
| `settings` | where it listens |
| `metrics` | `/metrics`, made from that |
| `app` | the application: every path that it answers, and the process that serves it |
"""
