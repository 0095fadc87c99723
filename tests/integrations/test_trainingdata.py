"""Training data: every text of every record, in bounded memory, with its digest."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import pytest

from rollout.errors import Unreadable
from rollout.integrations import trainingdata
from rollout.integrations.trainingdata import TrainingData


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "a.jsonl",
            '{"messages": [{"role": "user", "content": "where?"}], "n": 1}\n\n{"x": ["there", null]}\n',
        ),
        ("a.ndjson", '["user", "where?"]\r\n["there"]'),
        ("a.json", '[{"role": "user", "q": "where?", "a": ["there"]}]'),
        ("a.csv", 'user,where?\r\n"there",\n'),
        ("a.tsv", "user\twhere?\nthere\n"),
        ("a.txt", "user\nwhere?\n  there \n"),
    ],
)
def test_every_text_is_read_in_order_with_the_digest_of_the_file(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_bytes(content.encode())
    data = TrainingData(tmp_path / name)
    assert list(data.texts()) == ["user", "where?", "there"]
    assert data.sha256 == hashlib.sha256(content.encode()).hexdigest()
    assert len(list(data.texts())) == 3
    assert data.sha256 == hashlib.sha256(content.encode()).hexdigest()


def test_a_cell_over_several_lines_is_one_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('"two\nlines",x\n')
    assert list(TrainingData(tmp_path / "a.csv").texts()) == ["two\nlines", "x"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", b'{"a": "b"}\n{"a"', "a.jsonl:2 is not JSON"),
        ("a.jsonl", b"[" * 300_000, "a.jsonl:1 is not JSON"),
        ("a.json", b"\xff\xfe", "a.json:1 is not JSON"),
        ("a.jsonl", b'"' + b"x" * (17 << 20) + b'"', "a.jsonl:1 is longer than 16 MiB"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Unreadable, match=reason):
        list(TrainingData(tmp_path / name).texts())


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl.gz", "a.arrow", "a"])
def test_other_kinds_of_files_are_refused_and_not_skipped(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unreadable, match="no training data that can be read"):
        TrainingData(tmp_path / name)


def test_a_file_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="No such file"):
        list(TrainingData(tmp_path / "a.jsonl").texts())


def test_an_array_that_is_too_large_to_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainingdata, "MAX_JSON", 10)
    (tmp_path / "a.json").write_text('["more than ten"]')
    with pytest.raises(Unreadable, match="make it JSONL"):
        list(TrainingData(tmp_path / "a.json").texts())


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    with (tmp_path / "a.jsonl").open("w") as file:
        file.writelines(f'{{"text": "{number} {"word " * 200}"}}\n' for number in range(20_000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in TrainingData(tmp_path / "a.jsonl").texts()) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 2 << 20 < (tmp_path / "a.jsonl").stat().st_size
    finally:
        tracemalloc.stop()
