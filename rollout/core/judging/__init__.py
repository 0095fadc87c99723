"""The judge's parts: what it remembers, and what that amounts to for a rate, a latency or a score."""
