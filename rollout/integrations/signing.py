"""Detached OpenSSF model signatures: made with a key or by Sigstore, verified without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from rollout.core.manifest import Artifact
from rollout.core.signing import SignatureFact, Signers

ReadPolicyFile = Callable[[PurePosixPath], bytes]
"""Reads a file below policies/ of the tree that judges. Raises Unreadable."""


def verify(
    folder: Path, artifact: Artifact, signers: Signers | None, read_policy_file: ReadPolicyFile
) -> SignatureFact:
    """What the adapter's signature is worth. Never raises for a bad one."""
    if artifact.signature is None:
        return SignatureFact.not_verified("the manifest names no signature", present=False)
    if signers is None or not signers.signers:
        return SignatureFact.not_verified("no policy says whose signatures count (policies/signers.yaml)")
    return SignatureFact.not_verified(f"not verified yet ({folder.name}, {read_policy_file})")
