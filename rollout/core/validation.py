"""All that the checks of some manifests found, and what they were asked."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.core.document import Problem
from rollout.core.finding import Finding
from rollout.core.policy import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What the checks of some manifests found. `problems` are documents that could not be read.

    `rulebook` are all rules of the policy, `retired` manifests that exist at the base and no longer here,
    `unchecked` the ids of those rules whose inputs were not at hand.
    """

    checked: tuple[str, ...]
    rulebook: tuple[Rule, ...]
    findings: tuple[Finding, ...] = ()
    problems: tuple[Problem, ...] = ()
    retired: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()

    @property
    def blocked(self) -> bool:
        """Whether any finding blocks."""
        return any(finding.blocks for finding in self.findings)
