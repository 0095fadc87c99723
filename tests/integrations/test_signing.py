"""Signatures: made and verified by the real library, tampered with in every part, and never an error when bad."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from rollout.core.manifest import Artifact
from rollout.core.signing import SignatureFact, Signers
from rollout.errors import Unavailable, Unreadable
from rollout.integrations.signing import PrivateKey, SigstoreIdentity, verify
from tests.support.sigstore import ISSUER, LocalSigstore, local_sigstore, token

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FILES = {CONFIG: b'{"r": 8}', WEIGHTS: bytes(range(256)) * 8}
REPOSITORY = Path(__file__).parents[2]


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def artifact(files: Mapping[str, bytes] = FILES, signature: str | None = "model.sig") -> Artifact:
    return Artifact(
        uri="x", files=digests(files), rank=8, alpha=16, target_modules=("q_proj",), signature=signature
    )


def pem(key: Any, password: str | None = None) -> bytes:
    protection: Any = (
        serialization.NoEncryption()
        if password is None
        else serialization.BestAvailableEncryption(password.encode())
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


class Adapter:
    """A folder, a key, and policies that trust it as alice."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "adapter"
        self.folder.mkdir()
        for name, content in FILES.items():
            (self.folder / name).write_bytes(content)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.private = root / "private.pem"
        self.private.write_bytes(pem(self.key))
        self.policies = {"keys/alice.pem": public_pem(self.key)}
        self.signature = self.folder / "model.sig"

    def sign(self) -> None:
        self.signature.write_bytes(PrivateKey(self.private).sign(self.folder, artifact()))

    def read(self, path: PurePosixPath) -> bytes:
        if str(path) not in self.policies:
            raise Unreadable(f"policies/{path} cannot be read")
        return self.policies[str(path)]

    def fact(self, what: Artifact | None = None, who: Signers | None = None) -> SignatureFact:
        return verify(self.folder, what or artifact(), who or keys("alice"), self.read)


def keys(*names: str) -> Signers:
    return signers(*({"name": name, "kind": "key", "public_key": f"keys/{name}.pem"} for name in names))


def signers(*found: Mapping[str, str]) -> Signers:
    return Signers.model_validate({"schema": "adapter-rollout/signers/v1", "signers": found})


@pytest.fixture
def adapter(tmp_path: Path) -> Adapter:
    return Adapter(tmp_path)


def refused(fact: SignatureFact) -> str:
    """Why it is not verified; never by chance, and never without a reason."""
    assert not fact.verified
    assert fact.signer is None
    assert fact.problem
    return fact.problem


# --- what is right


def test_a_signature_over_exactly_the_declared_files_is_verified_and_its_signer_named(
    adapter: Adapter,
) -> None:
    adapter.sign()
    assert adapter.fact() == SignatureFact(present=True, verified=True, signer="alice", problem=None)
    assert adapter.fact().as_input() == {
        "present": True,
        "verified": True,
        "signer": "alice",
        "problem": None,
    }


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_every_curve_of_the_format_signs(curve: Callable[[], ec.EllipticCurve], adapter: Adapter) -> None:
    key = ec.generate_private_key(curve())
    adapter.private.write_bytes(pem(key))
    adapter.policies["keys/alice.pem"] = public_pem(key)
    adapter.sign()
    assert adapter.fact().verified


def test_whoever_of_several_signers_has_signed_is_named(adapter: Adapter) -> None:
    adapter.policies["keys/bob.pem"] = public_pem(ec.generate_private_key(ec.SECP256R1()))
    adapter.sign()
    assert adapter.fact(who=keys("bob", "alice")).signer == "alice"


def model_signing(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, words)], capture_output=True, text=True, timeout=60
    )


def test_what_the_librarys_own_command_signs_verifies_here(adapter: Adapter, tmp_path: Path) -> None:
    ran = model_signing(
        *("sign", "key", adapter.folder, "--private_key", adapter.private),
        *("--signature", adapter.signature, "--ignore-paths", adapter.signature),
    )
    assert ran.returncode == 0, ran.stderr
    assert adapter.fact().signer == "alice"


def test_what_is_signed_here_verifies_with_the_librarys_own_command(adapter: Adapter, tmp_path: Path) -> None:
    adapter.sign()
    public = tmp_path / "public.pem"
    public.write_bytes(public_pem(adapter.key))
    words = ("verify", "key", adapter.folder, "--signature", adapter.signature, "--public_key", public)
    ran = model_signing(*words)
    assert ran.returncode == 0, ran.stderr
    adapter.folder.joinpath(WEIGHTS).write_bytes(b"other")
    assert model_signing(*words).returncode != 0


def test_old_bundles_make_the_library_print_and_us_not(
    adapter: Adapter, capfd: pytest.CaptureFixture[str]
) -> None:
    adapter.sign()
    bundle = json.loads(adapter.signature.read_bytes())
    bundle["verificationMaterial"]["publicKey"] = {}
    adapter.signature.write_text(json.dumps(bundle))
    assert adapter.fact().verified
    assert capfd.readouterr() == ("", "")


# --- what is not there


def test_a_manifest_without_a_signature_has_none_and_nothing_is_imported(adapter: Adapter) -> None:
    fact = adapter.fact(artifact(signature=None))
    assert refused(fact) == "the manifest names no signature"
    assert not fact.present
    program = (
        "import sys\nfrom pathlib import Path\nfrom rollout.core.manifest import Artifact\n"
        "from rollout.integrations.signing import verify\n"
        "a = Artifact(uri='x', files={'a': 'a' * 64}, rank=1, alpha=1, target_modules=('q',))\n"
        "print(verify(Path('.'), a, None, lambda path: b'').problem)\n"
        "print([n for n in sys.modules if n.split('.')[0] in ('cryptography', 'model_signing', 'sigstore')])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY)
    assert ran.stdout.splitlines() == ["the manifest names no signature", "[]"], ran.stderr


def test_a_signature_that_is_named_and_not_there_is_not_present(adapter: Adapter) -> None:
    fact = adapter.fact()
    assert refused(fact) == "model.sig is not there"
    assert not fact.present


@pytest.mark.parametrize("who", [None, signers()], ids=["no document", "an empty list"])
def test_without_trusted_signers_nothing_counts(adapter: Adapter, who: Signers | None) -> None:
    adapter.sign()
    fact = verify(adapter.folder, artifact(), who, adapter.read)
    assert fact.present
    assert "no policy says whose signatures count" in refused(fact)


def test_without_the_library_nothing_counts_and_the_extra_is_named(adapter: Adapter, tmp_path: Path) -> None:
    adapter.sign()
    (tmp_path / "public.pem").write_bytes(adapter.policies["keys/alice.pem"])
    program = (
        "import sys; sys.modules['model_signing'] = None\nfrom pathlib import Path\n"
        "from tests.integrations.test_signing import artifact, keys\n"
        "from rollout.integrations.signing import verify\n"
        "print(verify(Path(sys.argv[1]), artifact(), keys('alice'), lambda _: Path(sys.argv[2]).read_bytes()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, adapter.folder, tmp_path / "public.pem"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert "verified=False" in ran.stdout, ran.stderr
    assert "pip install 'adapter-rollout[signing]'" in ran.stdout


# --- what was tampered with


@pytest.mark.parametrize("name", FILES)
def test_one_bit_of_any_file_is_enough(adapter: Adapter, name: str) -> None:
    adapter.sign()
    original = FILES[name]
    for at in {0, 1, len(original) // 2, len(original) - 1}:
        flipped = bytearray(original)
        flipped[at] ^= 1
        adapter.folder.joinpath(name).write_bytes(flipped)
        assert refused(adapter.fact()) == f"{name}: not the bytes that were signed"
    adapter.folder.joinpath(name).write_bytes(original[:-1])
    assert name in refused(adapter.fact())
    adapter.folder.joinpath(name).unlink()
    assert name in refused(adapter.fact())
    adapter.folder.joinpath(name).write_bytes(original)
    assert adapter.fact().verified


@pytest.mark.parametrize("bit", [0x01, 0x20, 0x80])
def test_any_byte_of_the_signature_matters_or_changes_nothing_that_was_said(
    adapter: Adapter, bit: int
) -> None:
    adapter.sign()
    original = adapter.signature.read_bytes()
    verified = 0
    for at in range(len(original)):
        flipped = bytearray(original)
        flipped[at] ^= bit
        adapter.signature.write_bytes(flipped)
        fact = adapter.fact()
        if fact.verified:
            verified += 1
            assert said(bytes(flipped)) == said(original), f"byte {at}"
        else:
            refused(fact)
    assert verified < len(original) / 10


def said(bundle: bytes) -> tuple[bytes, bytes]:
    """What a bundle says and with which signature, whatever stands around it."""
    envelope = json.loads(bundle)["dsseEnvelope"]
    (signature,) = envelope["signatures"]
    return base64.b64decode(envelope["payload"]), base64.b64decode(signature["sig"])


def test_the_signature_of_another_adapter_does_not_count(adapter: Adapter, tmp_path: Path) -> None:
    adapter.sign()
    (tmp_path / "second").mkdir()
    other = Adapter(tmp_path / "second")
    files = {CONFIG: FILES[CONFIG], WEIGHTS: b"other weights"}
    other.folder.joinpath(WEIGHTS).write_bytes(files[WEIGHTS])
    theirs = PrivateKey(adapter.private).sign(other.folder, artifact(files))
    mine = adapter.signature.read_bytes()
    adapter.signature.write_bytes(theirs)
    problem = refused(adapter.fact())
    assert problem == f"the signature is over other bytes of {WEIGHTS} than the manifest declares"
    adapter.signature.write_bytes(mine)
    assert adapter.fact().verified


def test_a_key_that_nobody_trusts_does_not_count(adapter: Adapter) -> None:
    adapter.private.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    adapter.sign()
    assert refused(adapter.fact()) == "it is not by alice (another key)"
    bundle = json.loads(adapter.signature.read_bytes())
    bundle["verificationMaterial"]["publicKey"] = {}  # without the hint, the mathematics decide
    adapter.signature.write_text(json.dumps(bundle))
    assert refused(adapter.fact()) == "it is not by alice (another key)"


def test_a_policy_whose_key_cannot_be_read_trusts_nobody(adapter: Adapter) -> None:
    adapter.sign()
    assert refused(adapter.fact(who=keys("bob"))) == "it is not by bob (policies/keys/bob.pem cannot be read)"
    for content in (b"", b"garbage", pem(adapter.key), public_pem(rsa.generate_private_key(65537, 2048))):
        adapter.policies["keys/alice.pem"] = content
        assert "it is not by alice" in refused(adapter.fact())


# --- what was signed, but not this


def bundle(key: Any, payload: bytes, payload_type: str = "application/vnd.in-toto+json") -> bytes:
    """A statement of anybody's making, rightly signed."""
    encoded = f"DSSEv1 {len(payload_type)} {payload_type} {len(payload)} ".encode() + payload
    signature = key.sign(encoded, ec.ECDSA(hashes.SHA256()))
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "publicKey": {"hint": hashlib.sha256(public_pem(key)).hexdigest()},
                "tlogEntries": [],
            },
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": payload_type,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            },
        }
    ).encode()


def statement(files: Mapping[str, str], **changes: Any) -> dict[str, Any]:
    root = hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in files.values())).hexdigest()
    resources = [{"name": n, "algorithm": "sha256", "digest": d} for n, d in files.items()]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "adapter", "digest": {"sha256": root}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": ["model.sig"],
            },
            "resources": resources,
            **changes,
        },
    }


def test_a_statement_of_our_own_making_is_good_so_that_the_bad_ones_below_mean_something(
    adapter: Adapter,
) -> None:
    adapter.signature.write_bytes(bundle(adapter.key, json.dumps(statement(digests(FILES))).encode()))
    assert adapter.fact().signer == "alice"


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({CONFIG: FILES[CONFIG]}, f"the signature leaves out {WEIGHTS}"),
        (
            {**FILES, "README.md": b"x"},
            "the signature speaks of README.md, which the manifest does not declare",
        ),
        ({**FILES, "../../etc/passwd": b"x"}, "the signature speaks of ../../etc/passwd, which"),
        ({**FILES, "\x1b[31m": b"x"}, r"the signature speaks of \x1b[31m, which"),
        ({CONFIG: b"{}", WEIGHTS: b""}, f"is over other bytes of {CONFIG}, {WEIGHTS} than"),
    ],
)
def test_a_statement_about_other_files_does_not_count(
    adapter: Adapter, files: Mapping[str, bytes], problem: str
) -> None:
    adapter.signature.write_bytes(bundle(adapter.key, json.dumps(statement(digests(files))).encode()))
    assert problem in refused(adapter.fact())


def odd(**changes: Any) -> bytes:
    return json.dumps(statement(digests(FILES)) | changes).encode()


def twice(key: str) -> bytes:
    text = json.dumps(statement(digests(FILES)))
    return text.replace(f'"{key}":', f'"{key}": null, "{key}":', 1).encode()


RESOURCES = statement(digests(FILES))["predicate"]["resources"]


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"", "the signed statement is not readable JSON"),
        (b"[]", "not over an in-toto statement"),
        (odd(_type="https://in-toto.io/Statement/v0.1"), "not over an in-toto statement"),
        (odd(predicateType="https://model_signing/Digests/v0.1"), "is not of the type"),
        (odd(predicate=[]), "the signature has no predicate"),
        (json.dumps(statement({}, resources=[])).encode(), "speaks of no files"),
        (json.dumps(statement({}, resources={})).encode(), "speaks of no files"),
        (json.dumps(statement({}, resources=[*RESOURCES, RESOURCES[0]])).encode(), "has a file twice"),
        (
            json.dumps(statement({}, resources=[{**RESOURCES[0], "algorithm": "blake2b"}])).encode(),
            "without a name and a sha256",
        ),
        (json.dumps(statement({}, serialization={"method": "shards"})).encode(), "not speak of whole files"),
        (twice("predicate"), "the signed statement is not readable JSON"),
        (twice("resources"), "the signed statement is not readable JSON"),
        (b"[" * 100_000, "the signed statement is not readable JSON"),
        (b"\xff\xfe", "the signed statement is not readable JSON"),
    ],
)
def test_a_signed_statement_of_another_kind_does_not_count(
    adapter: Adapter, payload: bytes, problem: str
) -> None:
    adapter.signature.write_bytes(bundle(adapter.key, payload))
    assert problem in refused(adapter.fact())


def test_a_statement_whose_sum_is_wrong_does_not_count(adapter: Adapter) -> None:
    subject = [{"name": "adapter", "digest": {"sha256": "0" * 64}}]
    adapter.signature.write_bytes(bundle(adapter.key, odd(subject=subject)))
    assert "Manifest is inconsistent" in refused(adapter.fact())


def test_shards_and_other_digests_of_the_library_itself_do_not_count(adapter: Adapter) -> None:
    from model_signing import hashing, signing

    for config in (
        hashing.Config().use_shard_serialization(shard_size=100),
        hashing.Config().use_file_serialization(hashing_algorithm="blake2"),
    ):
        config.set_ignored_paths(paths=["model.sig"])
        maker = signing.Config().use_elliptic_key_signer(private_key=adapter.private)
        maker.set_hashing_config(config).sign(adapter.folder, adapter.signature)
        assert "the signed statement" in refused(adapter.fact())


# --- what is no signature at all


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"null",
        b"[]",
        b"{}",
        b'{"verificationMaterial": {}, "dsseEnvelope": {}}',
        b'{"verificationMaterial": {}, "dsseEnvelope": {"payloadType": "application/vnd.in-toto+json"}}',
        b'{"verificationMaterial": 1, "dsseEnvelope": []}',
        b"[" * 500_000,
        b'{"a":' * 100_000,
        b"\x00" * 1000,
        b"\xff\xfe" * 1000,
        b"\x80\x05\x95garbage",
        b"-----BEGIN PGP SIGNATURE-----",
    ],
)
def test_garbage_is_a_fact_and_no_error(adapter: Adapter, content: bytes) -> None:
    adapter.signature.write_bytes(content)
    assert adapter.fact().present
    assert "the sign" in refused(adapter.fact())


def test_a_signature_of_a_gigabyte_is_not_read(adapter: Adapter) -> None:
    with adapter.signature.open("wb") as file:
        file.truncate(1 << 30)
    began = time.monotonic()
    assert "is larger than a signature can be" in refused(adapter.fact())
    assert time.monotonic() - began < 1


def test_a_signature_that_is_no_plain_file_is_not_read(adapter: Adapter, tmp_path: Path) -> None:
    adapter.signature.mkdir()
    assert refused(adapter.fact()) == "model.sig cannot be read: not a plain file"
    adapter.signature.rmdir()
    os.mkfifo(adapter.signature)
    assert refused(adapter.fact()) == "model.sig cannot be read: not a plain file"
    adapter.signature.unlink()
    adapter.signature.symlink_to("/dev/zero")
    assert "cannot be read" in refused(adapter.fact())
    adapter.signature.unlink()
    elsewhere = tmp_path / "elsewhere.sig"
    adapter.sign()
    adapter.signature.rename(elsewhere)
    adapter.signature.symlink_to(elsewhere)
    assert "cannot be read" in refused(adapter.fact())


def test_files_that_are_links_or_pipes_are_not_the_signed_ones(adapter: Adapter, tmp_path: Path) -> None:
    adapter.sign()
    weights = adapter.folder / WEIGHTS
    weights.rename(tmp_path / "real")
    weights.symlink_to(tmp_path / "real")
    assert refused(adapter.fact()) == f"{WEIGHTS}: not the bytes that were signed"
    weights.unlink()
    os.mkfifo(weights)
    assert refused(adapter.fact()) == f"{WEIGHTS}: not the bytes that were signed"
    weights.unlink()
    weights.mkdir()
    assert refused(adapter.fact()) == f"{WEIGHTS}: not the bytes that were signed"


# --- making them


def test_only_what_the_manifest_declares_is_signed(adapter: Adapter) -> None:
    key = PrivateKey(adapter.private)
    key.require_in_order(adapter.folder, artifact())
    adapter.folder.joinpath("training_args.bin").write_bytes(b"pickle")
    with pytest.raises(Unreadable, match=r"'training_args.bin' lies in the adapter's folder"):
        key.require_in_order(adapter.folder, artifact())
    with pytest.raises(Unreadable, match=r"speaks of training_args.bin, which the manifest does not declare"):
        key.sign(adapter.folder, artifact())
    adapter.folder.joinpath("training_args.bin").unlink()
    adapter.folder.joinpath(WEIGHTS).write_bytes(b"other")
    with pytest.raises(Unreadable, match="the manifest says"):
        key.require_in_order(adapter.folder, artifact())
    with pytest.raises(Unreadable, match="is over other bytes of"):
        key.sign(adapter.folder, artifact())


def test_a_key_knows_its_own_signature(adapter: Adapter) -> None:
    key = PrivateKey(adapter.private)
    assert not key.has_signed(adapter.folder, artifact())
    adapter.sign()
    assert key.has_signed(adapter.folder, artifact())
    adapter.private.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    assert not key.has_signed(adapter.folder, artifact())


def test_a_password_opens_its_key_and_is_never_said(adapter: Adapter) -> None:
    adapter.private.write_bytes(pem(adapter.key, "open sesame"))
    locked = PrivateKey(adapter.private, password="open sesame")
    adapter.signature.write_bytes(locked.sign(adapter.folder, artifact()))
    assert adapter.fact().verified
    assert locked.has_signed(adapter.folder, artifact())
    for password in ("wrong sesame", None):
        with pytest.raises(Unreadable, match="cannot be used as a key") as caught:
            PrivateKey(adapter.private, password=password).sign(adapter.folder, artifact())
        assert "sesame" not in f"{caught.value}{caught.value.advice}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        pem(rsa.generate_private_key(65537, 2048)),
        pem(ed25519.Ed25519PrivateKey.generate()),
        pem(ec.generate_private_key(ec.SECP256K1())),
        public_pem(ec.generate_private_key(ec.SECP256R1())),
    ],
    ids=["empty", "garbage", "RSA", "Ed25519", "another curve", "public"],
)
def test_what_is_no_key_of_the_format_does_not_sign(adapter: Adapter, content: bytes) -> None:
    adapter.private.write_bytes(content)
    with pytest.raises(Unreadable, match="cannot be used as a key") as caught:
        adapter.sign()
    assert "P-256, P-384 or P-521" in caught.value.advice


# --- Sigstore


class Vouched:
    """An adapter and a Sigstore of one's own that vouches for alice."""

    def __init__(self, adapter: Adapter, sigstore: LocalSigstore, place: Path) -> None:
        self.adapter, self.sigstore = adapter, sigstore
        self.config = place / "trust.json"
        self.config.write_text(json.dumps(sigstore.trust_config()))
        adapter.policies["trust.json"] = json.dumps(sigstore.trusted_root()).encode()

    def who(self, identity: str = "alice@example.com", issuer: str = ISSUER) -> Signers:
        return signers(
            {
                "name": "alice",
                "kind": "sigstore",
                "identity": identity,
                "issuer": issuer,
                "trust_root": "trust.json",
            }
        )

    def identity(self, bearer: str | None) -> SigstoreIdentity:
        return SigstoreIdentity(
            token=bearer, trust_config=self.config, signers=self.who(), read_policy_file=self.adapter.read
        )

    def sign(self, subject: str = "alice@example.com") -> None:
        made = self.identity(token(subject)).sign(self.adapter.folder, artifact())
        self.adapter.signature.write_bytes(made)

    def fact(self, **who: str) -> SignatureFact:
        return self.adapter.fact(who=self.who(**who))


@pytest.fixture
def vouched(adapter: Adapter, tmp_path: Path) -> Iterator[Vouched]:
    with local_sigstore() as sigstore:
        yield Vouched(adapter, sigstore, tmp_path)


def test_an_identity_signs_and_is_verified_without_the_network(adapter: Adapter, tmp_path: Path) -> None:
    with local_sigstore() as sigstore:
        vouched = Vouched(adapter, sigstore, tmp_path)
        vouched.sign()
        assert len(sigstore.logged) == 1
    assert vouched.fact() == SignatureFact.by("alice")
    assert vouched.identity(None).has_signed(adapter.folder, artifact())


def test_a_client_trust_configuration_is_a_trust_root_too(vouched: Vouched) -> None:
    vouched.sign()
    vouched.adapter.policies["trust.json"] = vouched.config.read_bytes()
    assert vouched.fact().verified


def test_a_workflow_is_named_by_its_address(vouched: Vouched) -> None:
    workflow = "https://github.example/team/repo/.github/workflows/sign.yaml@refs/heads/main"
    vouched.sign(workflow)
    assert vouched.fact(identity=workflow).verified
    assert "SANs do not match" in refused(vouched.fact(identity=workflow.replace("main", "evil")))


def test_another_identity_and_another_issuer_do_not_count(vouched: Vouched) -> None:
    vouched.sign("mallory@example.com")
    assert "it is not by alice (Certificate's SANs do not match" in refused(vouched.fact())
    vouched.sign()
    assert "it is not by alice" in refused(vouched.fact(issuer="https://elsewhere.example"))


def test_another_sigstore_does_not_count(vouched: Vouched) -> None:
    vouched.sign()
    with local_sigstore() as other:
        vouched.adapter.policies["trust.json"] = json.dumps(other.trusted_root()).encode()
        assert "it is not by alice" in refused(vouched.fact())


@pytest.mark.parametrize("late_s", [3600, -3600], ids=["expired", "not yet valid"])
def test_a_certificate_that_was_not_valid_when_it_was_logged_does_not_count(
    vouched: Vouched, late_s: int
) -> None:
    vouched.sigstore.log_late_s = late_s
    vouched.sign()
    assert "it is not by alice (" in refused(vouched.fact())


def test_any_byte_of_a_bundle_matters_or_changes_nothing_that_was_said(vouched: Vouched) -> None:
    vouched.sign()
    original = vouched.adapter.signature.read_bytes()
    verified = 0
    for at in range(0, len(original), 11):
        flipped = bytearray(original)
        flipped[at] ^= 1
        vouched.adapter.signature.write_bytes(flipped)
        fact = vouched.fact()
        if fact.verified:
            verified += 1
            assert said(bytes(flipped)) == said(original), f"byte {at}"
    assert verified < len(original) / 11 / 10


def test_the_two_ways_of_signing_are_not_mistaken_for_each_other(vouched: Vouched) -> None:
    vouched.sign()
    assert refused(vouched.adapter.fact()) == "it was made by Sigstore, and nobody who signs so is trusted"
    vouched.adapter.sign()
    assert refused(vouched.fact()) == "it was made with a key, and nobody who signs so is trusted"


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"garbage", b'{"trustedRoot": {}}', b"[" * 100_000])
def test_a_trust_root_that_is_none_trusts_nobody(vouched: Vouched, content: bytes) -> None:
    vouched.sign()
    vouched.adapter.policies["trust.json"] = content
    assert "it is not by alice (" in refused(vouched.fact())


def test_nothing_is_logged_for_ever_before_the_files_are_known_to_be_right(vouched: Vouched) -> None:
    vouched.adapter.folder.joinpath(WEIGHTS).write_bytes(b"other")
    with pytest.raises(Unreadable, match="the manifest says"):
        vouched.identity(token("alice@example.com")).require_in_order(vouched.adapter.folder, artifact())
    assert vouched.sigstore.logged == []


def test_nobody_signs_as_nobody(vouched: Vouched, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_ACTIONS", "SIGSTORE_ID_TOKEN", "BUILDKITE", "GITLAB_CI", "CIRCLECI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(Unreadable, match="nobody says who signs") as caught:
        vouched.identity(None).sign(vouched.adapter.folder, artifact())
    assert "id-token: write" in caught.value.advice
    for bearer in (token("alice@example.com", valid_s=-3600), "no token at all"):
        with pytest.raises(
            Unreadable, match="the identity token has run out, or is not for Sigstore"
        ) as caught:
            vouched.identity(bearer).sign(vouched.adapter.folder, artifact())
        assert bearer not in f"{caught.value}{caught.value.advice}"


def test_a_sigstore_that_is_down_is_unavailable(adapter: Adapter, tmp_path: Path) -> None:
    with local_sigstore() as sigstore:
        vouched = Vouched(adapter, sigstore, tmp_path)
    with pytest.raises(Unavailable, match="Sigstore did not sign"):
        vouched.sign()


def test_the_public_instances_own_trust_root_is_read_and_does_not_vouch_for_others(vouched: Vouched) -> None:
    import sigstore

    vouched.sign()
    (public,) = Path(sigstore.__file__).parent.glob("_store/*tuf-repo-cdn.sigstore.dev/trusted_root.json")
    vouched.adapter.policies["trust.json"] = public.read_bytes()
    assert "failed to build timestamp certificate chain" in refused(vouched.fact())
