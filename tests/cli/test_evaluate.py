"""`rollout evaluate` from the command line: who the champion is, what is refused, and how it exits."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest

from rollout import wiring
from rollout.cli import VERBS, run
from rollout.cli.evaluate import command
from rollout.core.evaluation import Evaluation
from rollout.core.lifecycle import fold
from rollout.core.verdict import Outcome
from rollout.errors import Unreadable
from rollout.integrations.basemodel import verify_base
from rollout.integrations.documents import render
from rollout.integrations.ledger import FolderLedger
from rollout.report.evaluation import to_json
from rollout.usecases.book import Book, Signature
from tests.support.recorded import (
    GATES,
    SUITE,
    RecordedEngine,
    base_answers,
    golden_lines,
    manifest_data,
    right_answers,
    sound,
    write_policies,
)
from tests.support.reports import sample_evaluation

ROWS = golden_lines()
RIGHT = right_answers(ROWS)
TEMPLATE = "{{ messages }}"


class Repository:
    """A git repository with a suite, an adapter of two versions, and a base model folder without weights."""

    def __init__(self, root: Path) -> None:
        self.root = root
        write_policies(root, ROWS)
        self.model = root / "models" / "base"
        self.model.mkdir(parents=True)
        (self.model / "tokenizer.json").write_text("{}")
        (self.model / "chat_template.jinja").write_text(TEMPLATE)
        self.manifest = root / "manifests" / "support" / "support-bot.yaml"
        self.manifest.parent.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.write_manifest("1.0.0", self.manifest)
        self.commit("1.0.0")
        self.previous = root / "manifests" / "support" / "previous.yaml"
        self.write_manifest("1.0.0", self.previous)
        self.write_manifest("1.1.0", self.manifest)

    def git(self, *words: str) -> None:
        who = ("-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *words], cwd=self.root, check=True, capture_output=True)

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def write_manifest(self, version: str, path: Path) -> None:
        folder = self.root / "adapters" / version
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "adapter_config.json").write_text("{}")
        (folder / "adapter_model.safetensors").write_bytes(version.encode() * 10)
        digests = {
            each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in sorted(folder.iterdir())
        }
        data = manifest_data(
            version,
            f"adapters/{version}",
            digests,
            tokenizer_sha256=hashlib.sha256(b"{}").hexdigest(),
            chat_template_sha256=hashlib.sha256(TEMPLATE.encode()).hexdigest(),
        )
        data["risk"]["data_fresh_until"] = "2030-01-01"
        path.write_bytes(render(data))

    def write_environment(self) -> None:
        data = {
            "schema": "adapter-rollout/environment/v1",
            "stage": "development",
            "name": "staging",
            "replicas": [{"name": "r1", "url": "http://127.0.0.1:1"}],
            "gateways": [{"name": "g1", "url": "http://127.0.0.1:2"}],
            "adapter_folder": ".state/adapters",
            "server": {
                "base": "tiny-llama",
                "base_path": "models/base",
                "max_lora_rank": 16,
                "max_loras": 4,
                "dtype": "float32",
                "quantization": "none",
            },
            "flags": {"kind": "file", "path": ".state/flags.json"},
            "metrics": {"kind": "traffic-log", "path": ".state/traffic.sqlite"},
            "ledger": {"kind": "folder", "path": ".state/ledger"},
            "routes": ".state/routes.json",
            "evidence": ".state/evidence",
            "remote": None,
        }
        folder = self.root / "policies" / "environments"
        folder.mkdir()
        (folder / "staging.yaml").write_bytes(render(data))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.chdir(tmp_path)
    return Repository(tmp_path)


@pytest.fixture
def says(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts an engine with recorded answers where the wiring would open the real one; the model test below does."""

    def wire(candidate: dict[str, str] = RIGHT, previous: dict[str, str] = RIGHT) -> RecordedEngine:
        head = wiring.working_folder(repository.root)
        names = [
            head.manifest(wiring.path_below(repository.root, path)).value.served_name
            for path in (repository.previous, repository.manifest)
        ]
        engine = RecordedEngine({None: base_answers(ROWS), names[0]: previous, names[1]: candidate})

        def build(_kind: Any, folder: Path, base: Any, **_: Any) -> RecordedEngine:
            verify_base(folder, base)
            return engine

        # The recorded engine needs no weights, and there are none: nothing to inspect either.
        monkeypatch.setattr("rollout.wiring.evaluations.build_engine", build)
        monkeypatch.setattr(wiring, "adapter_inspector", lambda _folder: sound)
        return engine

    return wire


CANDIDATE = "manifests/support/support-bot.yaml"
PREVIOUS = ("--champion", "manifests/support/previous.yaml", "--base-model", "models/base")
BROKEN = {prompt: text.removesuffix('"}') if "invoice" in prompt else text for prompt, text in RIGHT.items()}


def test_the_help_line_is_the_verbs() -> None:
    assert command.help is not None
    assert command.help.splitlines()[0] == VERBS["evaluate"]


def test_a_proven_adapter_exits_zero_with_the_verdict_first(
    says: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    says()
    assert run(["evaluate", CANDIDATE, *PREVIOUS]) == 0
    out = click.unstyle(capsys.readouterr().out)
    assert out.startswith("PASS  support-bot 1.1.0 may go on")
    again = (
        f"rollout evaluate {CANDIDATE} --champion manifests/support/previous.yaml --base-model models/base"
    )
    assert f"again      {again}\n" in out


def test_the_word_run_may_be_said_or_left_out(says: Any, capsys: pytest.CaptureFixture[str]) -> None:
    says()
    assert run(["evaluate", "run", CANDIDATE, *PREVIOUS]) == 0
    assert "may go on" in capsys.readouterr().out
    assert run(["evaluate"]) == 2
    assert run(["evaluate", "--help"]) == 0
    assert "merge" in capsys.readouterr().out


def test_a_regression_exits_one_and_names_the_slice(says: Any, capsys: pytest.CaptureFixture[str]) -> None:
    says(BROKEN)
    assert run(["evaluate", CANDIDATE, *PREVIOUS]) == 1
    assert "slice/invoice" in capsys.readouterr().out.splitlines()[3]


def test_a_suite_that_cannot_detect_its_margin_exits_three_with_the_size_it_needs(
    says: Any, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = says()
    gates = repository.root / "policies" / "gates" / "default.yaml"
    gates.write_text(GATES.replace("exact_match: {vs_champion: {max_loss: 0.05}}",
                                   "exact_match: {vs_champion: {max_loss: 0.001}}"))  # fmt: skip
    assert run(["evaluate", CANDIDATE, *PREVIOUS]) == 3
    assert "has 120 items, a margin of 0.1 points needs 2995" in capsys.readouterr().err
    assert engine.asked == []


def test_a_part_of_the_suite_that_settles_nothing_exits_six(
    says: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    says()
    assert run(["evaluate", CANDIDATE, *PREVIOUS, "--max-cases", "40"]) == 6
    out = capsys.readouterr().out
    assert "is not settled" in out
    assert "--max-cases 40" in out, "the command that gives this again"


def test_an_engine_that_was_not_compared_with_the_reference_is_blocked(
    says: Any, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    says()
    gates = repository.root / "policies" / "gates" / "default.yaml"
    gates.write_text(GATES.replace("agreement: optional\n", ""))
    assert run(["evaluate", CANDIDATE, *PREVIOUS]) == 1
    assert "was not compared with a full-precision reference" in capsys.readouterr().out


def test_required_suites_run_whatever_the_manifest_picks(
    says: Any, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    says(BROKEN)
    policies = repository.root / "policies"
    (policies / "suites" / "safety.yaml").write_text(SUITE.replace("name: triage", "name: safety"))
    (policies / "evaluation.yaml").write_text(
        "schema: adapter-rollout/evaluation-policy/v1\nrequired_suites: [safety]\n"
    )
    assert run(["evaluate", CANDIDATE, *PREVIOUS, "--format", "json"]) == 1
    reports = json.loads(capsys.readouterr().out)["reports"]
    assert [report["quality"]["subject"]["suite"] for report in reports] == ["triage", "safety"]


def test_shards_are_merged_to_the_bytes_of_one_run(
    says: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / f"{index}.json") for index in (1, 2)]
    for index, file in enumerate(files, start=1):
        says()
        assert (
            run(["evaluate", CANDIDATE, *PREVIOUS, "--no-cache", "--shard", f"{index}/2", "--output", file])
            == 0
        )
    capsys.readouterr()
    assert run(["evaluate", "merge", *reversed(files), "--format", "json"]) == 0
    merged = json.loads(capsys.readouterr().out)["reports"][0]
    says()
    assert run(["evaluate", CANDIDATE, *PREVIOUS, "--no-cache", "--format", "json"]) == 0
    whole = json.loads(capsys.readouterr().out)["reports"][0]
    assert json.dumps(merged["quality"]) == json.dumps(whole["quality"])
    assert [shard["shard"] for shard in merged["speed"]["shards"]] == ["1/2", "2/2"]
    assert run(["evaluate", "merge", files[0]]) == 3
    assert "missing or there twice: 2/2" in capsys.readouterr().err
    assert run(["evaluate", "merge", CANDIDATE]) == 3
    assert "is no shard of an evaluation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--shard", "1/2"], "--shard writes one part to --output FILE"),
        (["--shard", "3/2", "--output", "x"], "'3/2' is no shard"),
        (["--shards", "2"], "--shards belongs to --engine ray"),
        (["--engine", "tpu"], "there is no engine 'tpu'; there are transformers, vllm, http, ray"),
        (["--engine", "http"], "--engine http and --url go together"),
        (["--url", "http://localhost:1"], "--engine http and --url go together"),
    ],
)
def test_options_that_do_not_fit_together_are_told_before_anything_is_read(
    says: Any, options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = says()
    assert run(["evaluate", CANDIDATE, *PREVIOUS, *options]) == 2
    assert reason in capsys.readouterr().err
    assert engine.asked == []


def test_a_stored_report_is_judged_again_to_the_same_bytes_and_an_edited_one_is_found_out(
    says: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    says(BROKEN)
    stored, again = tmp_path / "report.json", tmp_path / "again.json"
    assert run(["evaluate", CANDIDATE, *PREVIOUS, "--output", f"json={stored}"]) == 1
    assert run(["evaluate", "gate", str(stored), "--output", f"json={again}"]) == 1
    assert again.read_bytes() == stored.read_bytes()
    forged = stored.read_text().replace('"outcome": "fail"', '"outcome": "pass"')
    stored.write_text(forged)
    capsys.readouterr()
    assert run(["evaluate", "gate", str(stored)]) == 1
    captured = capsys.readouterr()
    assert "what it concludes on triage is not what it measured" in captured.err
    assert "slice/invoice" in captured.out


def test_several_forms_are_written_in_one_run(says: Any, tmp_path: Path) -> None:
    says()
    files = {form: tmp_path / f"report.{form}" for form in ("json", "markdown", "html")}
    outputs = [word for form, file in files.items() for word in ("--output", f"{form}={file}")]
    assert run(["evaluate", CANDIDATE, *PREVIOUS, *outputs]) == 0
    assert files["html"].read_text().startswith("<!doctype html>")
    assert files["markdown"].read_text().startswith("<!-- rollout evaluate: support-bot -->")
    assert json.loads(files["json"].read_text())["schema"] == "adapter-rollout/evaluation/v1"


def test_colours_are_for_terminals_only(says: Any, capsys: pytest.CaptureFixture[str]) -> None:
    says()
    run(["evaluate", CANDIDATE, *PREVIOUS])
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out
    assert captured.err == ""


def test_json_is_the_report(says: Any, capsys: pytest.CaptureFixture[str]) -> None:
    says(BROKEN)
    assert run(["evaluate", CANDIDATE, *PREVIOUS, "--format", "json"]) == 1
    evaluation = json.loads(capsys.readouterr().out)
    assert evaluation["schema"] == "adapter-rollout/evaluation/v1"
    (report,) = evaluation["reports"]
    assert report["schema"] == "adapter-rollout/evaluation-report/v2"
    assert report["quality"]["slices"][0]["slice"] == "invoice"


def test_a_report_in_a_file_leaves_the_verdict_on_standard_error(
    says: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    says()
    out = tmp_path / "report.md"
    assert run(["evaluate", CANDIDATE, *PREVIOUS, "--format", "markdown", "--output", str(out)]) == 0
    assert out.read_text().startswith("<!-- rollout evaluate: support-bot -->")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("support-bot 1.1.0 may go on")


# Who the champion is.


def test_without_a_champion_nothing_is_assumed(says: Any, capsys: pytest.CaptureFixture[str]) -> None:
    engine = says()
    assert run(["evaluate", CANDIDATE, "--base-model", "models/base"]) == 2
    assert "name the champion" in capsys.readouterr().err
    assert engine.asked == []


def test_a_first_release_has_to_be_said(says: Any, capsys: pytest.CaptureFixture[str]) -> None:
    says()
    assert run(["evaluate", CANDIDATE, "--champion", "none", "--base-model", "models/base"]) == 0
    assert "as there is no champion yet" in capsys.readouterr().out


def test_the_champion_of_a_commit_is_its_manifest(says: Any, capsys: pytest.CaptureFixture[str]) -> None:
    says()
    assert run(["evaluate", CANDIDATE, "--base", "main", "--base-model", "models/base"]) == 0
    assert "against champion 1.0.0" in capsys.readouterr().out


def test_an_author_cannot_lower_the_bar(
    says: Any, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    says(dict.fromkeys(RIGHT, ""), base_answers(ROWS))
    gates = repository.root / "policies" / "gates" / "default.yaml"
    gates.write_text("gates: {rouge_l: {min: 0.0}}\n")
    assert run(["evaluate", CANDIDATE, "--base", "main", "--base-model", "models/base"]) == 1
    assert "gate/json_compliance" in capsys.readouterr().out


def test_a_manifest_that_the_commit_does_not_hold_is_a_first_release(
    says: Any, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    says()
    other = repository.manifest.with_name("other.yaml")
    other.write_bytes(repository.manifest.read_bytes())
    assert run(["evaluate", str(other), "--base", "main", "--base-model", "models/base"]) == 0
    assert "as there is no champion yet" in capsys.readouterr().out


def test_the_champion_of_an_environment_is_what_its_ledger_calls_stable(
    says: Any, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    says()
    repository.write_environment()
    adopt(repository)
    assert run(["evaluate", CANDIDATE, "--environment", "staging"]) == 0
    assert "against champion 1.0.0" in capsys.readouterr().out


def adopt(repository: Repository) -> None:
    from datetime import UTC, datetime

    from rollout.core.lifecycle import Adopted, Version

    tree = wiring.tree_at(repository.root, "main")
    found = tree.manifest(wiring.path_below(repository.root, repository.manifest))
    version = Version(
        version=found.value.version,
        identity=found.value.identity,
        served_name=found.value.served_name,
        path=CANDIDATE,
        commit=str(tree.tree.commit),
        manifest_sha256=hashlib.sha256(found.content).hexdigest(),
    )
    ledger = FolderLedger(repository.root / ".state" / "ledger", "staging")
    book = Book(ledger, "support-bot", Signature(actor="alice", environment="staging"))
    book.add(Adopted, datetime(2026, 1, 1, tzinfo=UTC), stable=version)


def test_a_recorded_report_stands_in_the_ledger(
    says: Any, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    says(BROKEN)
    repository.write_environment()
    adopt(repository)
    assert run(["evaluate", CANDIDATE, "--environment", "staging", "--record", "--actor", "bob"]) == 1
    ledger = FolderLedger(repository.root / ".state" / "ledger", "staging")
    ((event,),) = fold(ledger.read("support-bot")).evaluations.values()
    assert (event.outcome, event.actor) == (Outcome.FAIL, "bob")
    assert f"report {event.report[:12]}" in capsys.readouterr().err
    assert (repository.root / ".state" / "evidence" / event.report[:2] / event.report).is_file()


def test_recording_needs_an_environment(says: Any, capsys: pytest.CaptureFixture[str]) -> None:
    engine = says()
    assert run(["evaluate", CANDIDATE, *PREVIOUS, "--record"]) == 2
    assert "a ledger belongs to one" in capsys.readouterr().err
    assert engine.asked == []


# What is refused before anything is loaded.


def test_bytes_that_are_not_the_manifests_exit_three(
    says: Any, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = says()
    (repository.root / "adapters" / "1.1.0" / "adapter_config.json").write_text('{"r": 1}')
    assert run(["evaluate", CANDIDATE, *PREVIOUS]) == 3
    assert "the manifest says" in capsys.readouterr().err
    assert engine.loaded == {}


def test_a_base_model_with_another_template_exits_three(
    says: Any, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = says()
    (repository.model / "chat_template.jinja").write_text("{{ other }}")
    assert run(["evaluate", CANDIDATE, *PREVIOUS]) == 3
    assert "the chat template of the base model has sha256" in capsys.readouterr().err
    assert engine.loaded == {}


def test_the_template_may_stand_in_the_tokenizers_configuration(repository: Repository) -> None:
    base = wiring.working_folder(repository.root).manifest(
        wiring.path_below(repository.root, repository.manifest)
    )
    (repository.model / "chat_template.jinja").unlink()
    (repository.model / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    verify_base(repository.model, base.value.base)
    (repository.model / "tokenizer_config.json").write_text("[]")
    with pytest.raises(Unreadable, match="not a JSON object"):
        verify_base(repository.model, base.value.base)
    (repository.model / "tokenizer_config.json").write_text("{}")
    with pytest.raises(Unreadable, match="no chat template"):
        verify_base(repository.model, base.value.base)


def test_a_missing_suite_exits_three(
    says: Any, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    says()
    (repository.root / "policies" / "suites" / "triage.yaml").unlink()
    assert run(["evaluate", CANDIDATE, *PREVIOUS]) == 3
    assert "policies/suites/triage.yaml" in capsys.readouterr().err


def test_a_manifest_outside_of_the_repository_is_refused(
    says: Any, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    says()
    outside = tmp_path_factory.mktemp("outside") / "m.yaml"
    outside.write_text("{}")
    assert run(["evaluate", str(outside), *PREVIOUS]) == 2
    assert "outside" in capsys.readouterr().err


def test_no_base_model_is_a_question_not_a_guess(says: Any, capsys: pytest.CaptureFixture[str]) -> None:
    says()
    assert run(["evaluate", CANDIDATE, "--champion", "none"]) == 2
    assert "--base-model" in capsys.readouterr().err


def stored(path: Path, evaluation: Evaluation) -> str:
    path.write_text(to_json(evaluation))
    return str(path)


def test_several_stored_reports_are_shown_as_one_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = sample_evaluation(per_slice=8), sample_evaluation(per_slice=8, suite="safety")
    files = [stored(tmp_path / "one.json", one), stored(tmp_path / "other.json", other)]
    assert run(["evaluate", "show", *files, files[0], "--format", "json"]) == 0
    shown = Evaluation.model_validate_json(capsys.readouterr().out, strict=True)
    assert shown.reports == (*one.reports, *other.reports), "in their order, each once"
    changed = stored(tmp_path / "changed.json", sample_evaluation(per_slice=9))
    assert run(["evaluate", "show", files[0], changed]) == 3
    told = capsys.readouterr().err
    assert f"{files[0]} and {changed} hold different reports of support-bot 1.2.0 on support-triage" in told
    assert run(["evaluate", "show"]) == 2
