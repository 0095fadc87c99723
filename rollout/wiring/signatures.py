"""Who signs adapters, and whose signatures count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rollout.errors import Unavailable, Unreadable
from rollout.usecases.workspace import Workspace
from rollout.wiring.artifacts import _locate, artifact_folder
from rollout.wiring.places import working_folder

if TYPE_CHECKING:
    from rollout.core.document import Pointer
    from rollout.core.manifest import Artifact
    from rollout.core.signing import SignatureFact, Signers
    from rollout.ports import ModelSigner
    from rollout.usecases.sign import Signed


def verify_artifact(
    root: Path, judge: Workspace, artifact: Artifact, folder: Path | None = None
) -> SignatureFact:
    """What an adapter's signature is worth to the signers that the judging tree trusts.

    `folder` is where the adapter lies, if it is not to be looked for.
    """
    from rollout.integrations.signing import verify

    place = folder or _locate(root, judge, artifact)
    return verify(place, artifact, *_trust(judge))


def _trust(judge: Workspace) -> tuple[Signers | None, Callable[[PurePosixPath], bytes]]:
    """Whose signatures count, and how their keys are read."""
    from rollout.usecases.workspace import POLICIES

    signers = judge.signers()
    return None if signers is None else signers.value, lambda path: judge.tree.read(POLICIES / path)


def sigstore_identity(root: Path, *, token: str | None, trust_config: Path | None) -> ModelSigner:
    """Signs as whoever a token names. Signatures of identities trusted in the working folder count already."""
    from rollout.integrations.signing import SigstoreIdentity

    signers, read = _trust(working_folder(root))
    return SigstoreIdentity(token=token, trust_config=trust_config, signers=signers, read_policy_file=read)


def private_key(path: Path, *, password: str | None) -> ModelSigner:
    """Signs with a key from a PEM file."""
    from rollout.integrations.signing import PrivateKey

    return PrivateKey(path, password=password)


def sign_adapter(
    root: Path, path: PurePosixPath, signer: ModelSigner, *, folder: Path | None, dry_run: bool
) -> tuple[Signed, SignatureFact]:
    """Sign the adapter of a manifest, and say what the signature is worth to the working folder's policies.

    `folder` is a copy of a remote adapter, signed before it is published. Only one signs at a time.
    """
    from rollout.core.signing import SIGNATURE_FILE
    from rollout.durable import discard_unfinished, exclusive
    from rollout.integrations.documents.edit import edit
    from rollout.usecases.sign import sign

    head = working_folder(root)
    with exclusive(artifact_folder(root, ".rollout/signing")):
        manifest = head.manifest(path)
        artifact = manifest.value.artifact
        place = folder or _folder_to_sign(root, artifact.uri)
        discard_unfinished(place / (artifact.signature or SIGNATURE_FILE))

        def name_it(name: str) -> None:
            new: dict[Pointer, str] = {("artifact", "signature"): name}
            written = manifest.spans.keys() & new.keys()  # as null, which is then replaced
            there = edit(manifest.content, new) if written else edit(manifest.content, insert=new)
            _replace(root / path, there)

        signed = sign(manifest, place, signer, write=_replace, name_it=name_it, dry_run=dry_run)
        named = artifact.model_copy(update={"signature": signed.signature.name})
        return signed, verify_artifact(root, head, named, place)


def _folder_to_sign(root: Path, uri: str) -> Path:
    from rollout.core.source import is_remote

    if is_remote(uri):
        raise Unreadable(
            f"{uri} lies elsewhere, and what is signed must lie here",
            advice="Sign before it is published: name the folder that it is published from by --folder.",
        )
    return artifact_folder(root, uri)


def _replace(target: Path, content: bytes) -> None:
    from rollout.durable import replace as put

    try:
        put(target, content)
    except OSError as error:
        raise Unavailable(f"{target} cannot be written: {error.strerror}") from None
