"""Who may sign adapters, and what was found of a signature: one that does not verify is a fact, never an error."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from rollout.core.manifest import Document, Line, Name

SIGNERS_SCHEMA: Literal["adapter-rollout/signers/v1"] = "adapter-rollout/signers/v1"

SIGNATURE_FILE = "model.sig"
"""The name that OpenSSF model signing gives a detached signature."""

# A statement about 64 files, its certificate and the log's proof together are far below this.
MAX_SIGNATURE = 1 << 20

# Each part begins with a letter or a digit: no hidden file, no way up, no way out.
PolicyPath = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$", max_length=300
    ),
]
Issuer = Annotated[str, StringConstraints(pattern=r"^https?://[^\s\x00]+$", max_length=300)]


class KeySigner(Document):
    """Whoever holds the private key of a pair on one of the curves P-256, P-384 and P-521."""

    name: Name
    kind: Literal["key"]
    public_key: PolicyPath = Field(description="PEM file of the public key, relative to policies/.")


class SigstoreSigner(Document):
    """An identity that Sigstore vouches for: a person's e-mail address, or a workflow at a branch."""

    name: Name
    kind: Literal["sigstore"]
    identity: Line = Field(description="The certificate's subject: an e-mail address or a workflow's URL.")
    issuer: Issuer = Field(description="The OpenID Connect issuer that the certificate must name.")
    trust_root: PolicyPath = Field(
        description="Sigstore's trusted_root.json or client trust configuration, relative to policies/."
    )


Signer = Annotated[KeySigner | SigstoreSigner, Field(discriminator="kind")]


class Signers(Document):
    """Whose signatures count (`policies/signers.yaml`). An empty list trusts nobody."""

    model_config = ConfigDict(title="Signers v1")

    schema_: Literal["adapter-rollout/signers/v1"] = Field(alias="schema")
    signers: tuple[Signer, ...] = Field(max_length=64)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Signers:
        names = [signer.name for signer in self.signers]
        if len(set(names)) != len(names):
            raise ValueError("two signers have the same name")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureFact:
    """What was found of an adapter's signature.

    `present`: the manifest names a signature and the file is there. `verified`: it is of one of the trusted
    signers, over exactly the manifest's files with exactly their digests, and the bytes are these. `signer`
    is that signer's name. `problem` says in one sentence why it is not verified; None if it is.
    """

    present: bool
    verified: bool
    signer: str | None
    problem: str | None

    @classmethod
    def not_verified(cls, problem: str, *, present: bool = True) -> SignatureFact:
        """A signature that counts for nothing, and why."""
        return cls(present=present, verified=False, signer=None, problem=problem)

    @classmethod
    def by(cls, signer: str) -> SignatureFact:
        """A verified signature of `signer`."""
        return cls(present=True, verified=True, signer=signer, problem=None)

    def as_input(self) -> dict[str, object]:
        """The fact as plain data, the way a policy expression sees it."""
        return asdict(self)
