"""Tells people of trouble, in Teams and in the log: for a plant that has no Prometheus.

    figures ─▶ troubles ─▶ book: since when? told already? over? ─▶ news ─▶ log line, and a card in Teams

One process alerts at a time, the one that has a lease in Redis: a worker, or a receiver while no worker is alive, which
no worker could tell. What was told is in Redis, so that a restart repeats nothing. While Redis is away each receiver's
host tells that by itself, and remembers it in a file beside its spool.

| module | what it does |
|---|---|
| `settings` | where cards go, and the thresholds |
| `troubles` | which troubles the figures show: pure |
| `silence` | whether it is strange that nothing arrives, by what came in the weeks before |
| `book` | which troubles are news, and which alerts are over: pure |
| `unsafe` | what `doctor` finds unsafe at a receiver |
| `store` | the lease and the book, in Redis or beside a spool |
| `card`, `teams` | the message, and its way to Teams |
| `alerting` | all of it, every few seconds |

The names are those of the rules in `deploy/prometheus/rules.yml`, so that docs/operations.md has one page for each.
"""
