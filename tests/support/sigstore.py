"""A Sigstore of one's own on loopback: certificate authority, transparency log, log of certificates, token issuer.

It speaks to the real client as the public instance does (Fulcio v2, Rekor v1 with a log of one entry, OpenID
Connect discovery), with keys made anew, so that signing and verifying run their whole real course here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

ISSUER = "https://issuer.example"
_START = "2020-01-01T00:00:00Z"
_OIDC_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_SCT_LIST = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")


def token(subject: str, *, valid_s: int = 600) -> str:
    """What an issuer gives to `subject`; only its claims are read."""
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": subject, "aud": "sigstore", "iat": now, "exp": now + valid_s}
    return jwt.encode(claims, "a secret of at least thirty-two bytes", algorithm="HS256")


class Key:
    """A P-256 key and the names that logs give it."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.der = self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.id = hashlib.sha256(self.der).digest()

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data, ec.ECDSA(hashes.SHA256()))

    def described(self) -> dict[str, Any]:
        return {
            "rawBytes": _text(self.der),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": {"start": _START},
        }


class LocalSigstore:
    """The authority's keys, and how far its clocks are wrong: `log_late_s` is the log's."""

    def __init__(self) -> None:
        self.authority, self.log, self.certificates = Key(), Key(), Key()
        self.root = self._root()
        self.url = ""
        self.log_late_s = 0
        self.logged: list[dict[str, Any]] = []

    def trusted_root(self) -> dict[str, Any]:
        """What a verifier is told."""
        log = {"baseUrl": self.url, "hashAlgorithm": "SHA2_256"}
        certificate = _text(self.root.public_bytes(serialization.Encoding.DER))
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log | {"publicKey": self.log.described(), "logId": {"keyId": _text(self.log.id)}}],
            "ctlogs": [
                log
                | {
                    "publicKey": self.certificates.described(),
                    "logId": {"keyId": _text(self.certificates.id)},
                }
            ],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "test", "commonName": "test"},
                    "uri": self.url,
                    "certChain": {"certificates": [{"rawBytes": certificate}]},
                    "validFor": {"start": _START},
                }
            ],
        }

    def trust_config(self) -> dict[str, Any]:
        """What a signer is told."""
        service = {"majorApiVersion": 1, "validFor": {"start": _START}, "operator": "test"}
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": self.trusted_root(),
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": [{"url": self.url, **service}],
                "oidcUrls": [{"url": f"{self.url}/oidc", **service}],
                "rekorTlogUrls": [{"url": self.url, **service}],
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaConfig": {"selector": "ANY"},
            },
        }

    def _root(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        public = self.authority.private.public_key()
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(days=1))
            .not_valid_after(datetime.now(UTC) + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self.authority.private, hashes.SHA256())
        )

    def certify(self, public: Any, subject: str) -> x509.Certificate:
        """A certificate of ten minutes for whoever the token names, with the promise of the log inside."""
        kind = x509.UniformResourceIdentifier if "://" in subject else x509.RFC822Name
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        issuer = x509.UnrecognizedExtension(_OIDC_ISSUER, ISSUER.encode())
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.root.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(seconds=5))
            .not_valid_after(now + timedelta(minutes=10))
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.private.public_key()),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([kind(subject)]), critical=True)
            .add_extension(issuer, critical=False)
        )
        bare = builder.sign(self.authority.private, hashes.SHA256())
        promise = x509.UnrecognizedExtension(_SCT_LIST, self._promise(bare.tbs_certificate_bytes))
        return builder.add_extension(promise, critical=False).sign(self.authority.private, hashes.SHA256())

    def _promise(self, body: bytes) -> bytes:
        """A list of one signed certificate timestamp (RFC 6962), in the OCTET STRING that an extension holds."""
        moment = int(time.time() * 1000)
        entry = self.authority.id + len(body).to_bytes(3, "big") + body
        signature = self.certificates.sign(struct.pack("!BBQH", 0, 0, moment, 1) + entry + b"\0\0")
        sct = b"\0" + self.certificates.id + struct.pack("!QH", moment, 0)
        sct += b"\x04\x03" + struct.pack("!H", len(signature)) + signature
        found = struct.pack("!HH", len(sct) + 2, len(sct)) + sct
        length = bytes([len(found)]) if len(found) < 128 else bytes([0x81, len(found)])
        return b"\x04" + length + found

    def enter(self, proposed: dict[str, Any]) -> dict[str, Any]:
        """Take an envelope into the log, of which it is the only entry."""
        content = proposed["spec"]["proposedContent"]
        envelope = json.loads(content["envelope"])
        payload = base64.b64decode(envelope["payload"])
        body = _canonical(
            {
                "apiVersion": "0.0.1",
                "kind": "dsse",
                "spec": {
                    "envelopeHash": _hash(content["envelope"].encode()),
                    "payloadHash": _hash(payload),
                    "signatures": [
                        {"signature": envelope["signatures"][0]["sig"], "verifier": content["verifiers"][0]}
                    ],
                },
            }
        )
        entry = {
            "body": _text(body),
            "integratedTime": int(time.time()) + self.log_late_s,
            "logID": self.log.id.hex(),
            "logIndex": 0,
        }
        root = hashlib.sha256(b"\0" + body).digest()
        note = f"test log\n1\n{_text(root)}\n"
        signed = _text(self.log.id[:4] + self.log.sign(note.encode()))
        proof = {
            "logIndex": 0,
            "rootHash": root.hex(),
            "treeSize": 1,
            "hashes": [],
            "checkpoint": f"{note}\n\u2014 test {signed}\n",
        }
        stamp = _text(self.log.sign(_canonical(entry)))
        self.logged.append(entry)
        return {"0" * 64: entry | {"verification": {"signedEntryTimestamp": stamp, "inclusionProof": proof}}}


@contextmanager
def local_sigstore() -> Iterator[LocalSigstore]:
    """Serve one on a free port."""
    sigstore = LocalSigstore()

    class Bound(_Handler):
        authority = sigstore

    with ThreadingHTTPServer(("127.0.0.1", 0), Bound) as server:
        server.daemon_threads = True
        sigstore.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield sigstore
        finally:
            server.shutdown()
            thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    authority: LocalSigstore

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        endpoints = {"authorization_endpoint": f"{self.authority.url}/auth", "token_endpoint": "x"}
        self._answer(endpoints)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/v2/signingCert":
            self._answer(self._certificate(asked))
        else:
            self._answer(self.authority.enter(asked), 201)

    def _certificate(self, asked: dict[str, Any]) -> dict[str, Any]:
        request = x509.load_pem_x509_csr(base64.b64decode(asked["certificateSigningRequest"]))
        bearer = self.headers["Authorization"].removeprefix("Bearer ")
        claims = jwt.decode(bearer, options={"verify_signature": False})
        leaf = self.authority.certify(request.public_key(), claims["sub"])
        chain = [
            each.public_bytes(serialization.Encoding.PEM).decode() for each in (leaf, self.authority.root)
        ]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

    def _answer(self, data: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _hash(content: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(content).hexdigest()}


def _canonical(data: dict[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
