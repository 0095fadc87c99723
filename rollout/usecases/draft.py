"""Draft a manifest from an adapter's files.

Only what is known is filled in: what the files say, what the servers and their base say where all of them agree,
and, for a next version, what the manifest says already. Everything else is a blank.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from rollout.core.artifact import ArtifactFacts
from rollout.core.document import Located, Pointer
from rollout.core.form import Value, write_form
from rollout.core.known import Known, agreed, lora_of, name_of, of_base, of_files, of_servers
from rollout.core.manifest import MANIFEST_SCHEMA, AdapterManifest
from rollout.errors import Unreadable, Usage
from rollout.usecases.changes import ManifestNames
from rollout.usecases.succession import Bump, Editing, next_version, raised
from rollout.usecases.workspace import MANIFESTS, Workspace

_OWNED = re.compile(r"^\s*/?manifests/([a-z0-9-]+)/\S*[ \t]+\S", re.MULTILINE)
_AS_SERVED = "as the servers have it; correct it if training had another"
_CODEOWNERS = ("CODEOWNERS", ".github/CODEOWNERS", "docs/CODEOWNERS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter's files: how the manifest will call their folder, its own path, and what was found in them."""

    uri: str
    folder: PurePosixPath
    facts: ArtifactFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was said on the command line."""

    name: str | None = None
    team: str | None = None
    parent: str | None = None
    bump: Bump | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A manifest with blanks. `path` is None if the team is one of them; `replaces` is what is there now."""

    path: PurePosixPath | None
    content: bytes
    version: str
    replaces: bytes | None = field(default=None, repr=False)
    comments_lost: bool = False


class Writing(Editing, Protocol):
    """How documents are written and changed."""

    def spell(self, value: Value) -> str:
        """A value as a document writes it."""
        ...


def draft(workspace: Workspace, adapter: Adapter, wish: Wish, writing: Writing) -> Draft:
    """The first manifest of an adapter, or the next version of the one that bears its name.

    Raises Usage if it cannot be named or its version not told, Unreadable if the files are no adapter or a
    manifest could not hold them, and DocumentErrors if the manifest that is there cannot be read.
    """
    config = lora_of(adapter.facts)
    name = wish.name or name_of(adapter.folder.parts)
    if name is None:
        raise Usage(
            f"nothing in {str(adapter.folder)!r} names the adapter",
            advice="Give it a name with --name: a-z, 0-9 and -, what clients will put into `model`.",
        )
    environments = [workspace.environment(each).value for each in workspace.environment_names()]
    known = of_files(adapter.uri, adapter.facts, config) | of_base(config, adapter.facts, environments)
    previous = _previous(workspace, name)
    if previous is None:
        return _first(workspace, name, known, of_servers(environments), wish, writing)
    _check_wish(previous, wish)
    after = next_version(previous, known, wish.bump or Bump.MINOR, writing)
    return Draft(
        path=PurePosixPath(previous.source),
        content=after.content,
        version=after.version,
        replaces=previous.content,
        comments_lost=after.comments_lost,
    )


def _previous(workspace: Workspace, name: str) -> Located[AdapterManifest] | None:
    paths = ManifestNames(workspace).paths.get(name, ())
    if len(paths) > 1:
        raise Unreadable(f"{' and '.join(map(str, paths))} have the same name {name!r}")
    return workspace.manifest(paths[0]) if paths else None


def _check_wish(previous: Located[AdapterManifest], wish: Wish) -> None:
    """Raise Usage where the wish and the manifest that is there contradict each other."""
    there = previous.value
    if wish.parent not in (None, there.version):
        raise Usage(f"{previous.source} is at {there.version}, so that is the parent, and not {wish.parent}")
    if wish.team not in (None, there.owner.team):
        raise Usage(f"{previous.source} belongs to {there.owner.team}, and not to {wish.team}")


def _first(
    workspace: Workspace, name: str, known: Known, served: Known, wish: Wish, writing: Writing
) -> Draft:
    if wish.parent is None and wish.bump is not None:
        raise Usage(
            f"no manifest is named {name!r}, so no version can be raised", advice="Name the --parent."
        )
    version = "1.0.0" if wish.parent is None else raised(wish.parent, wish.bump or Bump.MINOR)
    team = wish.team or agreed(_teams(workspace))
    one_of: dict[Pointer, tuple[str, ...]] = {
        ("evaluation", "suite"): workspace.suite_names(),
        ("rollout", "plan"): workspace.plan_names(),
    }
    known = {
        ("schema",): MANIFEST_SCHEMA,
        ("name",): name,
        ("version",): version,
        ("lineage", "parent"): wish.parent,
        **served,
        **known,
        **({("owner", "team"): team} if team else {}),
        **{pointer: names[0] for pointer, names in one_of.items() if len(names) == 1},
    }
    examples: dict[Pointer, str] = {pointer: " or ".join(names) for pointer, names in one_of.items() if names}
    text = write_form(known, writing.spell, examples=examples, remarks=dict.fromkeys(served, _AS_SERVED))
    path = None if team is None else MANIFESTS / team / f"{name}.yaml"
    return Draft(path=path, content=text.encode(), version=version)


def _teams(workspace: Workspace) -> set[str]:
    """The teams that own manifests here, by their folders, or else by CODEOWNERS."""
    folders = {path.parts[1] for path in workspace.manifest_paths() if len(path.parts) > 2}
    if folders:
        return folders
    files = [path for path in map(PurePosixPath, _CODEOWNERS) if workspace.tree.exists(path)]
    texts = [workspace.tree.read(path).decode(errors="replace") for path in files]
    return {team for text in texts for team in _OWNED.findall(text)}
