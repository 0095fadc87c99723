"""Nothing of a stranger is loaded, nothing of a pull request is recorded, and no part is overlooked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rollout.actions.__main__ import main
from rollout.actions.validate import _matrix
from rollout.errors import Usage
from tests.actions.test_step import read_outputs


def evaluate(
    tmp_path: Path, repository: str = "acme/adapters", **given: str
) -> tuple[int, dict[str, str], str]:
    event = tmp_path / "event.json"
    head = {"sha": "b" * 40, "repo": {"full_name": repository}}
    event.write_text(json.dumps({"pull_request": {"number": 1, "base": {"sha": "a" * 40}, "head": head}}))
    environment = {
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_REPOSITORY": "acme/adapters",
        "GITHUB_OUTPUT": str(tmp_path / "outputs"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "RUNNER_TEMP": str(tmp_path),
    }
    named = {f"ROLLOUT_INPUT_{name.upper()}": value for name, value in given.items()}
    status = main(["evaluate"], environment | named)
    return status, read_outputs(tmp_path / "outputs"), (tmp_path / "summary").read_text()


@pytest.mark.parametrize("repository", ["stranger/adapters", "", "acme/adapters2"])
def test_of_a_stranger_nothing_is_loaded(tmp_path: Path, repository: str) -> None:
    status, outputs, summary = evaluate(tmp_path, repository, manifest="manifests/x.yaml")
    assert (status, outputs["outcome"], outputs["report-path"]) == (2, "error", "")
    assert "comes from another repository" in summary


def test_of_a_pull_request_whose_event_cannot_be_read_nothing_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text('{"pull_request": ')
    status = main(
        ["evaluate"],
        {
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
            "GITHUB_REPOSITORY": "acme/adapters",
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
            "ROLLOUT_INPUT_MANIFEST": "manifests/x.yaml",
        },
    )
    assert status == 2
    assert "does not say where it comes from" in (tmp_path / "summary").read_text()


def test_what_a_pull_request_measured_is_not_recorded(tmp_path: Path) -> None:
    status, outputs, summary = evaluate(tmp_path, manifest="manifests/x.yaml", record="true")
    assert (status, outputs["outcome"]) == (2, "error")
    assert "its own code could have made it up" in summary


def test_a_folder_without_parts_is_an_error_and_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "report.json").write_text("{}")
    status, outputs, summary = evaluate(tmp_path, merge=str(folder))
    assert (status, outputs["outcome"]) == (2, "error")
    assert "there is no part.json" in summary


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "input `manifest` is missing"),
        ({"manifest": "m.yaml", "shard": "3/2"}, "is no part like 2/8"),
        ({"manifest": "m.yaml", "engine": "sh -c id"}, "is none of transformers"),
        ({"manifest": "m.yaml", "record": "yes"}, "is none of true, false"),
        ({"manifest": "--root=/"}, "is no path"),
        ({"manifest": "m.yaml", "environment": "$(id)"}, "is no name"),
        ({"manifest": "m.yaml", "base": "--upload-pack=id"}, "is no commit, branch or tag"),
        ({"manifest": "m.yaml", "max_cases": "1e3"}, "is no number"),
    ],
)
def test_an_input_that_is_wrong_is_told_by_its_name(tmp_path: Path, given: dict[str, str], told: str) -> None:
    status, outputs, summary = evaluate(tmp_path, **given)
    assert (status, outputs["outcome"]) == (2, "error")
    assert told in summary


def test_a_matrix_has_a_job_for_each_part_and_no_more_than_github_runs() -> None:
    assert _matrix(["a.yaml", "b.yaml"], 2)["include"] == [
        {"manifest": "a.yaml", "shard": "1/2", "part": "1"},
        {"manifest": "a.yaml", "shard": "2/2", "part": "2"},
        {"manifest": "b.yaml", "shard": "1/2", "part": "3"},
        {"manifest": "b.yaml", "shard": "2/2", "part": "4"},
    ]
    assert _matrix(None, 2) == {"include": []}
    with pytest.raises(Usage, match="257 manifests"):
        _matrix([f"{number}.yaml" for number in range(257)], 1)
