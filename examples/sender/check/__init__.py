"""Glartek's best practices as an executable report against any receiver.

    context ─▶ answers, duplicates, bad_input, connections, idle, load, effects, restart ─▶ findings ─▶ reports

Each check is a coroutine that uses the context and returns what it saw. `@check` adds a title, how likely Glartek is to
send such requests, what Glartek does after a failure, and how to fix the receiver. `advice` replaces the last if the
failure has another cause.
"""
