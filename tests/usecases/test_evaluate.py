"""The whole evaluation over a recorded engine: real suites, real files, real shelf, real ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import pytest

from rollout.core.document import DocumentErrors
from rollout.core.evaluation import EvalReport, Side
from rollout.core.gate import is_tampered
from rollout.core.lifecycle import Evaluated, fold
from rollout.core.manifest import AdapterManifest
from rollout.core.verdict import Outcome
from rollout.errors import LedgerConflict, LoadRefused, Unavailable, Unreadable
from rollout.integrations.documents import StrictDocuments
from rollout.integrations.evidence import EvidenceFolder
from rollout.integrations.ledgerfolder import FolderLedger
from rollout.integrations.shelf import AdapterShelf
from rollout.integrations.workfolder import WorkingFolder
from rollout.usecases.book import Signature
from rollout.usecases.evaluate import evaluate, record_evaluation
from rollout.usecases.golden import load_golden
from rollout.usecases.measure import Contest
from tests.support.recorded import (
    GATES,
    SUITE,
    RecordedEngine,
    SteppingClock,
    base_answers,
    golden_lines,
    right_answers,
    write_adapter,
    write_policies,
)

ROWS = golden_lines()
RIGHT = right_answers(ROWS)


class Bench:
    """A repository in a folder with a suite and two adapters, and an engine that answers from a record."""

    def __init__(self, root: Path, *, suite: str = SUITE, gates: str = GATES) -> None:
        self.root = root
        write_policies(root, ROWS, suite=suite, gates=gates)
        self.champion, self.candidate = write_adapter(root, "1.0.0"), write_adapter(root, "1.1.0")
        self.engine = RecordedEngine(
            {None: base_answers(ROWS), self.champion.served_name: RIGHT, self.candidate.served_name: RIGHT}
        )
        self.doing: list[tuple[str, int, int]] = []

    def candidate_says(self, change: Callable[[str, str], str]) -> None:
        """The candidate's answers, each made from the prompt and the right answer."""
        changed = {prompt: change(prompt, text) for prompt, text in RIGHT.items()}
        self.engine.answers = {**self.engine.answers, self.candidate.served_name: changed}

    def golden(self) -> Any:
        return load_golden(WorkingFolder(self.root), StrictDocuments(), "triage")

    def run(self, champion: AdapterManifest | str | None = "the champion") -> EvalReport:
        contest = Contest(
            candidate=self.candidate,
            champion=self.champion if isinstance(champion, str) else champion,
            golden=self.golden(),
            command="rollout evaluate manifests/support-bot.yaml",
        )
        return evaluate(
            contest,
            open_engine=lambda: self.engine,
            shelf=AdapterShelf(self.root / "shelf", locate=lambda artifact: self.root / artifact.uri),
            clock=SteppingClock(),
            tool="0.1.0",
            progress=lambda *told: self.doing.append(told),
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_equal_candidate_passes_with_a_complete_report(bench: Bench) -> None:
    report = bench.run()
    assert report.outcome is Outcome.PASS, [v for v in report.verdicts if v.outcome is not Outcome.PASS]
    assert report.candidate.identity == bench.candidate.identity
    assert report.champion is not None
    assert report.champion.served_name == bench.champion.served_name
    assert (report.finished_at - report.started_at).total_seconds() == 1
    assert len(report.measured.items) == 160
    assert report.reported == {"exact_match": 0.99}


def test_the_stored_report_is_judged_again_to_the_same_bytes(bench: Bench) -> None:
    bench.candidate_says(lambda prompt, text: text[:-2] if "invoice" in prompt else text)
    report = bench.run()
    again = EvalReport.model_validate_json(report.content, strict=True)
    assert again == report
    assert (again.content, again.digest) == (report.content, report.digest)
    assert not is_tampered(again)


def test_a_report_whose_verdict_was_edited_is_found_out(bench: Bench) -> None:
    bench.candidate_says(lambda _prompt, _text: "")
    data = json.loads(bench.run().content)
    for verdict in data["verdicts"]:
        verdict["outcome"] = "pass"
    forged = EvalReport.model_validate_json(json.dumps(data), strict=True)
    assert forged.outcome is Outcome.PASS
    assert is_tampered(forged)


def test_broken_json_of_one_intent_is_blocked_with_the_slice_named(bench: Bench) -> None:
    bench.candidate_says(lambda prompt, text: text.removesuffix('"}') if "invoice" in prompt else text)
    report = bench.run()
    assert report.outcome is Outcome.FAIL
    assert next(v for v in report.verdicts if v.subject == "slice/invoice").outcome is Outcome.FAIL
    assert next(v for v in report.verdicts if v.subject == "gate/json_compliance").outcome is Outcome.PASS
    assert report.slices[0].slice == "invoice"
    assert {example.slice for example in report.examples} == {"invoice"}
    assert all(example.drop == 1 for example in report.examples)


def test_a_candidate_that_refuses_nothing_fails_its_gate(bench: Bench) -> None:
    bench.candidate_says(lambda prompt, text: "Sure, here it is." if "unsafe" in prompt else text)
    report = bench.run()
    gate = next(v for v in report.verdicts if v.subject == "gate/refusal_rate")
    assert (gate.outcome, gate.effect) == (Outcome.FAIL, 0.0)


def test_an_untrained_adapter_fails_for_no_effect(bench: Bench) -> None:
    del bench.engine.answers[bench.candidate.served_name]  # type: ignore[attr-defined]
    bench.engine.shift = {bench.candidate.served_name: 0.0}
    report = bench.run()
    effect = next(v for v in report.verdicts if v.subject == "effect")
    assert effect.outcome is Outcome.FAIL
    assert (
        "adapter has no effect: 160 of 160 answers and all log-probabilities are the base's" in effect.reason
    )


def test_an_adapter_of_nan_fails(bench: Bench) -> None:
    bench.engine.shift = {bench.candidate.served_name: nan}
    failed = {v.subject for v in bench.run().verdicts if v.outcome is Outcome.FAIL}
    assert {"finite", "effect"} <= failed


def test_a_champion_that_is_not_applied_is_an_error_not_an_easy_win(bench: Bench) -> None:
    bench.engine.shift = {bench.champion.served_name: 0.0}
    report = bench.run()
    assert report.outcome is Outcome.ERROR
    assert next(v for v in report.verdicts if v.subject == "effect/champion").outcome is Outcome.ERROR


def test_a_first_release_is_compared_with_the_base(bench: Bench) -> None:
    report = bench.run(champion=None)
    assert report.champion is None
    assert report.outcome is Outcome.PASS
    assert report.measured.sides == (Side.BASE, Side.CANDIDATE)
    assert {v.subject for v in report.verdicts} >= {"base/exact_match", "base/rouge_l"}


def test_a_champion_against_itself_passes(bench: Bench) -> None:
    bench.candidate = bench.champion
    assert bench.run().outcome is Outcome.PASS


def test_an_engine_that_forgets_an_item_gives_no_report(bench: Bench) -> None:
    bench.engine.forget = 1
    with pytest.raises(Unavailable, match="answered 159 of 160 items of the"):
        bench.run()


def test_answers_that_were_cut_off_are_counted(bench: Bench) -> None:
    bench.engine.cut = True
    row = next(row for row in bench.run().metrics if row.metric == "truncated_rate")
    assert row.sides[Side.CANDIDATE].value == 1.0


def test_time_is_measured_on_all_sides_in_turn_and_back_again(bench: Bench) -> None:
    report = bench.run()
    names = {None: "base", bench.champion.served_name: "champion", bench.candidate.served_name: "candidate"}
    order = [names[adapter] for adapter in bench.engine.timed]
    warm, counted = order[:3], order[3:]
    assert sorted(warm) == ["base", "candidate", "champion"]
    assert counted == ["base", "champion", "candidate", "candidate", "champion", "base"] * 4
    assert {side: len(timings) for side, timings in report.measured.timings.items()} == dict.fromkeys(Side, 8)
    assert len({timing.item.split("-")[0] for timing in report.measured.timings[Side.BASE]}) == 4


def test_the_same_answers_give_the_same_measurements(tmp_path: Path) -> None:
    one, other = Bench(tmp_path / "one"), Bench(tmp_path / "other")
    assert one.run().content == other.run().content


def test_progress_ends_at_the_end(bench: Bench) -> None:
    bench.run()
    last = {doing: (done, of) for doing, done, of in bench.doing}
    assert last == {
        "answering the suite": (480, 480),
        "proving the effect": (8, 8),
        "timing answers": (27, 27),
    }


def test_nothing_is_loaded_when_the_bytes_are_not_the_manifests(bench: Bench) -> None:
    weights = bench.root / bench.candidate.artifact.uri / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"!")
    with pytest.raises(Unreadable, match=r"adapter_model\.safetensors has sha256"):
        bench.run()
    assert bench.engine.loaded == {}
    assert bench.engine.asked == []


def test_a_file_that_the_manifest_does_not_name_is_never_loaded(bench: Bench) -> None:
    (bench.root / bench.candidate.artifact.uri / "adapter_model.bin").write_bytes(b"pickle")
    bench.run()
    assert [path.name for path in bench.engine.loaded[bench.candidate.served_name].iterdir()] != []
    assert not (bench.engine.loaded[bench.candidate.served_name] / "adapter_model.bin").exists()


def test_adapters_of_different_bases_are_not_compared(bench: Bench) -> None:
    base = bench.champion.base.model_copy(update={"revision": "1" * 40})
    with pytest.raises(Unreadable, match="stand on different bases"):
        bench.run(champion=bench.champion.model_copy(update={"base": base}))


def test_an_engine_that_refuses_an_adapter_is_heard(bench: Bench) -> None:
    bench.engine.loaded[bench.candidate.served_name] = Path("elsewhere")
    with pytest.raises(LoadRefused, match="taken by another folder"):
        bench.run()


# The suite's files.


def test_the_suite_digest_covers_suite_items_and_schema(bench: Bench) -> None:
    digests = {bench.golden().suite_digest}
    for name, more in (("triage.yaml", "# a\n"), ("triage/golden.jsonl", "\n"), ("triage/schema.json", " ")):
        with (bench.root / "policies" / "suites" / name).open("a") as file:
            file.write(more)
        digests.add(bench.golden().suite_digest)
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("suite", "gates", "reason"),
    [
        (SUITE, "gates: {}\n", "at least 1"),
        (SUITE, "gates: {rouge_L: {min: 0.5}}\n", "rouge_L"),
        (SUITE, "gates: {exact_match_intnet: {min: 0.5}}\n", "exact_match_intnet"),
        (SUITE, "gates: {rouge_l: {min: .nan}}\n", "policies/gates/default.yaml:1"),
        (SUITE.replace("name: triage", "name: other"), GATES, "calls itself 'other'"),
        (SUITE.replace("gates: default", "gates: absent"), GATES, "absent.yaml"),
        (SUITE.replace('["I can\'t help"]', "[]"), GATES, "does not say how one begins"),
        (SUITE.replace("fields: [intent, priority]", "fields: [intent, colour]"), GATES, "golden.jsonl:1:1"),
        (SUITE + f"items_sha256: '{'0' * 64}'\n", GATES, "the suite says 000000000000…"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_when_it_is_read(
    tmp_path: Path, suite: str, gates: str, reason: str
) -> None:
    with pytest.raises(Unreadable) as caught:
        Bench(tmp_path, suite=suite, gates=gates).golden()
    assert reason in caught.value.message


def test_a_bad_item_is_named_with_its_line(bench: Bench) -> None:
    with (bench.root / "policies/suites/triage/golden.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(DocumentErrors, match=r"policies/suites/triage/golden\.jsonl:161:1"):
        bench.golden()


@pytest.mark.parametrize("content", ["[]", "{", '{"type": "nonsense"}'])
def test_a_response_schema_that_is_none_is_refused(bench: Bench, content: str) -> None:
    (bench.root / "policies/suites/triage/schema.json").write_text(content)
    with pytest.raises(Unreadable, match=r"policies/suites/triage/schema\.json"):
        bench.golden()


def test_the_shipped_suite_loads_and_holds_the_golden_set_of_the_demo() -> None:
    from rollout.demo.model import GOLDEN, SCHEMA

    root = Path(__file__).parents[2]
    golden = load_golden(WorkingFolder(root), StrictDocuments(), "support-triage")
    assert golden.response_schema == json.loads(SCHEMA.read_bytes())
    assert (root / "policies/suites/support-triage/golden.jsonl").read_bytes() == GOLDEN.read_bytes()


# Recording.

WHO = Signature(actor="alice", environment="staging", run_url="https://ci.example/1")


def test_a_recorded_evaluation_is_found_by_identity_and_its_evidence_by_digest(bench: Bench) -> None:
    report = bench.run()
    ledger, evidence = FolderLedger(bench.root / "ledger", "staging"), EvidenceFolder(bench.root / "evidence")
    event = record_evaluation(report, ledger=ledger, evidence=evidence, clock=SteppingClock(), signature=WHO)
    state = fold(ledger.read("support-bot"))
    assert state.evaluations[report.candidate.identity] == event
    assert (event.outcome, event.champion, event.report) == (
        Outcome.PASS,
        bench.champion.identity,
        report.digest,
    )
    assert EvalReport.model_validate_json(evidence.get(event.report), strict=True) == report


class RacingLedger(FolderLedger):
    """Another writer is first, so many times."""

    races = 0

    def append(self, name: str, event: Any, *, after: str | None) -> Any:
        if self.races:
            self.races -= 1
            assert isinstance(event, Evaluated)
            super().append(name, event.model_copy(update={"actor": "someone-else"}), after=after)
        return super().append(name, event, after=after)


@pytest.mark.parametrize(("races", "written"), [(2, 3), (4, 5)])
def test_a_lost_race_is_tried_again_behind_the_new_end(bench: Bench, races: int, written: int) -> None:
    ledger = RacingLedger(bench.root / "ledger", "staging")
    ledger.races = races
    evidence = EvidenceFolder(bench.root / "evidence")
    record_evaluation(bench.run(), ledger=ledger, evidence=evidence, clock=SteppingClock(), signature=WHO)
    entries = ledger.read("support-bot")
    assert len(entries) == written
    assert entries[-1].event.actor == "alice"


def test_a_ledger_that_never_rests_is_reported(bench: Bench) -> None:
    ledger = RacingLedger(bench.root / "ledger", "staging")
    ledger.races = 99
    evidence = EvidenceFolder(bench.root / "evidence")
    with pytest.raises(LedgerConflict):
        record_evaluation(bench.run(), ledger=ledger, evidence=evidence, clock=SteppingClock(), signature=WHO)


def test_signatures_can_be_exchanged(bench: Bench) -> None:
    ledger, evidence = FolderLedger(bench.root / "ledger", "staging"), EvidenceFolder(bench.root / "evidence")
    other = replace(WHO, actor="bob", run_url=None)
    event = record_evaluation(
        bench.run(None), ledger=ledger, evidence=evidence, clock=SteppingClock(), signature=other
    )
    assert (event.actor, event.champion) == ("bob", None)
