"""HTTP on both sides: a POST as Glartek makes it, one by hand, and a receiver that records what arrives.

message ─▶ delivery (an ordinary client), wire (byte by byte)      arrivals ◀─ answering ◀─ recording
"""
