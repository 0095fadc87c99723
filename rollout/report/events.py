"""A ledger event in one sentence: the same in `status`, in timelines and in reviews."""

from __future__ import annotations

from typing import assert_never

from rollout.core.lifecycle import (
    Adopted,
    Anchored,
    Cleared,
    Erred,
    Evaluated,
    Forgone,
    Hastened,
    Heard,
    Intended,
    LedgerEvent,
    LiftAsked,
    Looked,
    Lowered,
    Notified,
    Paused,
    Promoted,
    Rejected,
    Resumed,
    Retried,
    Reverted,
    RolledBack,
    Settled,
    Settling,
    Shifted,
    Started,
    Superseded,
    Verified,
)


def tell(event: LedgerEvent) -> str:
    """What happened, without when and to whom."""
    match event:
        case Adopted(stable=stable):
            return f"{stable.version} adopted as stable"
        case Evaluated(served_name=served, outcome=outcome):
            return f"{served} evaluated: {outcome}"
        case Started(candidate=candidate, phase=phase):
            return f"{candidate.version} enters {phase}"
        case Looked(outcome=outcome, reasons=reasons):
            return f"looked: {outcome}" + (f"; {reasons[0]}" if reasons else "")
        case Erred(reason=reason):
            return f"a look failed: {reason}"
        case Intended():
            return f"about to give {event.reach} to the candidate"
        case Shifted():
            return f"{event.reach} to the candidate"
        case Forgone(reason=reason):
            return f"the step is not taken after all: {reason}"
        case Heard():
            return "every gateway has heard of the step"
        case Lowered(reason=reason):
            return f"taken over: {reason}"
        case Resumed(reason=reason):
            return f"resumed: {reason}"
        case Paused(reason=reason, actor=actor):
            return f"paused by {actor}: {reason}"
        case Cleared(step=step, reason=reason, actor=actor):
            return f"step {step + 1} cleared by {actor}: {reason}"
        case Hastened(reason=reason, actor=actor):
            return f"{actor} wants it everywhere without waiting for proof: {reason}"
        case Superseded(by=by):
            return f"superseded by {by}"
        case Rejected(rejected=rejected, reason=reason):
            return f"{rejected.served_name} rejected: {reason}"
        case LiftAsked(identity=identity, reason=reason, actor=actor):
            return f"{actor} asks that {identity[:12]} may begin once more: {reason}"
        case Retried(identity=identity, reason=reason, actor=actor, asked_by=first):
            return f"{f'{first} and ' if first else ''}{actor} let {identity[:12]} begin once more: {reason}"
        case Promoted():
            return "promoted"
        case Settling(reason=reason):
            return f"settling: {reason}"
        case Settled():
            return "settled: the new version is stable"
        case RolledBack(bad=bad, automatic=automatic, alert=alert, reason=reason, restored=restored):
            who = "an alert" if alert is not None else "the judge" if automatic else "hand"
            went = {each.version: None for each in (bad, restored and restored.replaced) if each}
            told = f"{' and '.join(went) or 'nothing'} taken back by {who}"
            if restored is not None:
                told += (
                    f", {restored.version.version if restored.version else 'the base model'} put in its place"
                )
            return f"{told}: {reason}"
        case Reverted(commit=commit):
            return f"manifest reverted in {commit[:12]}"
        case Verified() as verified:
            return (
                f"verified {verified.verified_s:.2f} s after the flag write "
                f"(last request routed after {verified.last_routed_s:.3f} s)"
            )
        case Notified(to=to, notice=notice):
            return f"{to} was told of it ({notice})"
        case Anchored(entries=entries, archive=archive):
            return f"{entries} earlier entries were archived as {archive[:12]}"
        case _:
            assert_never(event)
