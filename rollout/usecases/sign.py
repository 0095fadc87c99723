"""Sign an adapter: the signature first, then the line of the manifest that names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rollout.core.document import Located
from rollout.core.manifest import AdapterManifest
from rollout.core.signing import SIGNATURE_FILE
from rollout.ports import ModelSigner


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What was done, or would be: a new signature at `signature`, a line in the manifest."""

    signature: Path
    made: bool
    named: bool


def sign(
    manifest: Located[AdapterManifest],
    folder: Path,
    signer: ModelSigner,
    *,
    write: Callable[[Path, bytes], None],
    name_it: Callable[[str], None],
    dry_run: bool = False,
) -> Signed:
    """Sign the files of a manifest that lie in `folder`, unless this signer has done so already.

    `write` puts the signature in its place at once; `name_it` puts its name into the manifest. A death between
    the two leaves a signature that nobody speaks of yet, and the next run ends what this one began. Raises
    Unreadable if the files are not exactly those that the manifest declares.
    """
    name = manifest.value.artifact.signature or SIGNATURE_FILE
    artifact = manifest.value.artifact.model_copy(update={"signature": name})
    signer.require_in_order(folder, artifact)
    done = Signed(
        signature=folder / name,
        made=not signer.has_signed(folder, artifact),
        named=manifest.value.artifact.signature is None,
    )
    if done.made and not dry_run:
        write(done.signature, signer.sign(folder, artifact))
    if done.named and not dry_run:
        name_it(name)
    return done
