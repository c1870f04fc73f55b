"""What a real sender does, found out by answering it in every way there is.

    script ─▶ what arrived ─▶ sightings ─▶ conclusions ─▶ proposal (settings for the kit)

`script` answers; everything after it is pure: requests in, words and settings out.
"""
