"""Reads flags through LaunchDarkly's SDK, which buckets users exactly as LaunchDarkly does."""

from __future__ import annotations

from rollout.integrations.evaluator.fileflags import FlagFileReader
from rollout.integrations.evaluator.stream import FlagStreamReader

__all__ = ["FlagFileReader", "FlagStreamReader"]
