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
    """`bytes_changed` speaks of what is served (the identity), not of the manifest's own text.

    `differs` are the fields that are not what they were, as JSON pointers of one or two parts (`/version`,
    `/base/revision`); for a first version all. `path` is the manifest's file. `policies_changed` and `base_changed`
    say whether the same change touches the policies, or a base model that adapters are compared with;
    `reuses_version` whether this version was released with other bytes.
    """

    kind: ChangeKind
    bytes_changed: bool
    revert: bool
    differs: tuple[str, ...] = ()
    path: str = ""
    policies_changed: bool = False
    base_changed: bool = False
    reuses_version: bool = False

    def as_input(self) -> dict[str, object]:
        """Plain data for policy expressions."""
        return {**asdict(self), "kind": self.kind.value, "differs": list(self.differs)}


def compare(
    previous: AdapterManifest | None,
    manifest: AdapterManifest,
    *,
    revert: bool = False,
    path: str = "",
    policies_changed: bool = False,
    base_changed: bool = False,
    reuses_version: bool = False,
) -> ManifestChange:
    """The change from the manifest at the base to this one."""
    before = {} if previous is None else _fields(previous)
    after = _fields(manifest)
    return ManifestChange(
        kind=ChangeKind.FIRST
        if previous is None
        else _kind(_numbers(previous.version), _numbers(manifest.version)),
        bytes_changed=previous is None or previous.identity != manifest.identity,
        revert=revert,
        differs=tuple(
            sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        ),
        path=path,
        policies_changed=policies_changed,
        base_changed=base_changed,
        reuses_version=reuses_version,
    )


def _fields(manifest: AdapterManifest) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in manifest_input(manifest).items():
        if isinstance(value, Mapping):
            found.update({f"/{name}/{part}": item for part, item in value.items()})
        else:
            found[f"/{name}"] = value
    return found


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
