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
from rollout.core.lifecycle import fold
from rollout.core.verdict import Outcome
from rollout.errors import Unreadable
from rollout.integrations.basemodel import verify_base
from rollout.integrations.documents import render
from rollout.integrations.ledgerfolder import FolderLedger
from rollout.usecases.book import Book, Signature
from tests.support.recorded import (
    SUITE,
    RecordedEngine,
    base_answers,
    golden_lines,
    manifest_data,
    right_answers,
    write_policies,
)

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

        def build(folder: Path, base: Any, **_: Any) -> RecordedEngine:
            verify_base(folder, base)
            return engine

        monkeypatch.setattr(wiring, "build_engine", build)
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


def test_a_regression_exits_one_and_names_the_slice(says: Any, capsys: pytest.CaptureFixture[str]) -> None:
    says(BROKEN)
    assert run(["evaluate", CANDIDATE, *PREVIOUS]) == 1
    assert "slice/invoice" in capsys.readouterr().out.splitlines()[3]


def test_too_few_items_exit_six(
    says: Any, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    says()
    suite = repository.root / "policies" / "suites" / "triage.yaml"
    suite.write_text(SUITE.replace("exact_match: 0.05", "exact_match: 0.001"))
    assert run(["evaluate", CANDIDATE, *PREVIOUS]) == 6
    assert "is not settled: 1 inconclusive" in capsys.readouterr().out


def test_colours_are_for_terminals_only(says: Any, capsys: pytest.CaptureFixture[str]) -> None:
    says()
    run(["evaluate", CANDIDATE, *PREVIOUS])
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out
    assert captured.err == ""


def test_json_is_the_report(says: Any, capsys: pytest.CaptureFixture[str]) -> None:
    says(BROKEN)
    assert run(["evaluate", CANDIDATE, *PREVIOUS, "--format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == "adapter-rollout/evaluation-report/v1"
    assert report["slices"][0]["slice"] == "invoice"


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
    (event,) = fold(ledger.read("support-bot")).evaluations.values()
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
