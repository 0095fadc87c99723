"""Signatures over exactly the files of a manifest: with a private key, or as an identity that Sigstore vouches for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rollout.core.manifest import Artifact
from rollout.core.signing import SIGNATURE_FILE, KeySigner, Signers
from rollout.core.statement import differences, signed_files
from rollout.digests import require_sha256
from rollout.errors import Unavailable, Unreadable
from rollout.integrations.signing.verification import EXTRA, ReadPolicyFile, verify


class PrivateKey:
    """An EC private key (P-256, P-384 or P-521) in a PEM file."""

    def __init__(self, path: Path, *, password: str | None = None) -> None:
        """Nothing is read yet."""
        self._path = path
        self._password = None if password is None else password.encode()

    def has_signed(self, folder: Path, artifact: Artifact) -> bool:
        """Whether the folder holds a signature of this very key over the artifact's files."""
        own = KeySigner(name="own", kind="key", public_key="own.pem")
        signers = Signers.model_validate({"schema": "adapter-rollout/signers/v1", "signers": (own,)})
        return verify(folder, artifact, signers, lambda _: self.public_key()).verified

    def require_in_order(self, folder: Path, artifact: Artifact) -> None:
        """Raise Unreadable unless the folder holds exactly the artifact's files, besides a signature."""
        require_in_order(folder, artifact)

    def sign(self, folder: Path, artifact: Artifact) -> bytes:
        """A signature over the artifact's files. Raises Unreadable if they or the key are not in order."""
        with self._loading():
            from model_signing import signing

            config = signing.Config().use_elliptic_key_signer(private_key=self._path, password=self._password)
        return _signed(config, folder, artifact)

    def public_key(self) -> bytes:
        """The other half, in PEM: what belongs below policies/. Raises Unreadable."""
        with self._loading():
            from cryptography.hazmat.primitives import serialization

            private: Any = serialization.load_pem_private_key(self._path.read_bytes(), self._password)
            public: bytes = private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            return public

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """Errors in our words: nothing of the key, nothing of the password."""
        try:
            yield
        except ImportError:
            raise Unreadable("what makes signatures is not installed", advice=f"Run: {EXTRA}") from None
        except OSError as error:
            raise Unreadable(f"the key {self._path} cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, AttributeError):
            raise Unreadable(
                f"{self._path} cannot be used as a key",
                advice="It must be an EC private key on P-256, P-384 or P-521 in PEM, with its password if it has one.",
            ) from None


class SigstoreIdentity:
    """Whoever an OpenID Connect token names: a workflow that may ask for one, or a person at a browser."""

    def __init__(
        self,
        *,
        token: str | None,
        trust_config: Path | None,
        signers: Signers | None,
        read_policy_file: ReadPolicyFile,
    ) -> None:
        """`trust_config` is that of another instance than the public one; `signers` say what counts already."""
        self._token, self._trust_config = token, trust_config
        self._signers, self._read = signers, read_policy_file

    def has_signed(self, folder: Path, artifact: Artifact) -> bool:
        """Whether a trusted identity has signed the artifact's files already."""
        if self._signers is None:
            return False
        vouched = tuple(signer for signer in self._signers.signers if signer.kind == "sigstore")
        return verify(
            folder, artifact, self._signers.model_copy(update={"signers": vouched}), self._read
        ).verified

    def require_in_order(self, folder: Path, artifact: Artifact) -> None:
        """Raise Unreadable unless the folder holds exactly the artifact's files, besides a signature."""
        require_in_order(folder, artifact)

    def sign(self, folder: Path, artifact: Artifact) -> bytes:
        """A signature over the artifact's files, which a public log keeps for ever.

        Raises Unreadable if they are not in order or nobody says who signs, Unavailable if Sigstore fails.
        """
        with _connecting():
            from model_signing import signing

            config = signing.Config().use_sigstore_signer(
                identity_token=self._token or _ambient_token(), trust_config=self._trust_config
            )
            return _signed(config, folder, artifact)


@contextmanager
def _connecting() -> Iterator[None]:
    """Errors in our words; a token is a secret, and theirs may hold it."""
    try:
        from sigstore.oidc import ExpiredIdentity, IdentityError

        yield
    except ImportError:
        raise Unreadable("what makes signatures is not installed", advice=f"Run: {EXTRA}") from None
    except (Unreadable, Unavailable):
        raise
    except (IdentityError, ExpiredIdentity):
        raise Unreadable(
            "the identity token has run out, or is not for Sigstore",
            advice="Ask for a new one, with the audience `sigstore`.",
        ) from None
    except Exception as error:  # three services behind three libraries, each with errors of its own
        raise Unavailable(
            f"Sigstore did not sign ({type(error).__name__})",
            advice="Look whether its services are up; try again.",
        ) from None


def _ambient_token() -> str | None:
    """The token of a workflow; None for a person, who is asked in a browser. Raises Unreadable for neither."""
    from sigstore.oidc import detect_credential

    token: str | None = detect_credential()
    if token is None and not sys.stdin.isatty():
        raise Unreadable(
            "nobody says who signs",
            advice="Give the workflow `id-token: write`, name a token by --identity-token-env, or sign with --key.",
        )
    return token


def require_in_order(folder: Path, artifact: Artifact) -> None:
    """Raise Unreadable unless a folder holds exactly the artifact's files with their digests, besides a signature."""
    if folder.is_symlink() or not folder.is_dir():
        raise Unreadable(f"there is no adapter folder {folder}")
    for name, digest in artifact.files.items():
        require_sha256(folder / name, digest, name=name)
    signature = artifact.signature or SIGNATURE_FILE
    beyond = {path.name for path in folder.iterdir()} - artifact.files.keys() - {signature}
    if beyond:
        raise Unreadable(
            f"{sorted(beyond)[0]!r} lies in the adapter's folder and the manifest does not declare it",
            advice="Declare it under `artifact.files`, or remove it: a signature is over the whole folder.",
        )


def _signed(config: Any, folder: Path, artifact: Artifact) -> bytes:
    """What the library makes of the folder, if it is over what was meant."""
    from model_signing import hashing

    whole = hashing.Config().use_file_serialization()
    config.set_hashing_config(whole.set_ignored_paths(paths=[artifact.signature or SIGNATURE_FILE]))
    with TemporaryDirectory(prefix="rollout-sign-") as place, redirect_stdout(sys.stderr):
        signature = Path(place, "signature")
        config.sign(folder, signature)
        bundle = signature.read_bytes()
    if problem := differences(signed_files(bundle), artifact.files):
        raise Unreadable(f"{problem}: the files changed while they were signed")
    return bundle
