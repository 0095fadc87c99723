"""Everything that a tree judges by, read once for all manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rollout.core.document import Located
from rollout.core.environment import Environment
from rollout.core.freeze import Freeze
from rollout.core.plan import Plan
from rollout.core.policy import Rule, Waivers
from rollout.usecases.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Rulebook:
    """Rules and waivers, and what rules may ask of the policies: environments, suites, plans and freezes.

    `rego` are the modules of policies/rego by their path; they are evaluated beside the rules.
    """

    rules: tuple[Rule, ...]
    waivers: Located[Waivers] | None
    environments: tuple[Environment, ...]
    suites: tuple[str, ...]
    plans: Mapping[str, Plan]
    freezes: tuple[Freeze, ...]
    rego: Mapping[str, bytes]

    @property
    def base_paths(self) -> tuple[str, ...]:
        """The folders of the base models that the environments name, each once."""
        found = (environment.server.base_path for environment in self.environments)
        return tuple(dict.fromkeys(path for path in found if path is not None))


def read_rulebook(judge: Workspace, environments: tuple[str, ...] = ()) -> Rulebook:
    """The rulebook of a tree, with the environments named, or all of them.

    Raises Unreadable and DocumentErrors: a policy that cannot be read lets nothing pass.
    """
    freezes = judge.freezes()
    return Rulebook(
        rules=judge.rules(),
        waivers=judge.waivers(),
        environments=tuple(
            judge.environment(name).value for name in environments or judge.environment_names()
        ),
        suites=judge.suite_names(),
        plans={name: judge.plan(name).value for name in judge.plan_names()},
        freezes=freezes.value.freezes if freezes else (),
        rego={str(path): judge.tree.read(path) for path in judge.rego_paths()},
    )
