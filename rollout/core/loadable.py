"""What an adapter must be before an engine may load it: some engines accept anything, and one that is not a number
spoils the answers of its neighbours."""

from __future__ import annotations

from rollout.core.artifact import ArtifactFacts


def why_not_loadable(facts: ArtifactFacts) -> tuple[str, ...]:
    """Everything that stands against loading it; empty if nothing does.

    Tensors that are all zero are no reason: the proof of effect says what they do.
    """
    found = {
        "cannot be read": facts.problems,
        "holds pickles, which can run code": facts.pickles,
        "holds code": facts.code,
        "are no plain files": facts.not_plain,
        "are larger than such files may be": facts.oversize,
        "are not finite in the serving type": facts.non_finite,
        "are larger than any trained weight": facts.extreme,
        "have no place in the base, so that servers ignore them and they have no effect": facts.ignored,
        "have no partner A or B": facts.unpaired,
        "are named by the config and missing": facts.missing,
        "have another rank than the config says": facts.wrong_rank,
        "do not have the shape of the base": facts.misshapen,
    }
    return tuple(f"{_told(names)} {why}" for why, names in found.items() if names)


def _told(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
