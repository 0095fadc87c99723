"""The demo's adapters on real engines: on every one of them each version gets the verdict that it was trained to get."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from rollout.core.evaluation import EvalReport, Side
from rollout.core.gate import is_tampered
from rollout.core.manifest import AdapterManifest, Dtype
from rollout.core.merging import conclude
from rollout.core.score import metric
from rollout.core.suite import Golden, Latency
from rollout.core.verdict import Outcome, Verdict
from rollout.demo.model import BASE, adapter, broken
from rollout.errors import LoadRefused
from rollout.integrations.answercache import AnswerFile
from rollout.integrations.clock import SystemClock
from rollout.integrations.documents import StrictDocuments
from rollout.integrations.openai import HttpEngine
from rollout.integrations.shelf import AdapterShelf
from rollout.integrations.transformers import TransformersEngine, open_base, open_codec
from rollout.integrations.vllm.engine import VllmEngine
from rollout.integrations.vllm.replica import Replica
from rollout.integrations.workfolder import WorkingFolder
from rollout.ports import Engine
from rollout.usecases.contest import Contest, Means
from rollout.usecases.evaluate import evaluate
from rollout.usecases.golden import load_golden
from rollout.wiring import adapter_inspector
from tests.support.models import edit_tensors
from tests.support.recorded import manifest_data, sound
from tests.support.servers import rollout_serve
from tests.support.vllms import NEEDS_VLLM, vllm_serve

pytestmark = pytest.mark.model
ROOM = 8
"""Adapters that a server must have room for: all that are judged here."""


class KeptOpen:
    """An engine that outlives the evaluations that would close it: some take a minute to start."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.loaded: list[str] = []
        self.asked = 0

    def load(self, adapters: Any) -> None:
        self._engine.load(adapters)
        self.loaded += list(adapters)

    def generate(self, requests: Any) -> Any:
        self.asked += len(requests)
        return self._engine.generate(requests)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def close(self) -> None:
        """Not yet."""


class Bench:
    """One engine, and a shelf that it reads from. No contest is held twice."""

    def __init__(self, folder: Path, golden: Golden, engine: Engine) -> None:
        self.engine = KeptOpen(engine)
        self._shelf, self._golden = folder, golden
        self._cache = AnswerFile(folder.parent / f"{folder.name}.sqlite", origin="test")
        self._done: dict[tuple[str, str | None], EvalReport] = {}

    def prove(
        self,
        candidate: AdapterManifest,
        champion: AdapterManifest | None,
        *,
        inspected: bool = True,
        referenced: bool = True,
    ) -> EvalReport:
        names = candidate.served_name, None if champion is None else champion.served_name
        if names not in self._done:
            contest = Contest(
                candidate=candidate, champion=champion, golden=self._golden, command="rollout evaluate"
            )
            partials = evaluate(
                [contest],
                Means(
                    open_engine=lambda: self.engine,
                    cache=self._cache,
                    reference=_reference if referenced else None,
                ),
                shelf=AdapterShelf(self._shelf, locate=lambda artifact: Path(artifact.uri)),
                inspect=adapter_inspector(BASE) if inspected else sound,
                clock=SystemClock(),
                tool="0.1.0",
            )
            self._done[names] = conclude(partials)
        return self._done[names]


def _reference() -> Engine:
    return TransformersEngine(open_base(BASE, threads=1))


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
def misplaced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.1.0 with keys that name no module of the base: vLLM takes it without a word."""
    folder = tmp_path_factory.mktemp("misplaced") / "adapter"
    edit_tensors(
        adapter("1.1.0"),
        folder,
        lambda tensors: {
            name.replace("model.model.", "model.foo."): tensor for name, tensor in tensors.items()
        },
    )
    return folder


def version(name: str) -> AdapterManifest:
    return manifest_of(adapter(name), name)


def manifest_of(folder: Path, name: str) -> AdapterManifest:
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    return AdapterManifest.model_validate(manifest_data(name, str(folder), digests))


def not_passed(report: EvalReport) -> list[Verdict]:
    return [each for each in report.verdicts if each.outcome is not Outcome.PASS and each.required]


def failed(report: EvalReport) -> list[str]:
    return [each.subject for each in report.verdicts if each.outcome is Outcome.FAIL]


def said(report: EvalReport, subject: str) -> Verdict:
    return next(each for each in report.verdicts if each.subject == subject)


class Verdicts:
    """What every engine finds."""

    takes_misplaced: ClassVar[bool] = False
    calls_itself: ClassVar[str]

    def test_the_first_release_passes_against_the_base(self, bench: Bench) -> None:
        report = bench.prove(version("1.0.0"), None)
        assert report.outcome is Outcome.PASS, not_passed(report)
        assert report.subject.engine.name == self.calls_itself
        assert not is_tampered(EvalReport.model_validate_json(report.content, strict=True))

    @pytest.mark.parametrize(("better", "than"), [("1.1.0", "1.0.0"), ("1.3.0", "1.1.0")])
    def test_versions_that_are_no_worse_on_the_golden_set_pass(
        self, bench: Bench, better: str, than: str
    ) -> None:
        report = bench.prove(version(better), version(than))
        assert report.outcome is Outcome.PASS, not_passed(report)
        assert said(report, "effect").outcome is Outcome.PASS
        assert said(report, "agreement").outcome is Outcome.PASS

    def test_the_version_that_breaks_the_json_of_invoices_is_blocked_by_name(self, bench: Bench) -> None:
        report = bench.prove(version("1.2.0"), version("1.1.0"))
        assert report.outcome is Outcome.FAIL
        assert {"slice/invoice", "champion/exact_match", "gate/json_compliance"} <= set(failed(report))
        assert not [each for each in failed(report) if each.startswith("slice/") and "invoice" not in each]
        assert report.quality.slices[0].slice == "invoice"
        assert report.quality.slices[0].success[Side.CANDIDATE] == 0

    def test_an_untrained_adapter_is_blocked_for_no_effect_before_it_is_asked(self, bench: Bench) -> None:
        before = bench.engine.asked
        report = bench.prove(manifest_of(broken("untrained"), "9.0.0"), version("1.1.0"))
        effect = said(report, "effect")
        assert effect.outcome is Outcome.FAIL
        assert "adapter has no effect: all log-probabilities of 8 probes are the base's" in effect.reason
        assert bench.engine.asked == before

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("nan", "not finite"),
            ("overflow", "larger than any trained weight"),
            ("wrong-base", "do not have the shape of the base"),
        ],
    )
    def test_broken_bytes_never_reach_the_engine(self, bench: Bench, name: str, reason: str) -> None:
        before = list(bench.engine.loaded), bench.engine.asked
        with pytest.raises(LoadRefused) as caught:
            bench.prove(manifest_of(broken(name), "9.0.1"), version("1.1.0"))
        assert reason in caught.value.message
        assert (bench.engine.loaded, bench.engine.asked) == before

    def test_keys_that_fit_nowhere_are_refused_by_the_inspection(self, bench: Bench, misplaced: Path) -> None:
        before = list(bench.engine.loaded)
        with pytest.raises(LoadRefused, match="servers ignore them and they have no effect"):
            bench.prove(manifest_of(misplaced, "9.0.2"), version("1.1.0"))
        assert bench.engine.loaded == before

    def test_keys_that_fit_nowhere_have_no_effect_where_an_engine_takes_them(
        self, bench: Bench, misplaced: Path
    ) -> None:
        before = bench.engine.asked
        candidate, champion = manifest_of(misplaced, "9.0.3"), version("1.1.0")
        if self.takes_misplaced:
            # The reference would refuse them, too.
            report = bench.prove(candidate, champion, inspected=False, referenced=False)
            effect = said(report, "effect")
            assert effect.outcome is Outcome.FAIL
            assert effect.reason.startswith("adapter has no effect")
        else:
            with pytest.raises(LoadRefused, match="unsupported LoRA weight"):
                bench.prove(candidate, champion, inspected=False)
        assert bench.engine.asked == before

    def test_an_adapter_of_another_base_is_refused_at_load(self, bench: Bench) -> None:
        with pytest.raises(LoadRefused):
            bench.prove(manifest_of(broken("wrong-base"), "9.0.4"), None, inspected=False)

    # Last, because an engine may not recover from it.
    def test_zz_values_that_are_not_finite_are_found_before_the_first_question(self, bench: Bench) -> None:
        before = bench.engine.asked
        report = bench.prove(manifest_of(broken("nan"), "9.0.5"), version("1.1.0"), inspected=False)
        assert "effect" in failed(report)
        assert said(report, "effect").reason == (
            "log-probabilities of the candidate on the probe texts are not finite"
        )
        assert bench.engine.asked == before


class TestTransformers(Verdicts):
    """PEFT in this process."""

    calls_itself: ClassVar[str] = "transformers"

    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls, golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
        with closing(TransformersEngine(open_base(BASE, threads=1), batch_size=32)) as engine:
            yield Bench(tmp_path_factory.mktemp("shelf"), golden, engine)


class TestVllm(Verdicts):
    """vLLM in this process."""

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = NEEDS_VLLM
    calls_itself: ClassVar[str] = "vllm"
    takes_misplaced: ClassVar[bool] = True

    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls, golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
        with closing(
            VllmEngine(BASE, open_codec(BASE), dtype=Dtype.FLOAT32, batch_size=32, threads=1, room=ROOM)
        ) as engine:
            yield Bench(tmp_path_factory.mktemp("shelf"), golden, engine)


def http_engine(url: str) -> HttpEngine:
    replica = Replica("engine", url, timeout=60)
    return HttpEngine(
        url, replica, codec=open_codec(BASE), load_adapters=True, batch_size=8, dtype=Dtype.FLOAT32
    )


@pytest.mark.e2e
class TestOurServer(Verdicts):
    """Our own server, in a process of its own."""

    calls_itself: ClassVar[str] = "http"

    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls, golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
        shelf = tmp_path_factory.mktemp("shelf")
        options = ("--adapter-root", str(shelf), "--dtype", "float32", "--batch-size", "8")
        with rollout_serve(BASE, *options) as served, closing(http_engine(served.url)) as engine:
            yield Bench(shelf, golden, engine)


@pytest.mark.e2e
class TestVllmServer(Verdicts):
    """A real vLLM server."""

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = NEEDS_VLLM
    calls_itself: ClassVar[str] = "http"
    takes_misplaced: ClassVar[bool] = True

    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls, golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
        log = tmp_path_factory.mktemp("log") / "vllm.log"
        with vllm_serve(BASE, log) as url, closing(http_engine(url)) as engine:
            yield Bench(tmp_path_factory.mktemp("shelf"), golden, engine)
