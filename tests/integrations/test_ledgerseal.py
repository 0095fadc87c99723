"""Signed ledgers: nobody without a key adds to them, changes them, or strips them; the key is never told."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from rollout.core.lifecycle import LedgerEntry, next_entry, verify_chain
from rollout.errors import LedgerConflict, Unreadable
from rollout.integrations.ledger import FolderLedger, Seal
from tests.core.factories import NOON
from tests.support.ledgers import Place, anchor_of, said, told, write

KEY = "LEDGER_KEY"


def pem(key: object) -> str:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*form).decode()  # type: ignore[attr-defined]


def public(key: ed25519.Ed25519PrivateKey, *, whole: bool = False) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo if whole else serialization.PublicFormat.Raw
    coding = serialization.Encoding.DER if whole else serialization.Encoding.Raw
    return base64.b64encode(key.public_key().public_bytes(coding, form)).decode()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> ed25519.Ed25519PrivateKey:
    key = ed25519.Ed25519PrivateKey.generate()
    monkeypatch.setenv(KEY, pem(key))
    return key


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "prod" / "bot.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize("kind", ["folder", "branch"])
@pytest.mark.parametrize("whole", [False, True])
def test_what_was_signed_is_read_by_whoever_has_the_public_key(
    kind: str, whole: bool, tmp_path: Path, key: ed25519.Ed25519PrivateKey
) -> None:
    place, keys = Place(tmp_path, kind), (public(key, whole=whole),)
    signing = place.open(seal=Seal(key_env=KEY, verify_keys=keys))
    write(signing, "one", "two")
    signing.anchor("bot", anchor_of(signing), after=signing.read("bot")[-1].hash)
    write(signing, "three")
    reader = place.open("b", seal=Seal(verify_keys=keys))
    assert [entry.signature is not None for entry in reader.verify("bot")] == [True, True]
    assert told(place.open("b"))[-1] == "three", "who verifies nothing can read it too"
    with pytest.raises(Unreadable, match="takes signed entries only, and its document names no key"):
        write(reader, "four")


def test_a_signature_is_part_of_the_chain_and_not_of_what_it_is_over(
    tmp_path: Path, key: ed25519.Ed25519PrivateKey
) -> None:
    write(FolderLedger(tmp_path, "prod", seal=Seal(key_env=KEY)), "one", "two")
    first, second = (LedgerEntry.parse(line.decode()) for line in lines_of(tmp_path))
    assert first.unsigned == next_entry(None, first.event).line
    key.public_key().verify(
        base64.b64decode(first.signature or ""), b"adapter-rollout/ledger/v1\n" + first.unsigned.encode()
    )
    stripped = LedgerEntry.parse(first.unsigned)
    with pytest.raises(LedgerConflict, match="entry 1 does not follow"):
        verify_chain([stripped, second])


def test_an_entry_without_a_signature_or_with_another_s_is_not_read(
    tmp_path: Path, key: ed25519.Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal = Seal(key_env=KEY, verify_keys=(public(key),))
    write(FolderLedger(tmp_path, "prod", seal=seal), "one")
    signed = (tmp_path / "prod" / "bot.jsonl").read_bytes()
    write(FolderLedger(tmp_path, "prod"), "eve")
    reader = FolderLedger(tmp_path, "prod", seal=Seal(verify_keys=(public(key),)))
    with pytest.raises(LedgerConflict, match="entry 1 of the ledger of bot is not signed"):
        reader.read("bot")
    (tmp_path / "prod" / "bot.jsonl").write_bytes(signed)
    monkeypatch.setenv(KEY, pem(ed25519.Ed25519PrivateKey.generate()))
    write(FolderLedger(tmp_path, "prod", seal=Seal(key_env=KEY)), "eve")
    with pytest.raises(LedgerConflict, match="entry 1 of the ledger of bot is signed by none of the keys"):
        reader.read("bot")


def test_every_signature_is_verified_when_it_is_asked_for(
    tmp_path: Path, key: ed25519.Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read verifies the last one: who made that vouches for the chain behind it."""
    other = ed25519.Ed25519PrivateKey.generate()
    monkeypatch.setenv(KEY, pem(other))
    write(FolderLedger(tmp_path, "prod", seal=Seal(key_env=KEY)), "eve")
    monkeypatch.setenv(KEY, pem(key))
    write(FolderLedger(tmp_path, "prod", seal=Seal(key_env=KEY)), "ann")
    reader = FolderLedger(tmp_path, "prod", seal=Seal(verify_keys=(public(key),)))
    assert told(reader) == ["eve", "ann"]
    with pytest.raises(LedgerConflict, match="entry 0 of the ledger of bot is signed by none"):
        reader.verify("bot")
    both = Seal(verify_keys=(public(key), public(other)))
    assert len(FolderLedger(tmp_path, "prod", seal=both).verify("bot")) == 2


def test_an_unsigned_past_is_allowed_by_name_and_never_behind_a_signed_entry(
    tmp_path: Path, key: ed25519.Ed25519PrivateKey
) -> None:
    write(FolderLedger(tmp_path, "prod"), "old")
    keys, from_then = (public(key),), NOON + timedelta(hours=1)
    with pytest.raises(LedgerConflict, match="entry 0 of the ledger of bot is not signed"):
        FolderLedger(tmp_path, "prod", seal=Seal(verify_keys=keys)).read("bot")
    with pytest.raises(LedgerConflict, match="entry 0"):
        FolderLedger(tmp_path, "prod", seal=Seal(verify_keys=keys, signed_from=NOON)).read("bot")
    seal = Seal(key_env=KEY, verify_keys=keys, signed_from=from_then)
    ledger = FolderLedger(tmp_path, "prod", seal=seal)
    write(ledger, "new")
    assert told(ledger) == ["old", "new"]
    write(FolderLedger(tmp_path, "prod"), "backdated")
    with pytest.raises(LedgerConflict, match="entry 2 of the ledger of bot is not signed"):
        ledger.read("bot")


@pytest.mark.parametrize("found", ["nothing", "no PEM", "another algorithm"])
def test_a_key_that_cannot_sign_is_said_without_a_word_of_it(
    found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = {
        "nothing": "",
        "no PEM": "hush-hush",
        "another algorithm": pem(ec.generate_private_key(ec.SECP256R1())),
    }
    monkeypatch.setenv(KEY, text[found])
    ledger = FolderLedger(tmp_path, "prod", seal=Seal(key_env=KEY))
    with pytest.raises(Unreadable, match=f"{KEY} holds no") as caught:
        ledger.append("bot", said("one"), after=None)
    assert "Ed25519 private key in PEM" in caught.value.advice
    for line in text[found].splitlines():
        assert line not in f"{caught.value}{caught.value.advice}{caught.value!r}"
    assert ledger.read("bot") == ()


def test_a_public_key_that_is_none_is_named(tmp_path: Path, key: ed25519.Ed25519PrivateKey) -> None:
    write(FolderLedger(tmp_path, "prod", seal=Seal(key_env=KEY)), "one")
    for none in ("AAAA", "not base64!", public(key)[:-4]):
        with pytest.raises(Unreadable, match="no Ed25519 public key in base64"):
            FolderLedger(tmp_path, "prod", seal=Seal(verify_keys=(none,))).read("bot")


def test_a_signature_covers_which_adapter_and_environment_it_speaks_of(
    tmp_path: Path, key: ed25519.Ed25519PrivateKey
) -> None:
    write(FolderLedger(tmp_path, "prod", seal=Seal(key_env=KEY)), "one")
    line = lines_of(tmp_path)[0].replace(b'"name":"bot"', b'"name":"cat"', 1)
    (tmp_path / "prod" / "cat.jsonl").write_bytes(line + b"\n")
    with pytest.raises(LedgerConflict, match="signed by none"):
        FolderLedger(tmp_path, "prod", seal=Seal(verify_keys=(public(key),))).read("cat")


@pytest.mark.parametrize("kind", ["folder", "branch"])
@pytest.mark.parametrize("signing", [True, False])
def test_a_forged_memory_of_states_changes_nothing_where_entries_are_signed(
    kind: str, signing: bool, tmp_path: Path, key: ed25519.Ed25519PrivateKey
) -> None:
    """Whoever can write the file cannot make it say what no holder of the key has folded."""
    place, keys = Place(tmp_path, kind), (public(key),)
    write(place.open(seal=Seal(key_env=KEY, verify_keys=keys)), "one")

    def states() -> dict[str, object]:
        ledger = place.open(seal=Seal(key_env=KEY if signing else None, verify_keys=keys))
        return dict(ledger.states())

    expected = states()
    assert states() == expected
    kept = list(place.folder.rglob(".folds.json"))
    assert len(kept) == signing, "who cannot stamp it keeps none"
    if not signing:
        return
    document = json.loads(kept[0].read_text())
    mark, state = document["states"]["bot"]
    forged = state.replace('"generation":', '"generation":4')
    assert forged != state
    for stamp in (document["stamp"], None, "", "0" * 64):
        kept[0].write_text(json.dumps(document | {"stamp": stamp, "states": {"bot": [mark, forged]}}))
        assert states() == expected


def test_a_memory_that_was_not_forged_is_used(tmp_path: Path, key: ed25519.Ed25519PrivateKey) -> None:
    """Else the test above would pass without one."""
    seal = Seal(key_env=KEY, verify_keys=(public(key),))
    ledger = FolderLedger(tmp_path, "prod", seal=seal)
    write(ledger, "one")
    state = dict(ledger.states())["bot"]
    [kept] = tmp_path.rglob(".folds.json")
    document = json.loads(kept.read_text())
    mark, told_state = document["states"]["bot"]
    other = {"bot": [mark, told_state.replace('"generation":', '"generation":4')]}
    stamp = seal.stamp(json.dumps([document["terms"], other], sort_keys=True).encode())
    kept.write_text(json.dumps(document | {"stamp": stamp, "states": other}))
    assert dict(ledger.states())["bot"] != state
