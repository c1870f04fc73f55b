"""Finds out how a real sender behaves, by answering it in every way.

    script ─▶ requests ─▶ sightings ─▶ conclusions ─▶ proposal (settings for the kit)

`script` answers; everything after it is pure functions from requests to text and settings.
"""
