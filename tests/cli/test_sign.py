"""`rollout sign` and `rollout fetch`: used as a user would, interrupted, and refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rollout import wiring
from rollout.cli import VERBS
from rollout.cli.fetch import command as fetch_command
from rollout.cli.sign import command
from rollout.core.signing import SignatureFact
from tests.support.adapters import write_repository
from tests.support.commands import rollout
from tests.support.kill import die_at, points_of
from tests.support.objectstore import ObjectServer, object_server
from tests.support.sigstore import ISSUER, local_sigstore, token

MANIFEST = "manifests/support/support-bot.yaml"
ADAPTER = "adapters/1.0.0"
KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


def write_key(path: Path, key: ec.EllipticCurvePrivateKey = KEY, password: str | None = None) -> Path:
    protection = (
        serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    )
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    )
    return path


def trust(root: Path, key: ec.EllipticCurvePrivateKey = KEY) -> None:
    keys = root / "policies/keys"
    keys.mkdir(exist_ok=True)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (keys / "alice.pem").write_bytes(public)
    (root / "policies/signers.yaml").write_text(
        "schema: adapter-rollout/signers/v1\n"
        "signers:\n  - {name: alice, kind: key, public_key: keys/alice.pem}\n"
    )


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = write_repository(tmp_path / "repository")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path / "key.pem")


def worth(root: Path) -> SignatureFact:
    """What the working folder's policies say of the adapter's signature."""
    judge = wiring.working_folder(root)
    return wiring.verify_artifact(root, judge, judge.manifest(PurePosixPath(MANIFEST)).value.artifact)


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.parts and path.suffix != ".lock"
    }


@pytest.mark.parametrize(("verb", "its"), [("sign", command), ("fetch", fetch_command)])
def test_the_help_is_the_line_in_the_list_of_verbs(verb: str, its: object) -> None:
    assert (getattr(its, "help", None) or "").split("\n")[0] == VERBS[verb]


def test_it_signs_names_the_signature_and_keeps_every_other_byte_of_the_manifest(
    root: Path, key: Path
) -> None:
    before = files(root)
    ended = rollout("sign", MANIFEST, "--key", str(key))
    assert (ended.status, ended.out) == (
        0,
        f"{ADAPTER}/model.sig: signed\n{MANIFEST}: artifact.signature is set to model.sig\n",
    )
    assert "policies/signers.yaml does not trust it yet: no policy says whose" in ended.err
    after = files(root)
    assert after.pop(f"{ADAPTER}/model.sig")
    assert after[MANIFEST].replace(b"  signature: model.sig\n", b"") == before[MANIFEST]
    assert {**after, MANIFEST: before[MANIFEST]} == before
    trust(root)
    assert worth(root) == SignatureFact.by("alice")


def test_signing_again_changes_nothing(root: Path, key: Path) -> None:
    trust(root)
    rollout("sign", MANIFEST, "--key", str(key))
    before = files(root)
    ended = rollout("sign", MANIFEST, "--key", str(key))
    assert (ended.status, ended.out, ended.err) == (
        0,
        f"{ADAPTER}/model.sig: was signed already\npolicies/signers.yaml trusts it: alice\n",
        "",
    )
    assert files(root) == before


def test_another_key_signs_anew(root: Path, key: Path, tmp_path: Path) -> None:
    trust(root, OTHER)
    rollout("sign", MANIFEST, "--key", str(key))
    assert "another key" in (worth(root).problem or "")
    ended = rollout("sign", MANIFEST, "--key", str(write_key(tmp_path / "other.pem", OTHER)))
    assert f"{ADAPTER}/model.sig: signed" in ended.out
    assert worth(root).verified


def test_a_dry_run_changes_nothing_and_says_what_would_be(root: Path, key: Path) -> None:
    before = files(root)
    ended = rollout("sign", MANIFEST, "--key", str(key), "--dry-run")
    assert ended.status == 0
    assert ended.out == (
        f"{ADAPTER}/model.sig: would be signed\n{MANIFEST}: artifact.signature would be set to model.sig\n"
    )
    assert files(root) == before


def test_a_name_that_is_written_as_null_is_filled_in(root: Path, key: Path) -> None:
    path = root / MANIFEST
    path.write_text(path.read_text().replace("  rank: 2\n", "  signature: null # not yet\n  rank: 2\n"))
    assert rollout("sign", MANIFEST, "--key", str(key)).status == 0
    assert "  signature: model.sig # not yet\n" in path.read_text()


def test_a_name_of_ones_own_is_kept(root: Path, key: Path) -> None:
    path = root / MANIFEST
    path.write_text(path.read_text().replace("  rank: 2\n", "  signature: adapter.sigstore\n  rank: 2\n"))
    assert rollout("sign", MANIFEST, "--key", str(key)).status == 0
    assert (root / ADAPTER / "adapter.sigstore").exists()
    trust(root)
    assert worth(root).verified


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_other_bytes_than_declared_are_not_signed(root: Path, key: Path, dry: tuple[str, ...]) -> None:
    config = root / ADAPTER / "adapter_config.json"
    config.write_bytes(config.read_bytes() + b" ")
    before = files(root)
    ended = rollout("sign", MANIFEST, "--key", str(key), *dry)
    assert ended.status == 3
    assert "adapter_config.json has sha256" in ended.err
    assert "give changed bytes a new version" in ended.err
    assert files(root) == before


def test_what_is_not_declared_is_not_signed(root: Path, key: Path) -> None:
    (root / ADAPTER / "optimizer.pt").write_bytes(b"pickle")
    ended = rollout("sign", MANIFEST, "--key", str(key))
    assert ended.status == 3
    assert "'optimizer.pt' lies in the adapter's folder and the manifest does not declare it" in ended.err
    assert not (root / ADAPTER / "model.sig").exists()


def test_a_password_comes_from_the_environment_and_is_never_shown(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = write_key(tmp_path / "locked.pem", password="open sesame")
    words = ("sign", MANIFEST, "--key", str(locked), "--password-env", "KEY_PASSWORD")
    ended = rollout(*words)
    assert (ended.status, "KEY_PASSWORD is empty or not set" in ended.err) == (2, True)
    monkeypatch.setenv("KEY_PASSWORD", "wrong sesame")
    ended = rollout(*words)
    assert (ended.status, "cannot be used as a key" in ended.err) == (3, True)
    assert "sesame" not in ended.out + ended.err
    monkeypatch.setenv("KEY_PASSWORD", "open sesame")
    assert rollout(*words).status == 0
    trust(root)
    assert worth(root).verified


@pytest.mark.parametrize("words", [(), ("--key", "KEY", "--sigstore")])
def test_who_signs_must_be_said_once(root: Path, key: Path, words: tuple[str, ...]) -> None:
    ended = rollout("sign", MANIFEST, *(str(key) if word == "KEY" else word for word in words))
    assert (ended.status, "say who signs" in ended.err) == (2, True)


def test_an_adapter_elsewhere_is_signed_where_it_is_published_from(
    root: Path, key: Path, tmp_path: Path
) -> None:
    path = root / MANIFEST
    path.write_text(path.read_text().replace(f"uri: {ADAPTER}", "uri: s3://models/bot"))
    ended = rollout("sign", MANIFEST, "--key", str(key))
    assert ended.status == 3
    assert "--folder" in ended.err
    shutil.move(root / ADAPTER, tmp_path / "upload")
    ended = rollout("sign", MANIFEST, "--key", str(key), "--folder", str(tmp_path / "upload"))
    assert ended.status == 0, ended.err
    assert (tmp_path / "upload/model.sig").exists()
    assert "signature: model.sig" in path.read_text()


def test_a_folder_that_cannot_be_written_is_said(root: Path, key: Path) -> None:
    (root / ADAPTER / "model.sig").mkdir()
    ended = rollout("sign", MANIFEST, "--key", str(key))
    assert ended.status == 4
    assert "cannot be written" in ended.err


def test_an_identity_signs_by_the_token_in_the_environment(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_sigstore() as sigstore:
        config = tmp_path / "trust.json"
        config.write_text(json.dumps(sigstore.trust_config()))
        (root / "policies/trust.json").write_text(json.dumps(sigstore.trusted_root()))
        (root / "policies/signers.yaml").write_text(
            "schema: adapter-rollout/signers/v1\nsigners:\n  - name: alice\n    kind: sigstore\n"
            f"    identity: alice@example.com\n    issuer: {ISSUER}\n    trust_root: trust.json\n"
        )
        monkeypatch.setenv("TOKEN", token("alice@example.com"))
        words = (
            "sign",
            MANIFEST,
            "--sigstore",
            "--trust-config",
            str(config),
            "--identity-token-env",
            "TOKEN",
        )
        assert rollout(*words, "--dry-run").status == 0
        assert sigstore.logged == [], "a dry run leaves nothing in a log that is for ever"
        ended = rollout(*words)
        assert (ended.status, "policies/signers.yaml trusts it: alice" in ended.out) == (0, True), ended.err
        assert "was signed already" in rollout(*words).out
        assert len(sigstore.logged) == 1
        assert os.environ["TOKEN"] not in ended.out + ended.err
    assert worth(root).verified


def test_dead_at_any_moment_and_run_again_the_adapter_is_signed(
    root: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(root)
    path = PurePosixPath(MANIFEST)

    def sign(place: Path) -> None:
        signer = wiring.private_key(key, password=None)
        wiring.sign_adapter(place, path, signer, folder=None, dry_run=False)

    sign(shutil.copytree(root, tmp_path / "warm"))  # what is imported is imported now
    points = points_of(lambda: sign(shutil.copytree(root, tmp_path / "undisturbed")))
    copying = points_of(lambda: shutil.copytree(root, tmp_path / "copied"))
    assert len(points) - len(copying) > 6
    for point in range(len(points) - len(copying)):
        place = shutil.copytree(root, tmp_path / f"dead-{point}")
        die_at(point, lambda place=place: sign(place))  # type: ignore[misc]
        signature = place / ADAPTER / "model.sig"
        if b"signature: model.sig" in (place / MANIFEST).read_bytes():
            assert worth(place).verified, "a manifest names a signature that is not whole"
        elif signature.exists():
            assert json.loads(signature.read_bytes()), "half a signature has its name"
        sign(place)
        assert worth(place) == SignatureFact.by("alice")
        left = {p.name for p in (place / ADAPTER).iterdir()}
        assert left == {"adapter_config.json", "adapter_model.safetensors", "model.sig"}
        assert not list((place / MANIFEST).parent.glob(".*.tmp"))


# --- fetch


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with object_server() as started:
        yield started


def publish(root: Path, server: ObjectServer) -> str:
    """Move the adapter to a server, and say so in the manifest."""
    uri = server.publish("http", {p.name: p.read_bytes() for p in (root / ADAPTER).iterdir()})
    shutil.rmtree(root / ADAPTER)
    path = root / MANIFEST
    path.write_text(path.read_text().replace(f"uri: {ADAPTER}", f'uri: "{uri}"'))
    return uri


def admit(root: Path, prefix: str) -> None:
    (root / "policies/sources.yaml").write_text(
        f'schema: adapter-rollout/sources/v1\nallowed: ["{prefix}"]\n'
    )


def test_it_fetches_verifies_and_prints_the_folder(root: Path, server: ObjectServer) -> None:
    expected = {p.name: p.read_bytes() for p in (root / ADAPTER).iterdir()}
    publish(root, server)
    admit(root, f"{server.url}/web/team/")
    ended = rollout("fetch", MANIFEST)
    assert (ended.status, ended.err) == (0, "")
    folder = Path(ended.out.strip())
    assert folder.is_relative_to(root / ".rollout/artifacts")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == expected
    asked = len(server.requests)
    assert rollout("fetch", MANIFEST).out == ended.out
    assert len(server.requests) == asked


def test_nothing_is_fetched_from_where_no_policy_admits_it(root: Path, server: ObjectServer) -> None:
    publish(root, server)
    ended = rollout("fetch", MANIFEST)
    assert ended.status == 3
    assert "no policy says from where artifacts may come" in ended.err
    admit(root, f"{server.url}/web/team-evil/")
    ended = rollout("fetch", MANIFEST)
    assert ended.status == 3
    assert "policies/sources.yaml does not admit it" in ended.err
    assert server.requests == []


def test_a_change_cannot_admit_its_own_source(root: Path, server: ObjectServer) -> None:
    git = f"git -C {root} -c user.name=t -c user.email=t@t"
    os.system(f"{git} init -q && {git} add -A && {git} commit -qm before")
    publish(root, server)
    admit(root, f"{server.url}/")
    ended = rollout("fetch", MANIFEST, "--base", "HEAD")
    assert ended.status == 3
    assert "no policy says from where artifacts may come" in ended.err
    assert server.requests == []
    assert rollout("fetch", MANIFEST).status == 0


def test_other_bytes_than_declared_are_refused(root: Path, server: ObjectServer) -> None:
    publish(root, server)
    admit(root, f"{server.url}/")
    server.objects["/web/team/bot/adapter_config.json"] += b" "
    ended = rollout("fetch", MANIFEST)
    assert ended.status == 3
    assert "adapter_config.json has sha256" in ended.err


def test_a_local_adapter_is_where_it_is(root: Path) -> None:
    assert rollout("fetch", MANIFEST).out == f"{root / ADAPTER}\n"


def test_a_signed_adapter_is_verified_where_it_was_fetched_to(
    root: Path, key: Path, server: ObjectServer
) -> None:
    rollout("sign", MANIFEST, "--key", str(key))
    trust(root)
    publish(root, server)
    admit(root, f"{server.url}/")
    assert worth(root) == SignatureFact.by("alice")
    folder = Path(rollout("fetch", MANIFEST).out.strip())
    assert hashlib.sha256((folder / "model.sig").read_bytes()).hexdigest()
