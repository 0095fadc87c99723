"""Pairs of answers in memory, and what they are compared by, for tests of what is concluded from them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rollout.core.evaluation import BaseFacts, Contender
from rollout.core.gatefile import Gates
from rollout.core.metric import Event, MetricSpec, Pair, RequestRecord, Texts
from rollout.core.shadow.cases import PairReader
from rollout.core.shadow.conclude import measured_of, verdicts_on
from rollout.core.shadow.document import ShadowSubject, Traffic
from rollout.core.shadow.rules import rules_for_traffic
from rollout.core.suite import Golden
from rollout.core.verdict import Outcome, Verdict, worst
from tests.support.site import record
from tests.support.suites import golden

SCHEMA: dict[str, Any] = {"type": "object", "required": ["intent"]}
OLD, NEW = "support-triage-1.0.0-aaaaaaaaaaaa", "support-triage-1.1.0-bbbbbbbbbbbb"
SAID = '{"intent": "billing"}'
REFUSED = "I'm sorry, but I can't help with that."


def suite(gates: Mapping[str, Any] | None = None, *, schema: dict[str, Any] | None = SCHEMA) -> Golden:
    """A suite with these gates."""
    asked = Gates.model_validate({"gates": gates or {"exact_match": {"vs_champion": {"max_loss": 0.05}}}})
    return replace(golden(response_schema=schema), gates=asked)


def spec(event: Event = Event.ERROR, **changes: Any) -> MetricSpec:
    """A metric of the plan."""
    given = {
        "schema": "adapter-rollout/metric/v1",
        "id": event.value,
        "title": event.value,
        "kind": "rate",
        "event": event,
        "direction": "lower_is_better",
        "slow_after_ms": 1000 if event is Event.SLOW else None,
        "margin": 0.05,
        "min_samples": 50,
        "on_missing": "inconclusive",
        "stages": ["shadow"],
    }
    return MetricSpec.model_validate(given | changes)


def subject(of: Golden, *specs: MetricSpec, min_pairs: int = 100) -> ShadowSubject:
    """Version 1.1.0 against 1.0.0."""
    rules, aside = rules_for_traffic(of)
    old, new = (
        Contender(name="support-triage", version=version, served_name=served, identity=digit * 64)
        for version, served, digit in (("1.0.0", OLD, "a"), ("1.1.0", NEW, "b"))
    )
    return ShadowSubject(
        environment="test",
        name="support-triage",
        stable=old,
        candidate=new,
        base=BaseFacts(repo="base", revision="0" * 40, quantization="none", dtype="float32"),
        plan="standard",
        suite="s",
        suite_digest="0" * 64,
        gates_name="g",
        gates_digest="1" * 64,
        min_pairs=min_pairs,
        rules=rules,
        set_aside=aside,
        specs=specs or (spec(),),
        alpha=0.01,
        alpha_advance=0.05,
    )


def row(request: str, *, shadow: bool, **changes: Any) -> RequestRecord:
    """One answer as a gateway records it; every request is another user's."""
    made = record(
        request,
        NEW if shadow else OLD,
        shadow=shadow,
        mirrored=not shadow,
        pair=request.replace("c", "s") if shadow else None,
    )
    seen = {"key_hash": f"user {request[1:]}", "finish_reason": "stop", "path": "/v1/chat/completions"}
    return replace(made, **{**seen, **changes})


def pair(
    number: int,
    *,
    said: str | None = SAID,
    before: str | None = SAID,
    asked: str | None = None,
    stable: Mapping[str, Any] | None = None,
    **candidate: Any,
) -> Pair:
    """A request and its copy, with texts unless one is None; changes are those of the copy's row, and of stable's."""
    turn = {"role": "user", "content": asked or f"ticket {number}"}
    body = json.dumps({"model": "support-triage", "messages": [turn]})
    return Pair(
        stable=row(f"s{number}", shadow=False, **(stable or {})),
        candidate=row(f"c{number}", shadow=True, **candidate),
        stable_texts=None if before is None else Texts(request=body, answer=before),
        candidate_texts=None if said is None else Texts(request=body, answer=said),
    )


def judged(
    pairs: Sequence[Pair],
    of: Golden | None = None,
    *specs: MetricSpec,
    min_pairs: int = 100,
    whole: bool = True,
    **traffic: Any,
) -> dict[str, Verdict]:
    """The verdicts on pairs, by subject."""
    suite_ = of or suite()
    about = subject(suite_, *specs, min_pairs=min_pairs)
    reader = PairReader.of(suite_, whole=whole)
    cases = [case for each in pairs if (case := reader.read(each, about.opponent)) is not None]
    lacking = Counter(name for each in pairs for name in reader.one_sided(each))
    told = Traffic(source="test", **{"pairs": len(pairs), "one_sided": lacking, **traffic})
    return {each.subject: each for each in verdicts_on(about, told, measured_of(about, cases, {}), pairs)}


def outcome(verdicts: Mapping[str, Verdict]) -> Outcome:
    """The worst of the required ones."""
    return worst(each.outcome for each in verdicts.values() if each.required)
