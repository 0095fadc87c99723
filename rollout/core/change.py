"""What changed between two versions of a manifest, and what policy expressions see of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from rollout.core.manifest import AdapterManifest


class ChangeKind(StrEnum):
    """How the version moved. `invalid` is a step backwards."""

    FIRST = "first"
    NONE = "none"
    PATCH = "patch"
    MINOR = "minor"
    MAJOR = "major"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestChange:
    """`bytes_changed` speaks of what is served (the identity), not of the manifest's own text."""

    kind: ChangeKind
    bytes_changed: bool
    revert: bool

    def as_input(self) -> dict[str, object]:
        """Plain data for policy expressions."""
        return {**asdict(self), "kind": self.kind.value}


def compare(
    previous: AdapterManifest | None, manifest: AdapterManifest, *, revert: bool = False
) -> ManifestChange:
    """The change from the manifest at the base to this one."""
    if previous is None:
        return ManifestChange(kind=ChangeKind.FIRST, bytes_changed=True, revert=revert)
    return ManifestChange(
        kind=_kind(_numbers(previous.version), _numbers(manifest.version)),
        bytes_changed=previous.identity != manifest.identity,
        revert=revert,
    )


def _numbers(version: str) -> tuple[int, int, int]:
    major, minor, patch = version.split(".")
    return int(major), int(minor), int(patch)


def _kind(before: tuple[int, int, int], after: tuple[int, int, int]) -> ChangeKind:
    if after < before:
        return ChangeKind.INVALID
    kinds = (ChangeKind.MAJOR, ChangeKind.MINOR, ChangeKind.PATCH)
    changed = (kind for kind, old, new in zip(kinds, before, after, strict=True) if old != new)
    return next(changed, ChangeKind.NONE)


def manifest_input(manifest: AdapterManifest) -> Mapping[str, object]:
    """A manifest as plain data with every optional field present, so that a null can be asked for."""
    return manifest.model_dump(mode="json", by_alias=True)
