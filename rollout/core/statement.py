"""What an OpenSSF model signature speaks of: the digests of files, read from the signed statement itself.

The signature is a Sigstore bundle around a DSSE envelope around an in-toto statement. Whether anybody trusted
signed it is asked elsewhere, of these very bytes; here it is only asked what was said.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"


def signed_files(bundle: bytes) -> dict[str, str]:
    """sha256 in hex by the name of each file that the statement in a bundle speaks of.

    Raises ValueError, with the reason, if it is no statement of that kind. A key that is written twice is
    refused: two readers could read two things.
    """
    envelope = _mapping(_strict_json(bundle, "the signature"), "dsseEnvelope")
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        raise ValueError("the signature is not over an in-toto statement")
    statement = _strict_json(_payload(envelope), "the signed statement")
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT_TYPE:
        raise ValueError("the signature is not over an in-toto statement")
    if statement.get("predicateType") != PREDICATE_TYPE:
        raise ValueError(f"the signed statement is not of the type {PREDICATE_TYPE}")
    predicate = _mapping(statement, "predicate")
    if _mapping(predicate, "serialization").get("method") != "files":
        raise ValueError("the signed statement does not speak of whole files")
    return _digests(predicate.get("resources"))


def kind_of(bundle: bytes) -> str:
    """Who can have made a bundle, as signers are told apart: `key` or `sigstore`. Raises ValueError."""
    material = _mapping(_strict_json(bundle, "the signature"), "verificationMaterial")
    return "key" if "publicKey" in material else "sigstore"


def differences(signed: Mapping[str, str], declared: Mapping[str, str]) -> str | None:
    """How the signed files are not exactly the declared ones, in one sentence; None if they are."""
    if left_out := sorted(declared.keys() - signed.keys()):
        return f"the signature leaves out {_names(left_out)}"
    if beyond := sorted(signed.keys() - declared.keys()):
        return f"the signature speaks of {_names(beyond)}, which the manifest does not declare"
    if others := sorted(name for name in declared if signed[name] != declared[name]):
        return f"the signature is over other bytes of {_names(others)} than the manifest declares"
    return None


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(ascii(name[:80])[1:-1] for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _digests(resources: object) -> dict[str, str]:
    if not isinstance(resources, list) or not resources:
        raise ValueError("the signed statement speaks of no files")
    found: dict[str, str] = {}
    for resource in resources:
        match resource:
            case {"name": str(name), "algorithm": "sha256", "digest": str(digest)} if name not in found:
                found[name] = digest
            case _:
                raise ValueError("the signed statement has a file twice, or without a name and a sha256")
    return found


def _payload(envelope: Mapping[str, object]) -> bytes:
    payload = envelope.get("payload")
    try:
        return base64.b64decode(payload if isinstance(payload, str) else "", validate=True)
    except binascii.Error:
        raise ValueError("the signed statement is not in base64") from None


def _mapping(data: object, key: str) -> dict[str, object]:
    found = data.get(key) if isinstance(data, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"the signature has no {key}")
    return found


def _strict_json(content: bytes, what: str) -> object:
    try:
        return json.loads(content, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise ValueError(f"{what} is not readable JSON") from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is written twice")
    return found
