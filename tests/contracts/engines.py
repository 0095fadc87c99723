"""What any engine must do that judges adapters: PEFT in this process, vLLM in this process, a server elsewhere.

A test module subclasses `EngineContract` and gives the fixture `engine`, which has loaded the adapters 1.1.0, 1.2.0
and untrained of the demo family, with room for three more. All of it is compared with PEFT in full precision.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rollout.core.generation import likeliest
from rollout.demo.model import ARTIFACTS, BASE, GOLDEN
from rollout.errors import LoadRefused, Unreadable, Usage
from rollout.integrations.transformers import TransformersEngine, open_base
from rollout.ports import (
    Engine,
    Generation,
    GenerationRequest,
    Likelihood,
    LikelihoodRequest,
    Message,
)
from tests.support.models import edit_config, edit_tensors

SIDES = (None, "1.1.0", "1.2.0")
CONTEXT = 512
Answers = dict[tuple[str, str | None], Generation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """Copies of the demo family's adapters, and some that are wrong, all below one folder."""

    folder: Path

    def __getitem__(self, name: str) -> Path:
        return self.folder / name

    def of(self, *names: str) -> dict[str, Path]:
        return {name: self[name] for name in names}


def write_adapters(folder: Path) -> Adapters:
    """Good ones by version; `untrained`, `nan`; `misplaced` (keys that fit nowhere), `dora` (a setting refused)."""
    for source in (*ARTIFACTS.glob("adapters/1.*"), *ARTIFACTS.glob("adapters/broken/*")):
        shutil.copytree(source, folder / source.name)
    edit_tensors(folder / "1.1.0", folder / "misplaced", misplace)
    edit_config(folder / "1.1.0", folder / "dora", use_dora=True)
    (folder / "empty").mkdir()
    return Adapters(folder=folder)


def misplace(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("model.model.", "model.foo."): tensor for name, tensor in tensors.items()}


class Reference:
    """PEFT in full precision, on the same family, asked once."""

    def __init__(self, adapters: Adapters) -> None:
        self.engine = TransformersEngine(open_base(BASE, threads=1))
        self.engine.load(adapters.of("1.1.0", "1.2.0"))

    @cached_property
    def answers(self) -> Answers:
        return by_request(self.engine.generate(mixed()))

    @cached_property
    def readings(self) -> list[Likelihood]:
        return list(self.engine.likelihoods(readings()))


def ask(
    adapter: str | None, content: str = "My parcel is late", *, id_: str = "x", most: int = 60
) -> GenerationRequest:
    turns = (Message(role="user", content=content),)
    return GenerationRequest(id=id_, messages=turns, adapter=adapter, max_tokens=most)


def read(adapter: str | None, continuation: str = '{"intent":"delivery"}') -> LikelihoodRequest:
    turns = (Message(role="user", content="My parcel 4711 has not arrived"),)
    return LikelihoodRequest(id="r", messages=turns, continuation=continuation, adapter=adapter)


def golden(count: int) -> list[dict[str, Any]]:
    """Cases from all over the suite."""
    cases = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    return cases[:: len(cases) // count][:count]


def mixed(sides: Sequence[str | None] = SIDES, count: int = 10) -> list[GenerationRequest]:
    """Every case asked of every side, next to each other."""
    return [
        ask(side, case["messages"][-1]["content"], id_=case["id"]) for case in golden(count) for side in sides
    ]


def readings() -> list[LikelihoodRequest]:
    """Every reference answer read by every side."""
    return [
        LikelihoodRequest(
            id=case["id"],
            messages=tuple(Message(**turn) for turn in case["messages"]),
            continuation=case["reference"],
            adapter=side,
        )
        for case in golden(4)
        for side in SIDES
    ]


def by_request(generations: Iterable[Generation]) -> Answers:
    return {(generation.id, generation.adapter): generation for generation in generations}


def texts(answers: Answers) -> dict[tuple[str, str | None], str]:
    return {key: generation.text for key, generation in answers.items()}


def reading(engine: Engine, adapter: str | None) -> tuple[float, ...]:
    (likelihood,) = engine.likelihoods([read(adapter)])
    return likelihood.logprobs


class EngineContract:
    """The contract."""

    # A second run gives the same bits; over HTTP the server is free to batch as it likes.
    exact: ClassVar[bool] = True
    # The share of greedy answers that equal those in full precision, and how far a log-probability may be off.
    same_answers: ClassVar[float] = 1.0
    tolerance: ClassVar[float] = 1e-4
    # vLLM takes adapters of which it can apply nothing, and answers from the base.
    takes_misplaced: ClassVar[bool] = False

    # What it is

    def test_it_says_what_it_is_and_keeps_to_it(self, engine: Engine) -> None:
        info = engine.describe()
        assert info == engine.describe()
        assert info.name in {"transformers", "vllm", "http"}
        assert all((info.version, info.dtype, info.quantization, info.device, info.hardware))
        assert info.batch_size == 8

    # Answers

    def test_base_and_adapters_answer_in_one_batch_as_they_do_in_full_precision(
        self, engine: Engine, reference: Reference
    ) -> None:
        answers = by_request(engine.generate(mixed()))
        assert answers.keys() == reference.answers.keys()
        same = [answers[key].text == expected.text for key, expected in reference.answers.items()]
        assert sum(same) >= self.same_answers * len(same)
        for key, expected in reference.answers.items():
            if answers[key].text == expected.text:
                assert answers[key].finish_reason == expected.finish_reason == "stop"
                assert answers[key].prompt_tokens == expected.prompt_tokens
                assert answers[key].completion_tokens == expected.completion_tokens
                bound = self.tolerance * expected.completion_tokens
                assert answers[key].logprob_sum == pytest.approx(expected.logprob_sum, abs=bound)

    def test_every_prompt_goes_through_its_own_adapter(self, engine: Engine) -> None:
        answers = texts(by_request(engine.generate(mixed())))
        for case in golden(10):
            base, first, second = (answers[case["id"], side] for side in SIDES)
            assert base != first
            assert base != second
        invoices = [id_ for id_, side in answers if side and answers[id_, "1.1.0"] != answers[id_, "1.2.0"]]
        assert invoices  # the two versions differ in one kind of ticket only

    def test_a_mixed_batch_answers_as_one_request_at_a_time(self, engine: Engine) -> None:
        together = by_request(engine.generate(mixed(count=4)))
        alone = by_request(one.generation for one in engine.time(mixed(count=4)))
        assert texts(together) == texts(alone)
        for key, generation in together.items():
            assert generation.logprob_sum == pytest.approx(alone[key].logprob_sum, abs=0.05)

    def test_rows_of_the_base_are_not_touched_by_their_neighbours(self, engine: Engine) -> None:
        # On a CPU, vLLM gives them the weights of the last slot, if an adapter is there.
        beside = by_request(engine.generate(mixed()))
        among_themselves = by_request(engine.generate(mixed(sides=[None])))
        for key, generation in among_themselves.items():
            assert beside[key].text == generation.text
            assert beside[key].logprob_sum == pytest.approx(generation.logprob_sum, abs=0.05)

    def test_the_same_requests_give_the_same_answers(self, engine: Engine) -> None:
        first, second = (by_request(engine.generate(mixed())) for _ in range(2))
        list(engine.time(mixed(count=1)))
        third = by_request(engine.generate(mixed()))
        if self.exact:
            assert first == second == third
        assert texts(first) == texts(second) == texts(third)

    def test_answers_come_as_soon_as_they_are_done(self, engine: Engine) -> None:
        slow = ask("1.1.0", "x" * 200, id_="slow", most=250)
        quick = [ask(None, id_=str(number), most=1) for number in range(20)]
        order = [generation.id for generation in engine.generate([slow, *quick])]
        assert sorted(order) == sorted(["slow", *(request.id for request in quick)])

    def test_an_answer_ends_at_its_limit(self, engine: Engine) -> None:
        (generation,) = engine.generate([ask(None, most=3)])
        assert (generation.finish_reason, generation.completion_tokens) == ("length", 3)

    def test_an_answer_ends_at_the_end_of_the_context(self, engine: Engine) -> None:
        long = ask(None, "x" * 480, most=CONTEXT)
        (generation,) = engine.generate([long])
        (timed,) = engine.time([long])
        assert generation.prompt_tokens + generation.completion_tokens <= CONTEXT
        assert timed.generation.text == generation.text

    def test_sampling_follows_temperature_and_seed(self, engine: Engine) -> None:
        def drawn(temperature: float, seed: int) -> str:
            asked = replace(ask(None, "tell me something"), temperature=temperature, seed=seed)
            (generation,) = engine.generate([asked])
            return generation.text

        assert drawn(1.5, 1) == drawn(1.5, 1)
        assert len({drawn(1.5, seed) for seed in range(4)}) > 1
        assert drawn(0.0, 1) == drawn(0.0, 2)

    def test_a_caller_that_stops_early_leaves_nothing_behind(self, engine: Engine) -> None:
        generations = engine.generate(mixed())
        next(iter(generations))
        generations.close()  # type: ignore[attr-defined]
        assert len(by_request(engine.generate(mixed()))) == len(mixed())

    def test_nothing_asked_is_nothing_answered(self, engine: Engine) -> None:
        assert list(engine.generate([])) == list(engine.time([])) == list(engine.likelihoods([])) == []

    # Times

    def test_times_come_in_order_with_the_first_token_before_the_last(self, engine: Engine) -> None:
        requests = mixed(count=2)
        timed = list(engine.time(requests))
        assert [one.generation.id for one in timed] == [request.id for request in requests]
        for one in timed:
            assert one.first_token_s is not None
            assert 0 < one.first_token_s < one.seconds < 60

    # Readings

    def test_fixed_answers_are_read_as_in_full_precision(self, engine: Engine, reference: Reference) -> None:
        found = list(engine.likelihoods(readings()))
        assert [(one.id, one.adapter) for one in found] == [
            (one.id, one.adapter) for one in reference.readings
        ]
        for one, expected in zip(found, reference.readings, strict=True):
            assert one.logprobs == pytest.approx(expected.logprobs, abs=self.tolerance)
            assert len(one.top) == len(one.logprobs) == len(expected.logprobs)
            for top, wanted in zip(one.top, expected.top, strict=True):
                assert top == likeliest(top, 20)
                assert len(top) == 20
                known, near = dict(wanted), dict(top)
                assert len(known.keys() & near.keys()) >= 18  # the last of twenty may change places
                for token in [token for token, _ in wanted[:5]]:
                    assert near[token] == pytest.approx(known[token], abs=self.tolerance * 10)

    def test_adapters_read_otherwise_than_their_base(self, engine: Engine) -> None:
        base = reading(engine, None)
        assert reading(engine, None) == base
        for adapter in ("1.1.0", "1.2.0"):
            other = reading(engine, adapter)
            assert max(abs(a - b) for a, b in zip(base, other, strict=True)) > 1

    def test_an_adapter_without_effect_reads_exactly_as_its_base(self, engine: Engine) -> None:
        assert reading(engine, "untrained") == reading(engine, None)

    # Refusals

    def test_an_adapter_that_was_not_loaded_is_never_answered_from_the_base(self, engine: Engine) -> None:
        for name in ("9.9.9", ""):
            with pytest.raises(Unreadable, match="was not loaded"):
                list(engine.generate([ask(None), ask(name)]))
            with pytest.raises(Unreadable, match="was not loaded"):
                list(engine.time([ask(name)]))
            with pytest.raises(Unreadable, match="was not loaded"):
                list(engine.likelihoods([read(name)]))

    def test_a_text_that_is_too_long_is_an_error_that_names_the_request(self, engine: Engine) -> None:
        with pytest.raises(Unreadable, match="request long: "):
            list(engine.generate([ask(None, "qzj" * 600, id_="long")]))
        with pytest.raises(Unreadable, match="request long: "):
            list(engine.time([ask(None, "qzj" * 600, id_="long")]))
        with pytest.raises(Unreadable, match="request r: "):
            list(engine.likelihoods([read(None, "qzj" * 600)]))

    def test_a_refused_load_changes_nothing(self, engine: Engine, adapters: Adapters) -> None:
        before = [reading(engine, side) for side in SIDES]
        for _ in range(2):
            with pytest.raises(LoadRefused, match=r"does not yet support DoRA") as caught:
                engine.load(adapters.of("dora"))
            assert "dora" in caught.value.message
        with pytest.raises(Unreadable, match="was not loaded"):
            list(engine.generate([ask("dora")]))
        assert [reading(engine, side) for side in SIDES] == before

    def test_an_adapter_without_files_is_unreadable(self, engine: Engine, adapters: Adapters) -> None:
        with pytest.raises(Unreadable, match="empty"):
            engine.load(adapters.of("empty"))

    def test_a_name_cannot_move_to_another_folder(self, engine: Engine, adapters: Adapters) -> None:
        engine.load(adapters.of("1.1.0"))
        with pytest.raises(LoadRefused, match="taken by another folder"):
            engine.load({"1.1.0": adapters["1.2.0"]})

    def test_an_adapter_can_come_later(self, engine: Engine, adapters: Adapters) -> None:
        before = [reading(engine, side) for side in SIDES]
        engine.load(adapters.of("1.4.0"))
        assert reading(engine, "1.4.0") not in before
        assert [reading(engine, side) for side in SIDES] == before

    def test_keys_that_fit_nowhere_are_refused_or_leave_exactly_the_base(
        self, engine: Engine, adapters: Adapters
    ) -> None:
        if self.takes_misplaced:
            engine.load(adapters.of("misplaced"))
            assert reading(engine, "misplaced") == reading(engine, None)
        else:
            with pytest.raises(LoadRefused, match="unsupported LoRA weight"):
                engine.load(adapters.of("misplaced"))

    # Last, because values that are not finite can spoil what the engine computes afterwards

    def test_zz_values_that_are_not_finite_are_told_and_stop_nothing(
        self, engine: Engine, adapters: Adapters
    ) -> None:
        engine.load(adapters.of("nan"))
        answers = by_request(engine.generate([ask("nan", id_="bad", most=5), ask("nan", id_="too", most=5)]))
        assert len(answers) == 2
        assert all(math.isnan(generation.logprob_sum) for generation in answers.values())
        (timed,) = engine.time([ask("nan", most=5)])
        assert math.isnan(timed.generation.logprob_sum)
        assert not any(math.isfinite(value) for value in reading(engine, "nan"))

    def test_zzz_a_closed_engine_answers_nothing_and_closes_again(self, engine: Engine) -> None:
        engine.close()
        engine.close()
        with pytest.raises((Unreadable, Usage)):
            list(engine.generate([ask("1.1.0")]))
