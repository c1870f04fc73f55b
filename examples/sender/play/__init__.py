"""Plays Glartek: which events happen, what their payloads say, and where they go.

payloads (samples, edits), life_cycles (stories) ─▶ disorder ─▶ endpoints (webhooks, retries), storm (load)
"""
