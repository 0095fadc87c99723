"""Signatures of ledger entries: Ed25519 over each line, which names the entry before it and so all that came before."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rollout.core.lifecycle import LedgerEntry
from rollout.errors import LedgerConflict, Unreadable

_EXTRA = "pip install 'adapter-rollout[signing]'"
_DOMAIN = b"adapter-rollout/ledger/v1\n"
_KEPT = b"adapter-rollout/kept/v1\n"
# A public key as `openssl pkey -pubout` writes it begins so (RFC 8410); 32 bytes of key follow.
_SPKI = bytes.fromhex("302a300506032b6570032100")


class Seal:
    """Signs what is written with the key in an environment variable, and holds what is read against public keys.

    With public keys every entry must bear a signature; an unsigned past is allowed up to `signed_from`, and never
    behind a signed entry. To read is to verify the last signature only: it is over the hash of the entry before,
    and whoever made it had verified that one. `check_all` verifies each.
    """

    def __init__(
        self,
        *,
        key_env: str | None = None,
        verify_keys: Sequence[str] = (),
        signed_from: datetime | None = None,
    ) -> None:
        self._key_env = key_env
        self._verify_keys = tuple(verify_keys)
        self._signed_from = signed_from
        self._verified: set[str] = set()

    @property
    def terms(self) -> str:
        """What decides whether a history is accepted: another answer to it may be another answer to that."""
        return f"{self._verify_keys} {self._signed_from}"

    @property
    def is_demanded(self) -> bool:
        """Whether what is read must be signed."""
        return bool(self._verify_keys)

    def stamp(self, content: bytes) -> str | None:
        """What only a holder of the signing key can put under a content; None without a key.

        HMAC-SHA-256 (RFC 2104) by the private key itself: for what this machine writes down for itself alone.
        """
        key = os.environ.get(self._key_env or "", "")
        return hmac.new(key.encode(), _KEPT + content, "sha256").hexdigest() if key else None

    def sign(self, entry: LedgerEntry) -> LedgerEntry:
        """The entry as it is to be stored. Raises Unreadable without a key where there must be one."""
        if self._key_env is None:
            if self._verify_keys:
                raise Unreadable(
                    "this ledger takes signed entries only, and its document names no key to sign with",
                    advice="Set `ledger.signing_key_env` in the environment document.",
                )
            return entry
        signature = base64.b64encode(self._private_key().sign(_message(entry))).decode()
        signed = entry.signed(signature)
        self.check((signed,), name=entry.event.name)
        return signed

    def check(self, entries: Sequence[LedgerEntry], *, name: str) -> None:
        """Raise LedgerConflict unless all that must be signed is, and the last signature is good."""
        if self._verify_keys:
            self._check_presence(entries, name)
            if entries and entries[-1].signature is not None:
                self._check_signature(entries[-1], name)

    def check_all(self, entries: Sequence[LedgerEntry], *, name: str) -> None:
        """The same with every signature."""
        self.check(entries, name=name)
        if self._verify_keys:
            for entry in entries:
                if entry.signature is not None:
                    self._check_signature(entry, name)

    def _check_presence(self, entries: Sequence[LedgerEntry], name: str) -> None:
        signed = False
        for entry in entries:
            signed = signed or entry.signature is not None
            past = self._signed_from is not None and entry.event.at < self._signed_from
            if entry.signature is None and (signed or not past):
                raise LedgerConflict(
                    f"entry {entry.seq} of the ledger of {name} is not signed",
                    advice="Look for who wrote it. A past without signatures is allowed by `ledger.signed_from`.",
                )

    def _check_signature(self, entry: LedgerEntry, name: str) -> None:
        if entry.hash in self._verified:
            return
        keys, signature = self._public_keys(), base64.b64decode(entry.signature or "")
        if not any(_is_by(key, signature, _message(entry)) for key in keys):
            raise LedgerConflict(
                f"entry {entry.seq} of the ledger of {name} is signed by none of the keys in `ledger.verify_keys`",
                advice="Look for who wrote it; a new key must be listed before it is used.",
            )
        self._verified.add(entry.hash)

    def _private_key(self) -> Any:
        """The key in the variable. What is raised holds nothing of it."""
        ed25519, serialization = _cryptography()
        advice = (
            "It takes an Ed25519 private key in PEM, without a password (openssl genpkey -algorithm ed25519)."
        )
        content = os.environ.get(self._key_env or "", "")
        if not content:
            raise Unreadable(f"{self._key_env} holds no key to sign the ledger with", advice=advice)
        try:
            key = serialization.load_pem_private_key(content.encode(), None)
        except (ValueError, TypeError):
            key = None
        except Exception:
            key = None  # The library has errors of its own for algorithms that it does not know.
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise Unreadable(f"{self._key_env} holds no usable key", advice=advice) from None
        return key

    def _public_keys(self) -> list[Any]:
        ed25519, _ = _cryptography()
        return [ed25519.Ed25519PublicKey.from_public_bytes(_raw(text)) for text in self._verify_keys]


def _message(entry: LedgerEntry) -> bytes:
    return _DOMAIN + entry.unsigned.encode()


def _raw(text: str) -> bytes:
    """32 bytes of a public key in base64, bare or as PEM holds it."""
    try:
        content = base64.b64decode(text, validate=True).removeprefix(_SPKI)
    except binascii.Error:
        content = b""
    if len(content) != 32:
        raise Unreadable(
            f"`ledger.verify_keys` holds {text[:80]!r}, which is no Ed25519 public key in base64",
            advice="Give what `openssl pkey -pubout` prints, without its first and last line.",
        )
    return content


def _is_by(key: Any, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise Unreadable("what signs and verifies is not installed", advice=f"Run: {_EXTRA}") from None
    return ed25519, serialization
