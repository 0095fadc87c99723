from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from rollout.errors import Unreadable
from rollout.integrations.workfolder import WorkingFolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    (root / "a/one.yaml").write_text("1")
    (root / "a/b/two.yaml").write_text("2")
    (root / "a/other.txt").write_text("3")
    (tmp_path / "secret.yaml").write_text("secret")
    (root / "a/link.yaml").symlink_to(tmp_path / "secret.yaml")
    (root / "a/up").symlink_to(tmp_path)
    os.mkfifo(root / "a/pipe.yaml")
    return root


def test_plain_files_are_listed_sorted_and_links_are_not_followed(folder: Path) -> None:
    tree = WorkingFolder(folder)
    assert list(map(str, tree.files(PurePosixPath("a"), ".yaml"))) == ["a/b/two.yaml", "a/one.yaml"]
    assert list(tree.files(PurePosixPath("none"), ".yaml")) == []
    assert tree.commit is None


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../secret.yaml", "outside"),
        ("/etc/hostname", "outside"),
        ("a/link.yaml", "link"),
        ("a/up/secret.yaml", "link"),
        ("a/pipe.yaml", "not a plain file"),
        ("a/b", "not a plain file|directory"),
        ("a/none.yaml", "No such file"),
    ],
)
def test_what_is_no_plain_file_inside_is_refused(folder: Path, path: str, reason: str) -> None:
    tree = WorkingFolder(folder)
    with pytest.raises(Unreadable, match=reason):
        tree.read(PurePosixPath(path))
    assert not tree.exists(PurePosixPath(path))


def test_a_plain_file_is_read(folder: Path) -> None:
    tree = WorkingFolder(folder)
    assert tree.read(PurePosixPath("a/b/two.yaml")) == b"2"
    assert tree.exists(PurePosixPath("a/b/two.yaml"))
