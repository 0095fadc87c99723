"""The documents of one tree: manifests and policies, found by name, each with its places."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from rollout.core.document import D, DocumentErrors, Located
from rollout.core.environment import Environment
from rollout.core.evaluationpolicy import EvaluationPolicy
from rollout.core.freeze import Freezes
from rollout.core.manifest import AdapterManifest
from rollout.core.metric import MetricSpec
from rollout.core.plan import Plan
from rollout.core.policy import Rule, Waivers, check_book
from rollout.core.signing import Signers
from rollout.core.source import Sources
from rollout.errors import Unreadable

if TYPE_CHECKING:
    # Half of what ports name is about servers and traffic, and takes longer to import than a manifest to read.
    from rollout.ports import Documents, Tree

MANIFESTS = PurePosixPath("manifests")
POLICIES = PurePosixPath("policies")
SUFFIX = ".yaml"

# A name is taken from its line only where nothing but plain keys and comments begins at the left edge: there no
# quoted text can stand that looks like a key.
_EDGE = re.compile(rb"^(?!#|[a-z_]+:|[ \t]|\r?$)", re.MULTILINE)
_NAME_KEY = re.compile(rb"^name:", re.MULTILINE)
_NAME = re.compile(rb"^name: +[\"']?([a-z0-9-]+)[\"']?[ \t]*(?:#[^\n]*)?\r?$", re.MULTILINE)
_FIRST = re.compile(rb"\A(?:[ \t]*(?:#[^\n]*)?\r?\n)*[a-z_]+:")


class NoRules(Unreadable):
    """A tree that judges has no rules at all."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Everything that is read from one tree. Nothing is cached: a tree may be a folder that changes.

    Every method raises DocumentErrors for a document with problems, and Unreadable for a name that does not
    exist (naming what does).
    """

    tree: Tree
    documents: Documents

    def document(self, path: PurePosixPath, model: type[D]) -> Located[D]:
        """Any document at a path relative to the root."""
        return self.documents.read(self.tree.read(path), model, source=str(path))

    def manifest_paths(self) -> tuple[PurePosixPath, ...]:
        """The files below manifests/, sorted; there may be none. A hidden folder hides them, in every tree."""
        found = self.tree.files(MANIFESTS, SUFFIX)
        return tuple(path for path in found if not any(part.startswith(".") for part in path.parts))

    def manifest(self, path: PurePosixPath) -> Located[AdapterManifest]:
        """One manifest by its path."""
        return self.document(path, AdapterManifest)

    def manifest_name(self, path: PurePosixPath) -> str | None:
        """The name in one manifest, None if it cannot be read. Most are not read whole for that."""
        content = self.tree.read(path)
        found = _NAME.findall(content)
        plain = _FIRST.match(content) and not _EDGE.search(content)
        if plain and len(found) == 1 and len(_NAME_KEY.findall(content)) == 1:
            return str(found[0], "ascii")
        try:
            return self.documents.read(content, AdapterManifest, source=str(path)).value.name
        except DocumentErrors:
            return None

    def manifests(self) -> tuple[Located[AdapterManifest], ...]:
        """All manifests, by path. Raises Unreadable if there is none or two bear the same name."""
        found = tuple(self.manifest(path) for path in self.manifest_paths())
        if not found:
            raise Unreadable(f"there is no manifest below {MANIFESTS}/")
        by_name: dict[str, str] = {}
        for manifest in found:
            other = by_name.setdefault(manifest.value.name, manifest.source)
            if other != manifest.source:
                raise Unreadable(f"{manifest.source} and {other} have the same name {manifest.value.name!r}")
        return found

    def manifest_named(self, name: str) -> Located[AdapterManifest]:
        """The manifest of the adapter `name`."""
        found = self.manifests()
        for manifest in found:
            if manifest.value.name == name:
                return manifest
        raise Unreadable(f"there is no manifest named {name!r}{_others(m.value.name for m in found)}")

    def environment(self, name: str) -> Located[Environment]:
        """policies/environments/<name>.yaml."""
        return self._named("environment", "environments", name, Environment)

    def environment_names(self) -> tuple[str, ...]:
        """The environments that exist."""
        return self._names("environments")

    def plan(self, name: str) -> Located[Plan]:
        """policies/plans/<name>.yaml."""
        return self._named("plan", "plans", name, Plan)

    def plan_names(self) -> tuple[str, ...]:
        """The plans that exist."""
        return self._names("plans")

    def metric_ids(self) -> tuple[str, ...]:
        """The metrics that exist, by the names of their files."""
        return self._names("metrics")

    def metrics(self, ids: Iterable[str]) -> tuple[Located[MetricSpec], ...]:
        """policies/metrics/<id>.yaml of each, in the order asked. No ids is an error, not an empty pass."""
        found = tuple(self._named("metric", "metrics", metric, MetricSpec, field="id") for metric in ids)
        if not found:
            raise Unreadable("no metric was named, so nothing could be judged")
        return found

    def suite_names(self) -> tuple[str, ...]:
        """The suites that exist."""
        return self._names("suites")

    def rules(self) -> tuple[Rule, ...]:
        """policies/rules/<id>/rule.yaml, sorted. Raises Unreadable if there is none: that is never a pass."""
        folder = POLICIES / "rules"
        paths = [
            path for path in self.tree.files(folder, "rule.yaml") if len(path.parts) == len(folder.parts) + 2
        ]
        if not paths:
            raise NoRules(
                f"there are no rules below {folder}/",
                advice="No rules would let everything pass. `rollout init` brings some.",
            )
        rules = tuple(self._rule(path) for path in paths)
        try:
            check_book(rules)
        except ValueError as error:
            raise Unreadable(f"{folder}: {error}") from None
        return rules

    def waivers(self) -> Located[Waivers] | None:
        """policies/waivers.yaml, if there is one."""
        path = POLICIES / "waivers.yaml"
        return self.document(path, Waivers) if self.tree.exists(path) else None

    def freezes(self) -> Located[Freezes] | None:
        """policies/freezes.yaml, if there is one."""
        path = POLICIES / "freezes.yaml"
        return self.document(path, Freezes) if self.tree.exists(path) else None

    def evaluation_policy(self) -> Located[EvaluationPolicy] | None:
        """policies/evaluation.yaml, if there is one: without it the manifest's suite is the only one."""
        path = POLICIES / "evaluation.yaml"
        return self.document(path, EvaluationPolicy) if self.tree.exists(path) else None

    def rego_paths(self) -> tuple[PurePosixPath, ...]:
        """policies/rego/*.rego, sorted; there may be none."""
        return tuple(self.tree.files(POLICIES / "rego", ".rego"))

    def signers(self) -> Located[Signers] | None:
        """policies/signers.yaml, if there is one: without it no signature counts."""
        path = POLICIES / "signers.yaml"
        return self.document(path, Signers) if self.tree.exists(path) else None

    def sources(self) -> Located[Sources] | None:
        """policies/sources.yaml, if there is one: without it nothing is fetched."""
        path = POLICIES / "sources.yaml"
        return self.document(path, Sources) if self.tree.exists(path) else None

    def _rule(self, path: PurePosixPath) -> Rule:
        rule = self.document(path, Rule).value
        if rule.id != path.parent.name:
            raise Unreadable(f"{path}: the rule {rule.id!r} stands in the folder {path.parent.name!r}")
        return rule

    def _named(self, kind: str, folder: str, name: str, model: type[D], field: str = "name") -> Located[D]:
        path = POLICIES / folder / f"{name}{SUFFIX}"
        if "/" in name or not self.tree.exists(path):
            raise Unreadable(f"there is no {kind} {name!r} ({path}){_others(self._names(folder))}")
        found = self.document(path, model)
        if getattr(found.value, field) != name:
            raise Unreadable(f"{path}: its {field} is {getattr(found.value, field)!r}, not {name!r}")
        return found

    def _names(self, folder: str) -> tuple[str, ...]:
        root = POLICIES / folder
        return tuple(path.stem for path in self.tree.files(root, SUFFIX) if path.parent == root)


def _others(names: Iterable[str]) -> str:
    found = ", ".join(sorted(names))
    return f"; there are: {found}" if found else "; there are none"
