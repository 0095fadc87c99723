"""Bodies as Alertmanager's webhook sends them, made from its documented template."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

ENDLESS = "0001-01-01T00:00:00Z"
"""What Alertmanager says as the end of an alert that still fires."""


def alert(
    adapter: str = "bot",
    *,
    began: datetime,
    name: str = "RolloutCandidateErrors",
    environment: str = "prod",
    version: str | None = "1.1.0",
    served: str | None = None,
    status: str = "firing",
    summary: str = "errors burn the budget 20 times too fast",
    **labels: str,
) -> dict[str, Any]:
    """One alert of a body."""
    named = {"adapter": adapter, "environment": environment, "version": version, "served": served}
    said = {"alertname": name, "severity": "critical", **{k: v for k, v in named.items() if v is not None}}
    said |= labels
    return {
        "status": status,
        "labels": said,
        "annotations": {"summary": summary, "runbook": "rollout runbook candidate-errors"},
        "startsAt": began.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "endsAt": ENDLESS,
        "generatorURL": "http://prometheus:9090/graph?g0.expr=x&g0.tab=1",
        "fingerprint": fingerprint(said),
    }


def fingerprint(labels: Mapping[str, str]) -> str:
    """64 bits of a hash over the labels, as hexadecimal digits; Alertmanager's is another hash."""
    return hashlib.sha256(json.dumps(dict(labels), sort_keys=True).encode()).hexdigest()[:16]


def body(*alerts: Mapping[str, Any], **changes: Any) -> bytes:
    """A body with these alerts."""
    firing = any(each["status"] == "firing" for each in alerts)
    return json.dumps(
        {
            "receiver": "rollout",
            "status": "firing" if firing else "resolved",
            "alerts": list(alerts),
            "groupLabels": {"adapter": "bot"},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://alertmanager:9093",
            "version": "4",
            "groupKey": '{}/{alertname=~"Rollout.*"}:{adapter="bot"}',
            "truncatedAlerts": 0,
            **changes,
        }
    ).encode()
