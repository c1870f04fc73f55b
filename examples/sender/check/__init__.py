"""Glartek's best practices as an executable report against any receiver.

    bench ─▶ answers, duplicates, bad_input, connections, load, effects ─▶ findings ─▶ reports

Each check is one coroutine that uses the bench and says what it saw; `@check` gives it its name, what Glartek would
do next when it fails, and how to mend that.
"""
