"""The suites of one manifest: its own, and those that the policy requires of every adapter."""

from __future__ import annotations

from rollout.core.manifest import AdapterManifest
from rollout.core.suite import Golden
from rollout.usecases.golden import load_golden
from rollout.usecases.workspace import Workspace


def load_goldens(workspace: Workspace, manifest: AdapterManifest) -> tuple[Golden, ...]:
    """The manifest's suite first, then the required ones in the policy's order; each once.

    Raises DocumentErrors or Unreadable for anything that is missing, malformed or does not belong together.
    """
    policy = workspace.evaluation_policy()
    required = () if policy is None else policy.value.required_suites
    names = dict.fromkeys((manifest.evaluation.suite, *required))
    return tuple(load_golden(workspace.tree, workspace.documents, name) for name in names)
