"""All that the checks of some manifests found, and what they were asked."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.core.document import Problem
from rollout.core.finding import Finding
from rollout.core.policy import CheckedAt, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What the checks of some manifests found. `problems` are documents that could not be read.

    `rulebook` are all rules of the policy, `retired` manifests that exist at the base and no longer here,
    `unchecked` the ids of those rules that were not asked, since `at` is not their stage
    or their inputs were not at hand.
    """

    checked: tuple[str, ...]
    rulebook: tuple[Rule, ...]
    findings: tuple[Finding, ...] = ()
    problems: tuple[Problem, ...] = ()
    retired: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    at: CheckedAt = CheckedAt.PULL_REQUEST

    @property
    def blocked(self) -> bool:
        """Whether any finding blocks."""
        return any(finding.blocks for finding in self.findings)

    @property
    def later(self) -> tuple[str, ...]:
        """Those of the unchecked rules that are asked at release, whatever is at hand now."""
        if self.at is CheckedAt.RELEASE:
            return ()
        stages = {rule.id: rule.stage for rule in self.rulebook}
        return tuple(each for each in self.unchecked if stages.get(each) is CheckedAt.RELEASE)

    @property
    def uncompared(self) -> tuple[str, ...]:
        """Those of the unchecked rules that compare with a base, and none was given."""
        later = set(self.later)
        return tuple(each for each in self.unchecked if each not in later)
