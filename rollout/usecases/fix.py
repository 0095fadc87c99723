"""Put right what is mechanical in a manifest: its form, and what repeats the adapter's own bytes.

Nothing here is a judgement: no version, no approval, no date and no digest of data is ever made up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from rollout.core.adapterconfig import LORA, AdapterConfig
from rollout.core.document import DocumentErrors, Pointer
from rollout.core.manifest import FILE_NAME_PATTERN, MANIFEST_SCHEMA
from rollout.core.signing import SIGNATURE_FILE
from rollout.errors import Unreadable, WorldChanged
from rollout.ports import Tree

SCHEMA_FILE = PurePosixPath("schemas/manifest.schema.json")

_SCHEMA_LINE = re.compile(rb"^#\s*yaml-language-server:\s*\$schema=", re.MULTILINE)
_ARTIFACT = "artifact"

Scalar = str | int | float | bool | None
Value = Scalar | list[str] | dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """What a manifest repeats: sha256 by file name, None where it is not known; the adapter's config."""

    files: Mapping[str, str | None]
    config: AdapterConfig | None


class Edit(Protocol):
    """Changes fields of a document, adds and removes some, and nothing else. Raises Unreadable."""

    def __call__(
        self,
        content: bytes,
        changes: Mapping[Pointer, Scalar],
        *,
        insert: Mapping[Pointer, Value],
        remove: Collection[Pointer],
        source: str,
    ) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What fixing works with. `copies` gives None for an adapter that is not at hand in a folder here."""

    tree: Tree
    read: Callable[[bytes, str], object]
    tidy: Callable[[bytes, str], bytes]
    edit: Edit
    copies: Callable[[str], Copies | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """One manifest before and after. `obstacle` says what could not be put right, and why."""

    path: PurePosixPath
    before: bytes
    after: bytes
    obstacle: str | None = None

    @property
    def changed(self) -> bool:
        """Whether there was anything to put right."""
        return self.before != self.after


@dataclass(slots=True, kw_only=True)
class _Changes:
    replace: dict[Pointer, Scalar] = field(default_factory=dict)
    insert: dict[Pointer, Value] = field(default_factory=dict)
    remove: list[Pointer] = field(default_factory=list)


def fix(
    tools: Tools,
    paths: Iterable[PurePosixPath],
    write: Callable[[PurePosixPath, bytes], None] | None = None,
) -> tuple[Fixed, ...]:
    """Put the manifests right, or without `write` say what would change.

    A document that cannot be read is left alone: validation says why. Raises Unreadable for a file that is not
    there or is reached through a link, and WorldChanged if somebody else changes one meanwhile.
    """
    fixed = tuple(_fix(tools, path) for path in paths)
    for each in fixed:
        if write is not None and each.changed:
            if tools.tree.read(each.path) != each.before:
                raise WorldChanged(f"{each.path} was changed by somebody else", advice="Run it again.")
            write(each.path, each.after)
    return fixed


def _fix(tools: Tools, path: PurePosixPath) -> Fixed:
    before, source = tools.tree.read(path), str(path)
    try:
        after = tools.tidy(before, source)
        data = tools.read(after, source)
    except DocumentErrors:
        return Fixed(path=path, before=before, after=before)
    if not _is_manifest(data):
        return Fixed(path=path, before=before, after=after)
    after = _with_schema_line(tools.tree, path, _with_schema(tools, after, source))
    try:
        return Fixed(path=path, before=before, after=_with_copies(tools, after, source))
    except Unreadable as error:
        return Fixed(path=path, before=before, after=after, obstacle=error.message)


def _is_manifest(data: object) -> bool:
    """Whether it is meant to be one, so that it may be told so; what else lies there only gets its form."""
    artifact = data.get(_ARTIFACT) if isinstance(data, dict) else None
    return isinstance(artifact, dict) and "uri" in artifact


def _with_schema(tools: Tools, content: bytes, source: str) -> bytes:
    """A manifest that does not say what it is says so in its first field."""
    data = tools.read(content, source)
    assert isinstance(data, dict)
    if "schema" in data:
        return content
    lines = content.splitlines(keepends=True)
    first = next(
        at for at, line in enumerate(lines) if line.strip() and line[:1] != b"#" and line[:3] != b"---"
    )
    longer = b"".join([*lines[:first], f"schema: {MANIFEST_SCHEMA}\n".encode(), *lines[first:]])
    try:
        same = tools.read(longer, source) == {"schema": MANIFEST_SCHEMA, **data}
    except DocumentErrors:
        same = False
    return longer if same else content


def _with_schema_line(tree: Tree, path: PurePosixPath, content: bytes) -> bytes:
    """Editors find the schema by a comment."""
    if _SCHEMA_LINE.search(content) or not tree.exists(SCHEMA_FILE):
        return content
    way = PurePosixPath(*[".."] * (len(path.parts) - 1)) / SCHEMA_FILE
    return f"# yaml-language-server: $schema={way}\n".encode() + content


def _with_copies(tools: Tools, content: bytes, source: str) -> bytes:
    data = tools.read(content, source)
    assert isinstance(data, dict)
    artifact = data[_ARTIFACT]
    uri = artifact.get("uri")
    copies = tools.copies(uri) if isinstance(uri, str) else None
    for changes in () if copies is None else _changes(artifact, copies):
        if changes.replace or changes.insert or changes.remove:
            content = tools.edit(
                content, changes.replace, insert=changes.insert, remove=changes.remove, source=source
            )
    return content


def _changes(artifact: Mapping[str, object], copies: Copies) -> Iterator[_Changes]:
    named = {
        name: digest
        for name, digest in sorted(copies.files.items())
        if name not in (SIGNATURE_FILE, artifact.get("signature")) and re.fullmatch(FILE_NAME_PATTERN, name)
    }
    if SIGNATURE_FILE in copies.files:
        yield _signature(artifact)
    declared = artifact.get("files")
    if named and isinstance(declared, dict) and declared:
        yield _other_files(declared, named)
    elif any(named.values()) and not declared:
        if "files" in artifact:
            yield _Changes(remove=[(_ARTIFACT, "files")])
        yield _Changes(insert={(_ARTIFACT, "files"): {name: sha for name, sha in named.items() if sha}})
    if copies.config is not None and copies.config.peft_type == LORA:
        yield _other_config(artifact, copies.config)


def _signature(artifact: Mapping[str, object]) -> _Changes:
    """No digest can cover the signature that covers the digests: it is named in a field of its own."""
    at: Pointer = (_ARTIFACT, "signature")
    if "signature" not in artifact:
        return _Changes(insert={at: SIGNATURE_FILE})
    return _Changes(replace={at: SIGNATURE_FILE} if artifact["signature"] is None else {})


def _other_files(declared: Mapping[str, object], here: Mapping[str, str | None]) -> _Changes:
    """A file whose digest is not known stays as it is declared: validation says what is wrong with it."""
    changes = _Changes(remove=[(_ARTIFACT, "files", name) for name in declared if name not in here])
    for name, digest in here.items():
        if digest is not None and name not in declared:
            changes.insert[(_ARTIFACT, "files", name)] = digest
        elif digest is not None and declared[name] != digest:
            changes.replace[(_ARTIFACT, "files", name)] = digest
    return changes


def _other_config(artifact: Mapping[str, object], config: AdapterConfig) -> _Changes:
    alpha = int(config.alpha) if config.alpha.is_integer() else config.alpha
    changes = _Changes()
    for name, value in {"rank": config.r, "alpha": alpha}.items():
        if name not in artifact:
            changes.insert[(_ARTIFACT, name)] = value
        elif artifact[name] != value:
            changes.replace[(_ARTIFACT, name)] = value
    if config.target_modules and not config.pattern:
        _other_targets(changes, artifact, config.target_modules)
    return changes


def _other_targets(changes: _Changes, artifact: Mapping[str, object], targets: tuple[str, ...]) -> None:
    """PEFT saves them in any order, so the order of the manifest stays."""
    declared = artifact.get("target_modules")
    at: Pointer = (_ARTIFACT, "target_modules")
    if "target_modules" not in artifact:
        changes.insert[at] = list(targets)
    elif isinstance(declared, list):
        lacking = [name for name in targets if name not in declared]
        changes.insert |= {(*at, len(declared) + number): name for number, name in enumerate(lacking)}
        changes.remove += [(*at, number) for number, name in enumerate(declared) if name not in targets]
