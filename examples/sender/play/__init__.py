"""Plays Glartek: makes events and payloads, and sends them.

payloads (samples, edits), life_cycles (stories) ─▶ disorder ─▶ endpoints (webhooks, retries), storm (load)
"""
