"""Set up a repository: policies, schemas and an environment, so that `validate` works at once.

Rules, metrics and alerts are this product's own, with the severities of a profile; everything else comes from the
profile's trees. Nothing that exists is overwritten, and doing it twice changes nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Protocol

from pydantic import Field

from rollout.core.document import Pointer
from rollout.core.finding import Severity
from rollout.core.manifest import Document, Line, Name
from rollout.core.policy import Rule
from rollout.core.schemas import DOCUMENTS, dump_schema
from rollout.errors import Unreadable
from rollout.usecases.workspace import POLICIES, Workspace

SCAFFOLD = PurePosixPath("scaffold")
TREES = SCAFFOLD / "trees"
APPENDED = {PurePosixPath(".gitignore"): "gitignore", PurePosixPath("README.md"): "README.md"}
"""What is put behind the text of a file that exists: file -> its name below scaffold/appended."""

Edit = Callable[[bytes, dict[Pointer, str]], bytes]
"""Sets scalars in a document and leaves everything else as it is."""


class Profile(Document):
    """How much is asked (`scaffold/profiles/<name>.yaml`): trees of files, and rules of another severity.

    All rules are taken: one that were left out would be a bar that nobody sees.
    """

    name: Name
    summary: Line
    trees: tuple[Name, ...] = Field(min_length=1, description="Folders of scaffold/trees.")
    environment: Name = Field(description="Where a first evaluation is for.")
    block: tuple[Name, ...] = ()
    warn: tuple[Name, ...] = ()

    def severity(self, rule: Rule) -> Severity:
        """What a finding of the rule does in this profile."""
        if rule.id in self.block:
            return Severity.BLOCK
        return Severity.WARN if rule.id in self.warn else rule.severity


class Fate(StrEnum):
    """What became of one file."""

    CREATED = "created"
    EXTENDED = "extended"
    THERE = "there already"
    KEPT = "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """One file of the scaffold; `appended` content goes behind what is there."""

    path: PurePosixPath
    content: bytes
    appended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A file of the scaffold and what became of it, or would."""

    file: NewFile
    fate: Fate


class Target(Protocol):
    """The folder that is set up. Every method raises Unreadable where something else is in the way."""

    def read(self, path: PurePosixPath) -> bytes | None:
        """What is there, None if nothing."""
        ...

    def create(self, path: PurePosixPath, content: bytes) -> bool:
        """Put a new file there; False if there is one meanwhile."""
        ...

    def extend(self, path: PurePosixPath, content: bytes) -> None:
        """Put a longer content in the place of what is there."""
        ...


def scaffold(files: Sequence[NewFile], target: Target, *, dry_run: bool = False) -> tuple[Placed, ...]:
    """Put every file into its place, or say what would become of it.

    Whatever is in the way is found before anything is written.
    """
    there = [target.read(file.path) for file in files]
    placed = [Placed(file=file, fate=_fate(file, found)) for file, found in zip(files, there, strict=True)]
    if dry_run:
        return tuple(placed)
    return tuple(
        _place(target, each.file, each.fate, found or b"") for each, found in zip(placed, there, strict=True)
    )


def _fate(file: NewFile, there: bytes | None) -> Fate:
    if there is None:
        return Fate.CREATED
    if there == file.content:
        return Fate.THERE
    if file.appended:
        mark = file.content.splitlines()[0]
        return Fate.THERE if mark in map(bytes.strip, there.splitlines()) else Fate.EXTENDED
    return Fate.KEPT


def _place(target: Target, file: NewFile, fate: Fate, there: bytes) -> Placed:
    if fate is Fate.CREATED and not target.create(file.path, file.content):
        fate = Fate.KEPT
    if fate is Fate.EXTENDED:
        line_end = b"" if not there or there.endswith(b"\n") else b"\n"
        space = b"\n" if file.content.startswith(b"<!--") else b""
        target.extend(file.path, there + line_end + space + file.content)
    return Placed(file=file, fate=fate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """What this product brings along: `policies` holds policies/, `templates` holds scaffold/."""

    policies: Workspace
    templates: Workspace

    def profile(self, name: str) -> Profile:
        """A profile by its name. Raises Unreadable if there is none."""
        return self.templates.document(SCAFFOLD / "profiles" / f"{name}.yaml", Profile).value


def plan_files(
    shipped: Shipped,
    profile: Profile,
    *,
    edit: Edit,
    book: Callable[[Sequence[Rule]], str],
    organisation: str | None = None,
) -> tuple[NewFile, ...]:
    """Every file of a profile, by path.

    `book` renders the rules for policies/README.md; `organisation` is who owns the repository at the forge.
    """
    files = [
        *_rules(shipped.policies, profile, edit, book),
        *_copies(shipped.policies, POLICIES / "metrics"),
        *_copies(shipped.policies, POLICIES / "alerts"),
        *(file for tree in profile.trees for file in _copies(shipped.templates, TREES / tree, TREES / tree)),
        *_schemas(),
    ]
    found = {file.path: _owned(file, organisation) for file in files}
    if len(found) != len(files):
        raise Unreadable("two parts of the scaffold hold the same file")
    return (*(found[path] for path in sorted(found)), *_appended(shipped.templates))


def _rules(
    policies: Workspace, profile: Profile, edit: Edit, book: Callable[[Sequence[Rule]], str]
) -> Iterator[NewFile]:
    rules = {rule.id: rule for rule in policies.rules()}
    if unknown := sorted({*profile.block, *profile.warn} - rules.keys()):
        raise Unreadable(f"the profile {profile.name} speaks of rules that do not exist: {unknown}")
    for file in _copies(policies, POLICIES / "rules"):
        rule = rules.get(file.path.parent.name) if file.path.name == "rule.yaml" else None
        yield file if rule is None else _with_severity(file, rule, profile, edit)
    told = [rule.model_copy(update={"severity": profile.severity(rule)}) for rule in rules.values()]
    yield NewFile(path=POLICIES / "README.md", content=book(told).encode())


def _with_severity(file: NewFile, rule: Rule, profile: Profile, edit: Edit) -> NewFile:
    severity = profile.severity(rule)
    if severity is rule.severity:
        return file
    return replace(file, content=edit(file.content, {("severity",): severity.value}))


def _copies(
    workspace: Workspace, folder: PurePosixPath, root: PurePosixPath | None = None
) -> Iterator[NewFile]:
    for path in workspace.tree.files(folder, ""):
        if not path.name.startswith("."):
            place = path if root is None else path.relative_to(root)
            yield NewFile(path=place, content=workspace.tree.read(path))


def _schemas() -> Iterator[NewFile]:
    for document in DOCUMENTS:
        path = PurePosixPath("schemas", f"{document}.schema.json")
        yield NewFile(path=path, content=dump_schema(document).encode())


def _appended(templates: Workspace) -> Iterator[NewFile]:
    for path, source in APPENDED.items():
        content = templates.tree.read(SCAFFOLD / "appended" / source)
        yield NewFile(path=path, content=content, appended=True)


def _owned(file: NewFile, organisation: str | None) -> NewFile:
    if organisation is None or file.path.name != "CODEOWNERS":
        return file
    return replace(file, content=file.content.replace(b"TODO-org", organisation.encode()))
