"""The demo's adapters on the real engine: every version gets the verdict that it was trained to get."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from rollout.core.evaluation import EvalReport, Side
from rollout.core.gate import is_tampered
from rollout.core.manifest import AdapterManifest
from rollout.core.score import metric
from rollout.core.suite import Golden, Latency
from rollout.core.verdict import Outcome
from rollout.demo.model import BASE, adapter, broken
from rollout.errors import LoadRefused
from rollout.integrations.clock import SystemClock
from rollout.integrations.documents import StrictDocuments
from rollout.integrations.shelf import AdapterShelf
from rollout.integrations.workfolder import WorkingFolder
from rollout.ports import Engine
from rollout.usecases.evaluate import evaluate
from rollout.usecases.golden import load_golden
from rollout.usecases.measure import Contest
from tests.support.recorded import manifest_data

pytestmark = pytest.mark.model
Prove = Callable[[AdapterManifest, AdapterManifest | None], EvalReport]


@pytest.fixture(scope="module")
def engine() -> Engine:
    from rollout.integrations.transformers import TransformersEngine, open_base

    return TransformersEngine(open_base(BASE, threads=1), batch_size=32)


@pytest.fixture(scope="module")
def golden() -> Golden:
    """The shipped suite without what depends on this machine's speed."""
    found = load_golden(WorkingFolder(Path(__file__).parents[2]), StrictDocuments(), "support-triage")
    gates = {name: gate for name, gate in found.gates.gates.items() if not metric(name).timed}
    return Golden(
        suite=found.suite.model_copy(update={"latency": Latency(samples=4, warmup=1), "max_tokens": 24}),
        items=found.items,
        response_schema=found.response_schema,
        gates=found.gates.model_copy(update={"gates": gates}),
        suite_digest=found.suite_digest,
        gates_digest=found.gates_digest,
    )


@pytest.fixture(scope="module")
def prove(engine: Engine, golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Prove:
    # One folder for all, because the engine keeps what it has loaded by its folder; and no proof twice.
    folder, done = tmp_path_factory.mktemp("shelf"), {}

    def run(candidate: AdapterManifest, champion: AdapterManifest | None) -> EvalReport:
        names = candidate.served_name, None if champion is None else champion.served_name
        if names not in done:
            done[names] = evaluate(
                Contest(candidate=candidate, champion=champion, golden=golden, command="rollout evaluate"),
                open_engine=lambda: engine,
                shelf=AdapterShelf(folder, locate=lambda artifact: Path(artifact.uri)),
                clock=SystemClock(),
                tool="0.1.0",
            )
        return done[names]

    return run


def version(name: str) -> AdapterManifest:
    return manifest_of(adapter(name), name)


def manifest_of(folder: Path, name: str) -> AdapterManifest:
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    return AdapterManifest.model_validate(manifest_data(name, str(folder), digests))


def failed(report: EvalReport) -> list[str]:
    return [each.subject for each in report.verdicts if each.outcome is Outcome.FAIL]


def test_the_first_release_passes_against_the_base(prove: Prove) -> None:
    report = prove(version("1.0.0"), None)
    assert report.outcome is Outcome.PASS, [
        each for each in report.verdicts if each.outcome is not Outcome.PASS
    ]
    assert not is_tampered(EvalReport.model_validate_json(report.content, strict=True))


@pytest.mark.parametrize(("better", "than"), [("1.1.0", "1.0.0"), ("1.3.0", "1.1.0")])
def test_versions_that_are_no_worse_on_the_golden_set_pass(prove: Prove, better: str, than: str) -> None:
    report = prove(version(better), version(than))
    assert report.outcome is Outcome.PASS, [
        each for each in report.verdicts if each.outcome is not Outcome.PASS
    ]


def test_the_version_that_breaks_the_json_of_invoices_is_blocked_by_name(prove: Prove) -> None:
    report = prove(version("1.2.0"), version("1.1.0"))
    assert report.outcome is Outcome.FAIL
    assert "slice/invoice" in failed(report)
    assert report.slices[0].slice == "invoice"


def test_an_untrained_adapter_is_blocked_for_no_effect(prove: Prove) -> None:
    report = prove(manifest_of(broken("untrained"), "9.0.0"), version("1.1.0"))
    effect = next(each for each in report.verdicts if each.subject == "effect")
    assert effect.outcome is Outcome.FAIL
    assert "adapter has no effect: 114 of 114 answers" in effect.reason


def test_an_adapter_of_nan_is_blocked_and_its_neighbours_answer_as_before(prove: Prove) -> None:
    report = prove(manifest_of(broken("nan"), "9.0.1"), version("1.1.0"))
    assert {"finite", "effect"} <= set(failed(report))
    healthy = prove(version("1.1.0"), version("1.0.0"))
    beside, before = (
        next(row.sides for row in each.metrics if row.metric == "rouge_l") for each in (report, healthy)
    )
    assert beside[Side.CHAMPION] == before[Side.CANDIDATE]


def test_an_adapter_of_another_base_is_refused_at_load(prove: Prove) -> None:
    with pytest.raises(LoadRefused):
        prove(manifest_of(broken("wrong-base"), "9.0.2"), None)
