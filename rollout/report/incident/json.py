"""The record as data for machines."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rollout.core.lifecycle import Version
from rollout.core.traces import Commit
from rollout.report.incident.timeline import timeline
from rollout.report.incident.words import open_items, skew_line, summary, title, tried
from rollout.usecases.incident import IncidentRecord

SCHEMA = "adapter-rollout/incident/v1"


def to_json(record: IncidentRecord) -> str:
    """One document. What is not known is null."""
    return json.dumps(as_data(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_data(record: IncidentRecord) -> dict[str, Any]:
    """Plain data."""
    incident, event = record.incident, record.incident.event
    return {
        "schema": SCHEMA,
        "name": record.name,
        "environment": record.environment,
        "number": incident.number,
        "of": record.of,
        "title": title(record),
        "summary": list(summary(record)),
        "incident": event.incident,
        "reason": event.reason,
        "automatic": event.automatic,
        "actor": event.actor,
        "run_url": event.run_url,
        "alert": None if event.alert is None else event.alert.model_dump(mode="json"),
        "taken_back": [_version(each) for each in incident.gone],
        "stable": _version(incident.stable),
        "restored": event.restored is not None,
        "from_share": str(event.from_share),
        "entry": {"seq": incident.entry.seq, "hash": incident.entry.hash},
        "times": _times(record),
        "impact": _impact(record),
        "judged": [asdict(each) for each in record.found],
        "tried": [asdict(each) for each in tried(record)],
        "open": open_items(record),
        "commits": [_commit(each) for each in record.commits.values()],
        "pull_request": None
        if record.pull is None
        else {"number": record.pull.number, "url": record.pull.url, "state": str(record.pull.state)},
        "timeline": [
            {
                "at": _at(line.at),
                "until": _at(line.until),
                "source": str(line.source),
                "who": line.who,
                "what": line.what,
                "clock_back_s": line.back_s,
            }
            for line in timeline(record)
        ],
        "traffic": _traffic(record),
        "clocks": [{"seconds": each.seconds, "told": skew_line(each)} for each in record.skews],
        "gaps": [{"source": str(each.source), "why": each.why} for each in record.gaps],
    }


def _times(record: IncidentRecord) -> dict[str, Any]:
    times = record.times
    return {
        **{f"time_to_{name}_s": each.seconds for name, each in times.spans.items()},
        "notes": {name: each.note for name, each in times.spans.items()},
        "began_at": _at(times.began_at),
        "detected_at": _at(times.detected_at),
        "decided_at": _at(times.decided_at),
        "mitigated_at": _at(times.mitigated_at),
        "verified_at": _at(times.verified_at),
        "recorded_at": _at(times.recorded_at),
        "recorded_late_s": times.late_s,
    }


def _impact(record: IncidentRecord) -> dict[str, Any] | None:
    """By served name of what was taken back; null where the traffic log cannot be read here."""
    if record.traffic is None:
        return None
    versions = {}
    for each in record.incident.gone:
        answered = record.traffic.answered.get(each.served_name)
        if answered is not None:
            told = asdict(answered)
            versions[each.served_name] = told | {
                "first_bad": _at(answered.first_bad),
                "last_routed": _at(answered.last_routed),
            }
    return {"whole": record.traffic.whole, "versions": versions}


def _traffic(record: IncidentRecord) -> dict[str, Any] | None:
    traffic = record.traffic
    if traffic is None:
        return None
    return {
        "since": _at(traffic.since),
        "until": _at(traffic.until),
        "width_s": traffic.width_s,
        "buckets": [asdict(each) | {"at": _at(each.at)} for each in traffic.buckets],
    }


def _version(version: Version | None) -> dict[str, str] | None:
    if version is None:
        return None
    return {
        "version": version.version,
        "served_name": version.served_name,
        "identity": version.identity,
        "commit": version.commit,
    }


def _commit(commit: Commit) -> dict[str, Any]:
    return {
        "id": commit.id,
        "author": commit.author,
        "at": _at(commit.at),
        "subject": commit.subject,
        "pull": commit.pull,
    }


def _at(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
