"""Orphan branches that only rollout writes to: built of git's objects alone, pushed and never forced."""
