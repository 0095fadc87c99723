"""Adapters are laid down whole and verified, or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from rollout.core.manifest import AdapterManifest
from rollout.errors import Unavailable, Unreadable
from rollout.integrations.shelf import AdapterShelf
from rollout.wiring import locate_artifact

FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights"}


def manifest(uri: str = "adapters/bot", **files: bytes) -> AdapterManifest:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in (FILES | files).items()}
    document = {
        "schema": "adapter-rollout/manifest/v1",
        "name": "bot",
        "use_case": "support",
        "task": "triage",
        "version": "1.0.0",
        "base": {
            "name": "tiny",
            "repo": "org/tiny",
            "revision": "a" * 40,
            "quantization": "none",
            "dtype": "float32",
            "tokenizer_sha256": "b" * 64,
            "chat_template_sha256": "c" * 64,
        },
        "artifact": {"uri": uri, "files": digests, "rank": 8, "alpha": 16, "target_modules": ["q_proj"]},
        "lineage": {
            "parent": None,
            "dataset": {"name": "d", "sha256": "d" * 64},
            "training_commit": "e" * 40,
            "inference_code": "1",
        },
        "evaluation": {"suite": "s"},
        "rollout": {"plan": "p"},
        "risk": {"tier": "low", "data_fresh_until": "2030-01-01", "license": "Apache-2.0"},
        "owner": {"team": "t", "escalation": "x", "review_every_days": 90},
        "change": {"purpose": "p"},
    }
    return AdapterManifest.model_validate_json(json.dumps(document), strict=True)


@pytest.fixture
def shelf(tmp_path: Path) -> AdapterShelf:
    source = tmp_path / "adapters" / "bot"
    source.mkdir(parents=True)
    for name, content in FILES.items():
        (source / name).write_bytes(content)
    return AdapterShelf(tmp_path / "shelf", locate=lambda artifact: locate_artifact(tmp_path, artifact, None))


def test_the_folder_bears_the_served_name_and_holds_just_the_files_of_the_manifest(
    shelf: AdapterShelf, tmp_path: Path
) -> None:
    (tmp_path / "adapters" / "bot" / "training_args.bin").write_bytes(b"pickle")
    folder = shelf.lay_down(manifest())
    assert folder.name == manifest().served_name
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def test_laying_down_twice_changes_nothing(shelf: AdapterShelf, tmp_path: Path) -> None:
    first = shelf.lay_down(manifest())
    stamp = (first / "adapter_config.json").stat().st_mtime_ns
    assert shelf.lay_down(manifest()) == first
    assert (first / "adapter_config.json").stat().st_mtime_ns == stamp
    assert [path.name for path in (tmp_path / "shelf").iterdir() if path.is_dir()] == [first.name]


def test_other_bytes_are_refused_and_leave_nothing_behind(shelf: AdapterShelf, tmp_path: Path) -> None:
    (tmp_path / "adapters" / "bot" / "adapter_model.safetensors").write_bytes(b"other")
    with pytest.raises(
        Unreadable, match=r"adapter_model\.safetensors in adapters/bot is not there or has another sha256"
    ):
        shelf.lay_down(manifest())
    assert not [path for path in (tmp_path / "shelf").iterdir() if path.is_dir()]


def test_what_a_killed_process_had_begun_to_lay_down_is_cleared_away(
    shelf: AdapterShelf, tmp_path: Path
) -> None:
    begun = tmp_path / "shelf" / f".{manifest().served_name}.laying"
    begun.mkdir(parents=True)
    (begun / "adapter_model.safetensors").write_bytes(b"wei")
    folder = shelf.lay_down(manifest())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert not begun.exists()


def test_a_link_in_the_place_of_the_folder_is_not_followed(shelf: AdapterShelf, tmp_path: Path) -> None:
    folder = shelf.lay_down(manifest())
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unreadable, match="is a symbolic link: what it leads to can be changed"):
        shelf.lay_down(manifest())
    folder.unlink()
    assert not shelf.lay_down(manifest()).is_symlink()


def test_a_link_in_the_folder_is_not_followed(shelf: AdapterShelf, tmp_path: Path) -> None:
    weights = shelf.lay_down(manifest()) / "adapter_model.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unreadable, match=r"adapter_model\.safetensors of the adapter .* is no plain file"):
        shelf.lay_down(manifest())


def test_files_that_are_no_adapters_are_told_of_in_no_form(shelf: AdapterShelf, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_bytes(b"the key")
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    told = []
    for _ in range(2):  # there, and not there
        with pytest.raises(Unreadable) as caught:
            shelf.lay_down(manifest(".", **{"secret.json": b"a guess"}))
        told.append(f"{caught.value.message} {caught.value.advice}")
        secret.unlink(missing_ok=True)
    assert told[0] == told[1]
    assert "secret.json in . is not there or has another" in told[0]
    assert hashlib.sha256(b"the key").hexdigest()[:8] not in told[0]


def test_a_file_in_the_place_of_the_folder_may_be_taken_away(shelf: AdapterShelf, tmp_path: Path) -> None:
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / manifest().served_name).write_text("x")
    with pytest.raises(
        Unavailable, match=rf"{manifest().served_name} cannot be laid down in .*: Not a directory"
    ):
        shelf.lay_down(manifest())
    (tmp_path / "shelf" / manifest().served_name).unlink()
    assert {path.name for path in shelf.lay_down(manifest()).iterdir()} == set(FILES)


def test_a_folder_that_was_tampered_with_is_seen(shelf: AdapterShelf) -> None:
    folder = shelf.lay_down(manifest())
    (folder / "adapter_model.safetensors").write_bytes(b"other!!")
    with pytest.raises(Unreadable, match="the manifest says"):
        shelf.lay_down(manifest())


@pytest.mark.parametrize(
    "uri", ["../elsewhere", "/etc", "adapters/../../x", "adapters/missing", "s3://bucket/x"]
)
def test_a_uri_that_leads_out_or_nowhere_is_refused(shelf: AdapterShelf, uri: str) -> None:
    with pytest.raises(Unreadable):
        shelf.lay_down(manifest(uri))


def test_a_link_is_not_followed(shelf: AdapterShelf, tmp_path: Path) -> None:
    weights = tmp_path / "adapters" / "bot" / "adapter_model.safetensors"
    weights.rename(tmp_path / "real")
    weights.symlink_to(tmp_path / "real")
    with pytest.raises(Unreadable, match="symbolic link"):
        shelf.lay_down(manifest())
