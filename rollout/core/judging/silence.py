"""What is said of data that are missing, too few or too old. None of it is ever a pass."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rollout.core.judging.evidence import Evidence
from rollout.core.metric import Kind, MetricSpec, OnMissing
from rollout.core.observed import quantile_name

_GRACE = 1
"""Looks that may come back without a metric before its name is doubted."""


def must_have_data(spec: MetricSpec, since: datetime | None, now: datetime | None) -> bool:
    """Whether to have no data is to fail by now: a state that was just entered has as long as any silence may last."""
    begun = since is not None and now is not None and now - since <= spec.max_silence
    return spec.on_missing is OnMissing.FAIL and not begun


def unheard(spec: MetricSpec, evidence: Evidence) -> str:
    """Why there is nothing to compare."""
    silent = [arm for arm, total in _arms(evidence) if not total]
    if len(silent) == 1:
        return f"no requests of {silent[0]} yet"
    if silent:
        doubted = f"; nothing was seen in {evidence.missing} looks: is it measured under this name?"
        return "no requests of either arm yet" + (doubted if evidence.missing > _GRACE else "")
    if spec.kind is Kind.LATENCY:
        known = {each.quantile for each in evidence.quantiles if each.stable and each.candidate}
        lacking = [quantile_name(each) for each in spec.quantiles if each not in known]
        return f"no times of both arms to compare yet at {' and '.join(lacking)}"
    return "no scores of both arms to compare yet"


def silence(spec: MetricSpec, evidence: Evidence, now: datetime | None, *, alone: bool = False) -> str | None:
    """Which arm has said nothing for too long; None if none has, or nobody asks."""
    if now is None:
        return None
    heard = {"stable": evidence.stable_heard_at, "the candidate": evidence.candidate_heard_at}
    if alone:
        heard.pop("stable")
    late = [arm for arm, at in heard.items() if at is None or now - at > spec.max_silence]
    longest = _minutes(spec.max_silence.total_seconds())
    if late:
        return f"nothing was heard of {' and '.join(late)} for more than {longest}: what was seen before is too old"
    if not alone and (evidence.heard_at is None or now - evidence.heard_at > spec.max_silence):
        return f"nothing of both arms at once could be compared for more than {longest}"
    return None


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:g} minutes"


def _arms(evidence: Evidence) -> Sequence[tuple[str, int]]:
    return ("stable", evidence.stable), ("the candidate", evidence.candidate)


def too_few(spec: MetricSpec, *totals: int) -> str | None:
    """The sentence about too few samples, or None if there are enough."""
    have = min(totals)
    return None if have >= spec.min_samples else f"{have:,} of {spec.min_samples:,} samples so far"
