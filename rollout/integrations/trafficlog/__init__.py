"""The embedded traffic log: one SQLite row a request, written by gateways and read as a metric source.

Several gateways of one machine may share a file. Ids are given out inside the one write transaction that SQLite
allows at a time, so they become visible in order, and the highest id is an edge that no later row falls behind.
"""

from __future__ import annotations

from rollout.integrations.trafficlog.recorder import TrafficLogRecorder
from rollout.integrations.trafficlog.retention import Retention
from rollout.integrations.trafficlog.source import TrafficLog
from rollout.integrations.trafficlog.summaries import FeedbackCounts, ServedCounts

__all__ = ["FeedbackCounts", "Retention", "ServedCounts", "TrafficLog", "TrafficLogRecorder"]
