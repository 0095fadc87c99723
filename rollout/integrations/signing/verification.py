"""What a signature is worth: by whom it is, over what, and why it counts for nothing if it does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from rollout.core.manifest import Artifact
from rollout.core.signing import MAX_SIGNATURE, KeySigner, SignatureFact, Signer, Signers
from rollout.core.statement import differences, kind_of, signed_files
from rollout.digests import open_plain, sha256_of

EXTRA = "pip install 'adapter-rollout[signing]'"

ReadPolicyFile = Callable[[PurePosixPath], bytes]
"""Reads a file below policies/ of the tree that judges. Raises Unreadable."""


def verify(
    folder: Path, artifact: Artifact, signers: Signers | None, read_policy_file: ReadPolicyFile
) -> SignatureFact:
    """What the adapter's signature is worth. Never raises for a bad one."""
    if artifact.signature is None:
        return SignatureFact.not_verified("the manifest names no signature", present=False)
    if not os.path.lexists(folder / artifact.signature):
        return SignatureFact.not_verified(f"{artifact.signature} is not there", present=False)
    if signers is None or not signers.signers:
        return SignatureFact.not_verified("no policy says whose signatures count (policies/signers.yaml)")
    try:
        bundle = _read(folder / artifact.signature)
        kind, problem = kind_of(bundle), differences(signed_files(bundle), artifact.files)
    except ValueError as error:
        return SignatureFact.not_verified(str(error))
    if problem is None:
        # The library would wait for a pipe to be written.
        problem = _not_as_signed(name for name in artifact.files if not _is_plain(folder / name))
    if problem is not None:
        return SignatureFact.not_verified(problem)
    trusted = [signer for signer in signers.signers if signer.kind == kind]
    if not trusted:
        made = {"key": "with a key", "sigstore": "by Sigstore"}[kind]
        return SignatureFact.not_verified(f"it was made {made}, and nobody who signs so is trusted")
    return _ask(trusted, bundle, folder, artifact, read_policy_file)


def _read(path: Path) -> bytes:
    """The signature's bytes. Raises ValueError for what is none."""
    try:
        with open_plain(path) as file:
            content = file.read(MAX_SIGNATURE + 1)
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from None
    if len(content) > MAX_SIGNATURE:
        raise ValueError(f"{path.name} is larger than a signature can be ({MAX_SIGNATURE} bytes)")
    return content


def _is_plain(path: Path) -> bool:
    try:
        open_plain(path).close()
    except OSError:
        return False
    return True


def _not_as_signed(names: Iterable[str]) -> str | None:
    found = list(names)
    return f"{', '.join(found[:3])}: not the bytes that were signed" if found else None


def _ask(
    trusted: Sequence[Signer], bundle: bytes, folder: Path, artifact: Artifact, read: ReadPolicyFile
) -> SignatureFact:
    """Each signer in turn: who has signed, or else why it is none of them."""
    reasons = []
    # What the library prints does not belong into our output.
    with TemporaryDirectory(prefix="rollout-verify-") as place, redirect_stdout(StringIO()):
        signature = Path(place, "signature")
        signature.write_bytes(bundle)
        for signer in trusted:
            try:
                _verifier(signer, Path(place, "trust"), read).verify(folder, signature)
            except ImportError:
                return SignatureFact.not_verified(f"what verifies signatures is not installed: {EXTRA}")
            except Exception as error:  # these bytes are anybody's, and the libraries raise anything for them
                reasons.append(f"{signer.name} ({_reason(error)})")
            else:
                return SignatureFact.by(signer.name)
    changed = _not_as_signed(n for n, digest in artifact.files.items() if sha256_of(folder / n) != digest)
    return SignatureFact.not_verified(changed or "it is not by " + ", nor by ".join(reasons))


def _verifier(signer: Signer, trust: Path, read: ReadPolicyFile) -> Any:
    """The library, told whom to trust. It hashes only the files of the statement, which are the declared ones."""
    from model_signing import hashing, verifying

    config = verifying.Config().set_ignore_unsigned_files(True)
    config.set_hashing_config(hashing.Config().use_file_serialization())
    if isinstance(signer, KeySigner):
        trust.write_bytes(read(PurePosixPath(signer.public_key)))
        return config.use_elliptic_key_verifier(public_key=trust)
    trust.write_bytes(_trust_config(read(PurePosixPath(signer.trust_root))))
    return config.use_sigstore_verifier(
        identity=signer.identity, oidc_issuer=signer.issuer, trust_config=trust
    )


def _trust_config(content: bytes) -> bytes:
    """What sigstore reads: a client trust configuration; a trusted root alone is put into one."""
    data = json.loads(content)
    if "trustedRoot" in data:
        return content
    # Nothing is signed with it, so it names no services.
    services = {
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaConfig": {"selector": "ANY"},
    }
    media_type = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
    return json.dumps({"mediaType": media_type, "trustedRoot": data, "signingConfig": services}).encode()


def _reason(error: Exception) -> str:
    """One short line that can be printed, whatever the error holds."""
    text = str(error).strip()
    if type(error).__name__ == "InvalidSignature" or text.startswith("Key mismatch"):
        return "another key"
    line = (text.splitlines() or [type(error).__name__])[0]
    return "".join(character if character.isprintable() else "?" for character in line)[:200]
