"""The whole evaluation over a recorded engine: real suites, real files, real shelf, real ledger."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import pytest

from rollout.core.artifact import ArtifactFacts
from rollout.core.document import DocumentErrors
from rollout.core.evaluation import EvalReport, Partial, Shard, Side
from rollout.core.gate import is_tampered, judged_again
from rollout.core.lifecycle import Evaluated, fold
from rollout.core.manifest import AdapterManifest
from rollout.core.merging import conclude
from rollout.core.planning import ShardNumber
from rollout.core.verdict import Outcome
from rollout.errors import LedgerConflict, LoadRefused, Unavailable, Unreadable
from rollout.integrations.answercache import AnswerFile
from rollout.integrations.documents import StrictDocuments
from rollout.integrations.evidence import EvidenceFolder
from rollout.integrations.ledger import FolderLedger
from rollout.integrations.shelf import AdapterShelf
from rollout.integrations.workfolder import WorkingFolder
from rollout.ports import PanelScores
from rollout.usecases.book import Signature
from rollout.usecases.contest import Contest, Means, Scope
from rollout.usecases.evaluate import evaluate, merge, record_evaluation
from rollout.usecases.golden import load_golden
from tests.support.recorded import (
    GATES,
    SUITE,
    RecordedEngine,
    SteppingClock,
    base_answers,
    golden_lines,
    right_answers,
    sound,
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
        self.reference: Callable[[], Any] | None = None
        self.panel: list[Any] = []
        self.inspect: Any = sound

    def candidate_says(self, change: Callable[[str, str], str]) -> None:
        """The candidate's answers, each made from the prompt and the right answer."""
        changed = {prompt: change(prompt, text) for prompt, text in RIGHT.items()}
        self.engine.answers = {**self.engine.answers, self.candidate.served_name: changed}

    def golden(self) -> Any:
        return load_golden(WorkingFolder(self.root), StrictDocuments(), "triage")

    def run(self, champion: AdapterManifest | str | None = "the champion", **scope: Any) -> EvalReport:
        return conclude([self.part(champion, **scope)])

    def part(self, champion: AdapterManifest | str | None = "the champion", **scope: Any) -> Partial:
        contest = Contest(
            candidate=self.candidate,
            champion=self.champion if isinstance(champion, str) else champion,
            golden=self.golden(),
            command="rollout evaluate manifests/support-bot.yaml",
        )
        (partial,) = evaluate(
            [contest],
            Means(
                open_engine=lambda: self.engine,
                cache=AnswerFile(self.root / "answers.sqlite", origin="test"),
                reference=self.reference,
                panels={"triage": self.panel},
            ),
            shelf=AdapterShelf(self.root / "shelf", locate=lambda artifact: self.root / artifact.uri),
            clock=SteppingClock(),
            tool="0.1.0",
            inspect=self.inspect,
            scope=Scope(**{"block": 16, **scope}),
            progress=lambda *told: self.doing.append(told),
        )
        return partial


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_equal_candidate_passes_with_a_complete_report(bench: Bench) -> None:
    report = bench.run()
    assert report.outcome is Outcome.PASS, [v for v in report.verdicts if v.outcome is not Outcome.PASS]
    assert report.subject.candidate.identity == bench.candidate.identity
    assert report.subject.champion is not None
    assert report.subject.champion.served_name == bench.champion.served_name
    assert (report.finished_at - report.started_at).total_seconds() == 1
    assert len(report.measured.cases) == 160
    assert report.subject.reported == {"exact_match": 0.99}


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
    for verdict in [*data["quality"]["verdicts"], *data["speed"]["verdicts"]]:
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
    assert report.quality.slices[0].slice == "invoice"


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
    assert "adapter has no effect: all log-probabilities of 8 probes are the base's" in effect.reason
    assert bench.engine.asked == [], "nothing is asked of an adapter that does nothing"
    cases = next(v for v in report.verdicts if v.subject == "cases")
    assert (cases.outcome, cases.reason) == (
        Outcome.NO_DATA,
        "none of 160 items was asked: the candidate has no effect on its base",
    )


def test_an_adapter_of_nan_fails(bench: Bench) -> None:
    bench.engine.shift = {bench.candidate.served_name: nan}
    failed = {v.subject: v.reason for v in bench.run().verdicts if v.outcome is Outcome.FAIL}
    assert failed == {"effect": "log-probabilities of the candidate on the probe texts are not finite"}
    assert bench.engine.asked == []


def test_a_champion_that_is_not_applied_is_an_error_not_an_easy_win(bench: Bench) -> None:
    bench.engine.shift = {bench.champion.served_name: 0.0}
    report = bench.run()
    assert report.outcome is Outcome.ERROR
    assert next(v for v in report.verdicts if v.subject == "effect/champion").outcome is Outcome.ERROR


def test_a_first_release_is_compared_with_the_base(bench: Bench) -> None:
    report = bench.run(champion=None)
    assert report.subject.champion is None
    assert report.outcome is Outcome.PASS
    assert report.measured.sides == (Side.BASE, Side.CANDIDATE)
    assert {v.subject for v in report.verdicts} >= {"base/exact_match", "base/rouge_l"}


def test_a_champion_against_itself_passes(bench: Bench) -> None:
    bench.candidate = bench.champion
    assert bench.run().outcome is Outcome.PASS


def test_an_engine_that_forgets_an_item_gives_no_report(bench: Bench) -> None:
    bench.engine.forget = 1
    with pytest.raises(Unavailable, match="answered 47 of 48 questions of a block"):
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
    (shard,) = report.speed.shards
    assert {side: len(timings) for side, timings in shard.timings.items()} == dict.fromkeys(Side, 8)
    assert len({timing.item.split("-")[0] for timing in shard.timings[Side.BASE]}) >= 3


def test_the_same_answers_give_the_same_measurements(tmp_path: Path) -> None:
    one, other = Bench(tmp_path / "one"), Bench(tmp_path / "other")
    assert one.run().content == other.run().content


def test_progress_ends_at_the_end(bench: Bench) -> None:
    bench.run()
    last = {doing: (done, of) for doing, done, of in bench.doing}
    assert last == {
        "answering the suite": (480, 480),
        "asking again": (16, 16),
        "proving the effect": (8, 8),
        "timing answers": (27, 27),
    }


def test_nothing_is_loaded_when_the_bytes_are_not_the_manifests(bench: Bench) -> None:
    weights = bench.root / bench.candidate.artifact.uri / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"!")
    with pytest.raises(Unreadable, match=r"adapter_model\.safetensors in .* has another sha256"):
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
    assert state.evaluations[report.subject.candidate.identity] == (event,)
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


# Proofs before the first question.


def test_an_unsound_adapter_never_reaches_the_engine(bench: Bench) -> None:
    bench.inspect = lambda _manifest, _folder: ArtifactFacts(non_finite=("layers.0.q_proj.lora_A",))
    with pytest.raises(LoadRefused, match=r"q_proj\.lora_A are not finite in the serving type"):
        bench.run()
    assert bench.engine.loaded == {}


def test_keys_without_a_place_in_the_base_are_told_as_no_effect(bench: Bench) -> None:
    bench.inspect = lambda _manifest, _folder: ArtifactFacts(ignored=("foo.q_proj",))
    with pytest.raises(LoadRefused, match="servers ignore them and they have no effect"):
        bench.run()


def test_the_report_tells_how_many_answers_are_of_before(bench: Bench) -> None:
    assert bench.run().notes == (), "nothing was kept yet"
    asked = sum(len(replies) for case in bench.run().measured.cases for replies in case.replies.values())
    assert bench.run().notes == (f"shard 1/1: {asked} of {asked} answers were kept from before",)


class Rambling:
    """A judge that gives no value, and many lines for a reason."""

    name = "judge"
    metrics = ("win_rate",)

    def score(self, items: Any, progress: Any) -> PanelScores:
        return PanelScores(values={}, notes={"why": "\x1b[2J\nline\r\n\x00" * 200})

    def describe(self) -> dict[str, str]:
        return {}


def test_a_reason_of_many_lines_is_one_line_of_the_report(bench: Bench) -> None:
    bench.panel = [Rambling()]
    report = bench.run()
    (note,), missing = report.notes, report.measured.missing["win_rate"]
    assert note.startswith("judge, shard 1/1: why:  [2J line")
    assert (len(note), len(missing)) == (300, 300)
    assert (note + missing).isprintable(), "a terminal obeys nothing in it"


def test_the_engine_is_closed_whatever_happens(bench: Bench) -> None:
    bench.run()
    bench.engine.forget = 1
    bench.root.joinpath("answers.sqlite").unlink()
    with pytest.raises(Unavailable):
        bench.run()
    assert bench.engine.closed == 2


def test_an_engine_that_cannot_read_fixed_answers_is_judged_by_its_answers(bench: Bench) -> None:
    bench.engine.unreadable = True
    report = bench.run()
    effect = next(v for v in report.verdicts if v.subject == "effect")
    assert effect.outcome is Outcome.PASS
    assert "160 of 160 answers differ from the base's, while 0 of 16 change by themselves" in effect.reason
    assert report.measured.missing["perplexity"] == "the engine cannot read fixed answers"


def test_without_log_probabilities_an_adapter_that_says_what_the_base_says_has_no_effect(
    bench: Bench,
) -> None:
    bench.engine.unreadable = True
    del bench.engine.answers[bench.candidate.served_name]  # type: ignore[attr-defined]
    effect = next(v for v in bench.run().verdicts if v.subject == "effect")
    assert effect.outcome is Outcome.FAIL
    assert effect.reason.startswith("no effect beyond the noise: 0 of 160 answers differ")


def reference_of(bench: Bench, **shift: float) -> RecordedEngine:
    named = {getattr(bench, side).served_name: by for side, by in shift.items()}
    return replace(bench.engine, shift=named, loaded={}, read=[], closed=0)


def test_an_engine_that_agrees_with_the_reference_passes(bench: Bench) -> None:
    reference = reference_of(bench)
    bench.reference = lambda: reference
    agreement = next(v for v in bench.run().verdicts if v.subject == "agreement")
    assert (agreement.outcome, agreement.effect) == (Outcome.PASS, 0.0)
    assert reference.closed == 1, "it is gone before the engine comes"


def test_an_engine_that_applies_the_candidate_otherwise_fails(bench: Bench) -> None:
    bench.reference = lambda: reference_of(bench, candidate=0.6)
    agreement = next(v for v in bench.run().verdicts if v.subject == "agreement")
    assert agreement.outcome is Outcome.FAIL
    assert "applies the adapter otherwise than PEFT: 0.5 from recorded 1 float32 at most" in agreement.reason


def test_an_engine_that_computes_the_champion_otherwise_is_in_error(bench: Bench) -> None:
    bench.reference = lambda: reference_of(bench, champion=0.6)
    agreement = next(v for v in bench.run().verdicts if v.subject == "agreement")
    assert agreement.outcome is Outcome.ERROR
    assert agreement.reason.startswith("the engine computes base or champion otherwise than the reference")


def test_without_a_reference_there_is_no_data_about_agreement_and_it_blocks(tmp_path: Path) -> None:
    report = Bench(tmp_path, gates=GATES.replace("agreement: optional", "")).run()
    agreement = next(v for v in report.verdicts if v.subject == "agreement")
    assert (agreement.outcome, agreement.required) == (Outcome.NO_DATA, True)
    assert report.outcome is Outcome.NO_DATA


# Margins that a suite can detect.


def test_a_margin_that_the_suite_cannot_detect_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    bench = Bench(tmp_path, gates=GATES.replace("exact_match: {vs_champion: {max_loss: 0.05}}",
                                                "exact_match: {vs_champion: {max_loss: 0.02}}"))  # fmt: skip
    with pytest.raises(Unreadable) as caught:
        bench.run()
    reason = "champion/exact_match has 120 items, a margin of 2.0 points needs 149"
    assert reason in caught.value.message
    assert bench.engine.loaded == {}


def test_the_fewest_items_are_the_fewest_that_can_pass(tmp_path: Path) -> None:
    from rollout.core.paired import fewest_items, score_interval

    for margin in (0.01, 0.03, 0.05, 0.2):
        fewest = fewest_items(margin, 0.9)
        assert score_interval(0, 0, fewest, 0.9).low > -margin
        unseen = (1 - margin) ** (fewest - 1)
        assert score_interval(0, 0, fewest - 1, 0.9).low <= -margin or unseen > 0.05


# A part of the suite.


def test_a_fair_sample_keeps_the_bar_and_asks_for_proof(bench: Bench) -> None:
    report = bench.run(max_cases=40)
    assert len(report.measured.cases) == 40
    assert {case.slice for case in report.measured.cases} == {"delivery", "invoice", "refund", "refusal"}
    outcomes = {v.subject: v.outcome for v in report.verdicts}
    assert outcomes["champion/exact_match"] is Outcome.INCONCLUSIVE
    assert outcomes["gate/refusal_rate"] is Outcome.INCONCLUSIVE, "10 of 10 do not show 95 %"
    assert report.outcome is Outcome.INCONCLUSIVE


def test_a_sample_still_fails_what_is_proven_harm(bench: Bench) -> None:
    bench.candidate_says(lambda _prompt, _text: "")
    report = bench.run(max_cases=60)
    assert next(v for v in report.verdicts if v.subject == "champion/exact_match").outcome is Outcome.FAIL


def test_slices_that_nobody_asked_block(bench: Bench) -> None:
    report = bench.run(max_cases=2)
    cases = next(v for v in report.verdicts if v.subject == "cases")
    assert (cases.outcome, cases.required) == (Outcome.NO_DATA, True)
    assert "nothing was asked of" in cases.reason


def test_a_budget_ends_between_blocks_and_the_first_is_always_asked(bench: Bench) -> None:
    report = bench.run(out_of_time=lambda: True)
    assert len(report.measured.cases) == 16
    assert report.measured.is_sample


# Answers of before, and shards.


def test_an_answer_is_never_asked_for_twice(bench: Bench) -> None:
    first = bench.run()
    asked, read = list(bench.engine.asked), list(bench.engine.read)
    again = bench.run()
    extra = [id_ for id_, _ in bench.engine.asked[len(asked) :]]
    assert len(asked) == 3 * 160 + 16
    assert len(extra) == 16, "only the noise is measured anew"
    assert all(id_.startswith("champion:") for id_ in extra)
    assert len(bench.engine.read) - len(read) == 2 * 8 * 3, "and the proof of effect"
    assert again.quality.content == first.quality.content


def test_a_run_that_dies_in_the_middle_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = Bench(tmp_path / "whole").run()
    bench = Bench(tmp_path / "killed")
    answered = bench.engine._answer

    def dying(request: Any) -> Any:
        if len(bench.engine.asked) > 200:
            raise KeyboardInterrupt
        return answered(request)

    bench.engine._answer = dying  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    bench.engine._answer = answered  # type: ignore[method-assign]
    done = len(bench.engine.asked) - 1
    bench.engine.asked.clear()
    report = bench.run()
    generated = len(bench.engine.asked) - 16
    assert 3 * 160 - done <= generated <= 3 * 160 - done + 48, "at most one block is asked again"
    assert report.quality.content == whole.quality.content


def test_other_bytes_are_other_answers(bench: Bench) -> None:
    bench.run()
    bench.candidate = write_adapter(bench.root, "1.2.0")
    bench.engine.answers = {**bench.engine.answers, bench.candidate.served_name: base_answers(ROWS)}
    bench.engine.asked.clear()
    report = bench.run()
    assert sum(adapter == bench.candidate.served_name for _, adapter in bench.engine.asked) == 160
    assert report.outcome is Outcome.FAIL


def test_answers_from_another_run_of_ci_are_not_taken(bench: Bench) -> None:
    path = bench.root / "file.sqlite"
    AnswerFile(path, origin="ci/org/repo/1/1").put({"key": b"forged"})
    assert AnswerFile(path, origin="ci/org/repo/1/2").get(["key"]) == {}
    assert AnswerFile(path, origin="ci/org/repo/1/1").get(["key"]) == {"key": b"forged"}


@pytest.mark.parametrize("of", [2, 3, 7])
def test_shards_give_the_bytes_of_one_run(tmp_path: Path, of: int) -> None:
    whole = Bench(tmp_path / "whole").run()
    parts = [
        Bench(tmp_path / f"shard-{index}").part(shard=ShardNumber(index=index, of=of))
        for index in range(1, of + 1)
    ]
    merged = conclude(parts[::-1])
    assert merged.quality.content == whole.quality.content
    assert [shard.shard for shard in merged.speed.shards] == [f"{index}/{of}" for index in range(1, of + 1)]


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ([0], "missing or there twice: 2/2"),
        ([0, 0], "missing or there twice: 1/2, 2/2"),
        ([], "no shard to merge"),
    ],
)
def test_shards_that_are_not_all_there_are_no_evaluation(
    bench: Bench, chosen: list[int], reason: str
) -> None:
    parts = [bench.part(shard=ShardNumber(index=index, of=2)) for index in (1, 2)]
    with pytest.raises(Unreadable, match=reason):
        conclude([parts[place] for place in chosen])


def test_shards_of_different_evaluations_are_not_united(bench: Bench) -> None:
    one, other = (bench.part(shard=ShardNumber(index=index, of=2)) for index in (1, 2))
    changed = other.subject.candidate.model_copy(update={"identity": "0" * 64})
    other = other.model_copy(update={"subject": other.subject.model_copy(update={"candidate": changed})})
    reports, wrong = merge([Shard(partials=(one,)), Shard(partials=(other,))])
    assert reports == ()
    assert "of different evaluations: other candidate" in str(wrong)


def test_shards_of_several_manifests_make_a_report_of_each(bench: Bench) -> None:
    """In the order in which they first appear, each of the bytes that it has alone."""
    first = [Shard(partials=(bench.part(shard=ShardNumber(index=index, of=2)),)) for index in (1, 2)]
    bench.candidate = write_adapter(bench.root, "1.3.0")
    bench.engine.answers = {**bench.engine.answers, bench.candidate.served_name: RIGHT}
    second = [Shard(partials=(bench.part(shard=ShardNumber(index=index, of=3)),)) for index in (1, 2, 3)]
    reports, wrong = merge([second[2], first[1], second[0], first[0], second[1]])
    assert [report.subject.candidate.version for report in reports] == ["1.3.0", "1.1.0"]
    assert wrong is None
    assert reports == (*merge(second)[0], *merge(first)[0])
    for lacking, whole, reason in [
        (
            [*first, *second[:2]],
            ["1.1.0"],
            r"^support-bot 1.3.0: shards that are missing or there twice: 3/3$",
        ),
        (
            [first[0], first[0], second[1]],
            [],
            r"^support-bot 1.1.0: .* 1/2, 2/2; support-bot 1.3.0: .* 1/3, 3/3$",
        ),
    ]:
        reports, wrong = merge(lacking)
        assert [report.subject.candidate.version for report in reports] == whole
        assert wrong is not None
        assert re.search(reason, wrong.message)


def test_a_shard_of_two_adapters_is_no_shard(bench: Bench) -> None:
    one = bench.part(shard=ShardNumber(index=1, of=1))
    renamed = one.subject.candidate.model_copy(update={"name": "other"})
    other = one.model_copy(update={"subject": one.subject.model_copy(update={"candidate": renamed})})
    with pytest.raises(Unreadable, match="one shard speaks of several adapters: other"):
        merge([Shard(partials=(one, other))])


def test_judging_a_stored_report_again_changes_nothing(bench: Bench) -> None:
    report = EvalReport.model_validate_json(bench.run().content, strict=True)
    assert judged_again(report).content == report.content
