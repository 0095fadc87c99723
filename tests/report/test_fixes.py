from __future__ import annotations

import re
import subprocess
from pathlib import Path, PurePosixPath

from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.report.fixes import as_text
from rollout.usecases.fix import Fixed
from tests.support.validations import HOSTILE

NAME = PurePosixPath("manifests/a.yaml")


def fixed(before: str, after: str, obstacle: str | None = None, name: str = str(NAME)) -> Fixed:
    return Fixed(path=PurePosixPath(name), before=before.encode(), after=after.encode(), obstacle=obstacle)


def test_a_change_is_a_unified_diff() -> None:
    assert as_text([fixed("a: 1 \nb: 2\n", "a: 1\nb: 2\n")], dry_run=False) == (
        "--- a/manifests/a.yaml\n+++ b/manifests/a.yaml\n@@ -1,2 +1,2 @@\n-a: 1 \n+a: 1\n b: 2\n1 manifest fixed\n"
    )


def test_a_line_end_that_was_missing_is_seen() -> None:
    text = as_text([fixed("a: 1", "a: 1\n")], dry_run=True)
    assert "-a: 1\n\\ No newline at end of file\n+a: 1\n" in text
    assert text.endswith("1 manifest would be changed\n")


def test_where_nothing_changes_nothing_is_said_unless_it_was_asked() -> None:
    assert as_text([fixed("a: 1\n", "a: 1\n")], dry_run=False) == ""
    assert as_text([fixed("a: 1\n", "a: 1\n")], dry_run=True) == "no manifest would be changed\n"


def test_what_could_not_be_fixed_is_told() -> None:
    assert as_text([fixed("a: 1\n", "a: 1\n", obstacle="it spans\nlines")], dry_run=False) == (
        "note: manifests/a.yaml is left as it is: it spans lines\n"
    )


def test_colours_mark_what_goes_and_what_comes() -> None:
    text = as_text([fixed("a: 1 \n", "a: 1\n")], dry_run=False, colour=True)
    assert "\x1b[31m-a: 1 \x1b[0m\n\x1b[32m+a: 1\x1b[0m\n" in text


texts = st.lists(st.sampled_from(("a: 1", " b", "", "-- x", "++ y", "@@ z")), max_size=8).map("\n".join)


@settings(deadline=None, max_examples=60)
@given(texts, texts)
def test_the_diff_is_one_that_git_applies(tmp_path_factory: object, before: str, after: str) -> None:
    folder: Path = tmp_path_factory.mktemp("patch")  # type: ignore[attr-defined]
    (folder / "manifests").mkdir()
    (folder / NAME).write_text(before)
    text = as_text([fixed(before, after)], dry_run=False).removesuffix("1 manifest fixed\n")
    if text:
        subprocess.run(
            ["git", "apply", "-"], cwd=folder, input=text, text=True, check=True, capture_output=True
        )
    assert (folder / NAME).read_text() == after


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(HOSTILE)).map("\n".join), st.sampled_from(HOSTILE))
def test_no_line_of_a_diff_is_a_command_or_moves_the_cursor(content: str, name: str) -> None:
    content = content.encode("utf-8", "replace").decode()
    shown = as_text(
        [fixed(content + " \nx", content + "\n", obstacle=name, name=name.replace("\0", "") or "a")],
        dry_run=False,
    )
    assert not any(line.strip().startswith("::") for line in re.split(r"[\n\r]", shown))
    assert not any(line[1:].strip().startswith("::") for line in re.split(r"[\n\r]", shown))
    assert "##[" not in shown
    assert all(character.isprintable() or character in "\n\t" for character in shown)
