"""The digest of a base model: other bytes have another one, however alike the folders look."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rollout.errors import Unreadable
from rollout.integrations.answercache import AnswerFile, NoAnswers
from rollout.integrations.baseweights import READING, base_digest
from rollout.ports import AnswerCache


def silently(doing: str, done: int, of: int) -> None: ...


def digest(folder: Path, kept: AnswerCache | None = None) -> str:
    return base_digest(folder, kept or NoAnswers(), silently)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(3_000_000))
    return folder


def make_settled(folder: Path) -> None:
    """Long enough ago for a later change to show in the times."""
    time.sleep(2.1)
    assert folder.exists()


def test_one_byte_of_the_weights_makes_another_base(base: Path) -> None:
    before = digest(base)
    weights = bytearray((base / "model.safetensors").read_bytes())
    weights[1_500_000] = 1
    (base / "model.safetensors").write_bytes(weights)
    assert digest(base) != before


@pytest.mark.parametrize("name", ["generation_config.json", "model-2.safetensors", "chat_template.jinja"])
def test_a_further_file_that_an_engine_reads_makes_another_base(base: Path, name: str) -> None:
    before = digest(base)
    (base / name).write_text("{}")
    assert digest(base) != before


def test_what_no_engine_reads_makes_no_difference(base: Path) -> None:
    before = digest(base)
    (base / "README.md").write_text("about")
    (base / "pytorch_model.bin").write_text("not read where there are safetensors")
    (base / ".cache").mkdir()
    (base / ".cache" / "x.json").write_text("{}")
    assert digest(base) == before


def test_a_folder_of_links_is_the_base_behind_them(base: Path, tmp_path: Path) -> None:
    links = tmp_path / "snapshot"
    links.mkdir()
    for file in base.iterdir():
        (links / file.name).symlink_to(file)
    assert digest(links) == digest(base), "hubs lay out their snapshots as links"


def test_a_swap_that_keeps_size_and_times_is_seen_although_digests_are_kept(
    base: Path, tmp_path: Path
) -> None:
    kept = AnswerFile(tmp_path / "kept.sqlite", origin="local")
    weights = base / "model.safetensors"
    make_settled(base)
    before = digest(base, kept)
    times = weights.stat()
    with weights.open("r+b") as file:
        file.write(b"other")
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert weights.stat().st_mtime_ns == times.st_mtime_ns
    assert digest(base, kept) != before


def test_a_file_that_did_not_change_is_read_once(base: Path, tmp_path: Path) -> None:
    class Counting(AnswerFile):
        puts = 0

        def put(self, records: object) -> None:
            self.puts += 1
            super().put(records)  # type: ignore[arg-type]

    kept = Counting(tmp_path / "kept.sqlite", origin="local")
    first = digest(base, kept)
    assert kept.puts == 0, "a file of this very moment may still change without a new time"
    make_settled(base)
    assert digest(base, kept) == first
    assert kept.puts == 2
    assert digest(base, kept) == first
    assert kept.puts == 2, "the kept digests were taken"


def test_the_way_through_large_files_is_told(base: Path) -> None:
    told: list[tuple[str, int, int]] = []
    base_digest(base, NoAnswers(), lambda *step: told.append(step))
    assert told[-1] == (READING, 2, 2)


def test_a_folder_without_weights_is_no_base(base: Path) -> None:
    (base / "model.safetensors").unlink()
    with pytest.raises(Unreadable, match="holds no weights"):
        digest(base)
