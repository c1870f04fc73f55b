"""Glartek's best practices as an executable report against any receiver.

    bench ─▶ answers, duplicates, bad_input, connections, idle, load, effects, restart ─▶ findings ─▶ reports

Each check is one coroutine that uses the bench and says what it saw; `@check` gives it its name, how likely Glartek is
to do what it does, what Glartek would do next when it fails, and how to mend that. `advice` replaces the last where
something else is to blame.
"""
