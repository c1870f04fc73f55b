"""HTTP on both sides: a POST as Glartek makes it, a low-level client, and a receiver that records what arrives.

message ─▶ delivery (an ordinary client), wire (byte by byte)      arrivals ◀─ answering ◀─ recording
"""
