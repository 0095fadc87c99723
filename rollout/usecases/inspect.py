"""Look at an adapter's bytes, and say what they are without judging them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rollout.core.artifact import ArtifactFacts
from rollout.core.environment import Environment
from rollout.core.manifest import AdapterManifest, Artifact, Dtype

Look = Callable[[Artifact, frozenset[Dtype], tuple[str, ...]], ArtifactFacts]
"""(artifact, serving types, folders of bases) -> facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was looked at, in which serving types, and what was found.

    `declared` are the manifest's digests by file name, None where no manifest speaks of the adapter; `signature`
    names the file that signs them.
    """

    subject: str
    facts: ArtifactFacts
    dtypes: tuple[Dtype, ...]
    declared: Mapping[str, str] | None = None
    signature: str | None = None


def inspect_folder(
    subject: str, dtypes: Sequence[Dtype], look: Callable[[frozenset[Dtype]], ArtifactFacts]
) -> Inspection:
    """An adapter that lies in a folder; nobody says where it will be served."""
    shown = subject if subject.isprintable() else ascii(subject)
    return Inspection(subject=shown, facts=look(frozenset(dtypes)), dtypes=tuple(sorted(set(dtypes))))


def inspect_manifest(
    manifest: AdapterManifest,
    environments: Sequence[Environment],
    look: Look,
    *,
    dtypes: Sequence[Dtype] = (),
    bases: Sequence[str] = (),
) -> Inspection:
    """A manifest's adapter, as it will be served in all these environments, and in `dtypes` on `bases` as well."""
    served = frozenset({manifest.base.dtype, *dtypes, *(each.server.dtype for each in environments)})
    paths = [*bases, *(each.server.base_path for each in environments if each.server.base_path)]
    return Inspection(
        subject=f"{manifest.name} {manifest.version}",
        facts=look(manifest.artifact, served, tuple(dict.fromkeys(paths))),
        dtypes=tuple(sorted(served)),
        declared=manifest.artifact.files,
        signature=manifest.artifact.signature,
    )
