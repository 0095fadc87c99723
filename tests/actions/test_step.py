"""Outputs are always written, whatever is in them, and a summary is never so long that GitHub drops it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.actions.__main__ import main
from rollout.actions.step import MOST_OF_A_SUMMARY, OUTPUTS, Step


def read_outputs(file: Path) -> dict[str, str]:
    """As the runner reads them."""
    found, lines = {}, iter(file.read_text().split("\n"))
    for line in lines:
        if not line:
            continue
        name, end = line.split("<<")
        value = []
        for more in lines:
            if more == end:
                break
            value.append(more)
        else:
            raise AssertionError(f"{name} does not end")
        found[name] = "\n".join(value)
    return found


def test_a_value_cannot_become_another_output(tmp_path: Path) -> None:
    file = tmp_path / "out"
    step = Step({"GITHUB_OUTPUT": str(file)})
    step.outputs["decision"] = "x\nend-0\nshare<<end\n100%\nend"
    step.write_outputs()
    assert read_outputs(file) == dict.fromkeys(OUTPUTS, "") | {
        "outcome": "error",
        "decision": "x\nend-0\nshare<<end\n100%\nend",
    }


@pytest.mark.parametrize("words", [[], ["nothing"], ["validate", "x"], ["rollback"]])
def test_outputs_are_written_on_red_too(
    tmp_path: Path, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out"
    status = main(words, {"GITHUB_OUTPUT": str(file), "GITHUB_ACTIONS": "true"})
    assert status == 2
    assert read_outputs(file)["outcome"] == "error"
    assert capfd.readouterr().out.startswith("::error title=")


def test_a_summary_that_is_too_long_is_cut_at_a_line_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "summary"
    Step({"GITHUB_STEP_SUMMARY": str(file)}).summarise("ä line\n" * 200_000)
    content = file.read_bytes()
    assert len(content) <= MOST_OF_A_SUMMARY + 200
    assert content.decode().count("ä line\n") > 100_000
    assert "The rest did not fit here" in content.decode().splitlines()[-1]


def test_where_it_is_not_github_nothing_is_written() -> None:
    step = Step({})
    step.summarise("x")
    step.write_outputs()
