"""A plan with its metrics, for whoever asks what it would do: nothing of a release is needed for that."""

from __future__ import annotations

from rollout.core.plan import Plan
from rollout.usecases.release import ReleasePolicy
from rollout.usecases.workspace import Workspace


def rehearsed(workspace: Workspace, plan: str) -> ReleasePolicy:
    """The policy of a plan, without suites. Raises Unreadable for a name that does not exist."""
    return policy_of(workspace, workspace.plan(plan).value)


def policy_of(workspace: Workspace, plan: Plan) -> ReleasePolicy:
    """The same of a plan that may lie anywhere."""
    specs = (metric.value for metric in workspace.metrics(plan.metrics))
    return ReleasePolicy(plan=plan, metrics={spec.id: spec for spec in specs}, goldens=())
