"""A change may touch several adapters: each is judged by its own parts, and the step comes to the gravest of all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from rollout.actions.__main__ import main
from rollout.core.evaluation import Contender, Partial, Shard
from tests.actions.test_step import read_outputs
from tests.support.reports import faithful, sample_evaluation, sample_report


def part(folder: Path, name: str, *, shard: str = "1/1") -> Path:
    """The one part of an adapter's evaluation, in a folder of its own, as a job hands it over."""
    report = sample_report(per_slice=4, shards=1)
    named = Contender(name=name, version="1.2.0", served_name=f"{name}-1.2.0", identity="c4" * 32)
    partial = Partial(
        shard=shard,
        tool=report.tool,
        started_at=report.started_at,
        finished_at=report.finished_at,
        command=report.command,
        subject=report.quality.subject.model_copy(update={"candidate": named}),
        measured=report.quality.measured,
        timings=report.speed.shards[0].model_copy(update={"shard": shard}),
    )
    file = folder / "parts" / f"rollout-part.production.{name}.{shard.partition('/')[0]}" / "part.json"
    file.parent.mkdir(parents=True)
    file.write_text(Shard(partials=(partial,)).model_dump_json(by_alias=True))
    return file


def run(folder: Path, verb: str, **inputs: str) -> tuple[int, dict[str, str]]:
    given = {f"ROLLOUT_INPUT_{name.upper()}": value for name, value in inputs.items()}
    outputs = folder / "outputs"
    status = main(
        [verb],
        {
            **given,
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_STEP_SUMMARY": str(folder / "summary"),
            "RUNNER_TEMP": str(folder),
        },
    )
    return status, read_outputs(outputs)


def digest(file: Path) -> str:
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


def test_parts_of_two_adapters_are_two_reports_on_one_page(tmp_path: Path) -> None:
    for name in ("billing-bot", "support-bot"):
        part(tmp_path, name)
    status, outputs = run(tmp_path, "evaluate", merge=str(tmp_path / "parts"))
    assert (status, outputs["outcome"]) == (1, "fail")
    folder = Path(outputs["report-path"])
    index = json.loads((folder / "report.json").read_text())
    assert outputs["evidence-digest"] == digest(folder / "report.json")
    assert [each["path"] for each in index["reports"]] == ["1/report.json", "2/report.json"]
    assert [each["digest"] for each in index["reports"]] == [
        digest(folder / each["path"]) for each in index["reports"]
    ]
    summary = (tmp_path / "summary").read_text()
    assert summary == f"## Evaluation\n\n{(folder / 'report.md').read_text()}"
    assert "billing-bot" in summary
    assert "support-bot" in summary


def test_where_a_part_of_one_is_missing_the_other_is_still_shown_and_the_step_is_an_error(
    tmp_path: Path,
) -> None:
    part(tmp_path, "billing-bot", shard="1/2")
    part(tmp_path, "support-bot")
    status, outputs = run(tmp_path, "evaluate", merge=str(tmp_path / "parts"))
    assert (status, outputs["outcome"]) == (3, "error")
    summary = (tmp_path / "summary").read_text()
    assert "shards that are missing or there twice: 2/2" in summary
    assert "support-bot" in summary


def test_what_is_no_part_is_an_error_of_its_own(tmp_path: Path) -> None:
    part(tmp_path, "support-bot")
    part(tmp_path, "billing-bot").write_text('{"partials": []}')
    status, outputs = run(tmp_path, "evaluate", merge=str(tmp_path / "parts"))
    assert (status, outputs["outcome"]) == (3, "error")
    assert "is no shard of an evaluation" in (tmp_path / "summary").read_text()


@pytest.mark.parametrize("first", ["good", "bad"])
def test_stored_reports_end_as_the_gravest_of_them(tmp_path: Path, first: str) -> None:
    files = {name: tmp_path / f"{name}.json" for name in ("good", "bad")}
    files["good"].write_text(sample_evaluation(says=faithful).model_dump_json(by_alias=True))
    files["bad"].write_text(sample_evaluation().model_dump_json(by_alias=True))
    order = sorted(files, key=lambda name: name != first)
    status, outputs = run(
        tmp_path, "report", reports="\n".join(str(files[name]) for name in order), comment="false"
    )
    assert (status, outputs["outcome"]) == (1, "fail")
    assert sorted(path.name for path in Path(outputs["report-path"]).iterdir()) == [
        "1",
        "2",
        "report.json",
        "report.md",
    ]
