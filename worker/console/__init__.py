"""The private server: what operators and their machines look at. `python -m worker console`.

It listens on a port of its own, on loopback unless told otherwise, and never on the public one. Any number of consoles
may run, none has to. All that a page shows is in Redis, and each page says how much of that it looked at.

| module | what it does |
|---|---|
| `settings` | where it listens, passwords, what is hidden |
| `access` | the gate in front of every page: who may see, who may change |
| `page` | templates, forms, and what every page has |
| `payload` | the one place through which a payload gets onto a page or into a search, masked |
| `overview`, `chart` | the first page: counts, latencies, what waits, processes, `doctor` |
| `deliveries`, `delivery_pages` | deliveries, newest first; one with its whole way |
| `chosen`, `dead_pages`, `comparison` | dead letters in groups and one by one; a conflict beside what came first |
| `runs`, `run_pages` | what is done to many of them, with a preview and with progress |
| `saved_test` | a dead letter as a redacted sample and a pytest |
| `live` | tells a page that something has changed |
| `metrics` | `/metrics`, made from that |
| `app` | the application: every path that it answers, and the process that serves it |
"""
