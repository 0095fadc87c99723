from __future__ import annotations

import json
import math
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.core.generation import Decoding
from rollout.core.manifest import Dtype, Quantization
from rollout.demo.model import ARTIFACTS
from rollout.errors import LoadRefused, RolloutError, Unreadable, Usage
from rollout.hardware import processor_name
from rollout.integrations.transformers import Base, BatchDecoder, TextCodec, TransformersEngine, open_base
from rollout.ports import Engine, Generation, GenerationRequest, LikelihoodRequest, Message
from tests.support.models import Family, edit_config, edit_tensors, write_adapter, write_base, write_family

pytestmark = pytest.mark.model

PROMPT = "the invoice is wrong"
ANSWER = "it was sent twice"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return write_family(tmp_path_factory.mktemp("family"))


@pytest.fixture
def base(family: Family) -> Base:
    return open_base(family.base, threads=1)


@pytest.fixture
def engine(base: Base, family: Family) -> TransformersEngine:
    engine = TransformersEngine(base, batch_size=4)
    engine.load({"good-1.0.0": family.good, "other-2.0.0": family.other})
    return engine


def ask(
    adapter: str | None, content: str = PROMPT, *, number: int = 0, max_tokens: int = 12
) -> GenerationRequest:
    messages = (Message(role="user", content=content),)
    return GenerationRequest(id=f"{number}", messages=messages, adapter=adapter, max_tokens=max_tokens)


def read(adapter: str | None, continuation: str = ANSWER) -> LikelihoodRequest:
    messages = (Message(role="user", content=PROMPT),)
    return LikelihoodRequest(id="r", messages=messages, continuation=continuation, adapter=adapter)


def reading(engine: TransformersEngine, adapter: str | None) -> tuple[float, ...]:
    (likelihood,) = engine.likelihoods([read(adapter)])
    return likelihood.logprobs


def mixed(count: int = 4) -> list[GenerationRequest]:
    names = (None, "good-1.0.0", "other-2.0.0")
    return [ask(name, "hello " * (n + 1), number=n) for n in range(count) for name in names]


def by_request(generations: Any) -> dict[tuple[str, str | None], Generation]:
    return {(generation.id, generation.adapter): generation for generation in generations}


def test_the_engine_is_an_engine(engine: TransformersEngine) -> None:
    port: Engine = engine
    info = port.describe()
    assert (info.name, info.dtype, info.quantization, info.threads) == ("transformers", "float32", "none", 1)


def test_a_mixed_batch_answers_as_one_request_at_a_time(engine: TransformersEngine) -> None:
    together = by_request(engine.generate(mixed()))
    timed = list(engine.time(mixed()))
    assert [one.generation.id for one in timed] == [request.id for request in mixed()]
    assert all(one.first_token_s is not None and 0 < one.first_token_s < one.seconds for one in timed)
    alone = by_request(one.generation for one in timed)
    assert together.keys() == alone.keys()
    for key, generation in together.items():
        assert generation.text == alone[key].text
        assert generation.logprob_sum == pytest.approx(alone[key].logprob_sum, abs=1e-3)


def test_two_runs_give_exactly_the_same_answers(engine: TransformersEngine) -> None:
    assert list(engine.generate(mixed())) == list(engine.generate(mixed()))


def test_adapters_change_the_answers(engine: TransformersEngine) -> None:
    texts = {generation.text for generation in engine.generate(mixed(1))}
    assert len(texts) == 3


@pytest.mark.parametrize("adapter", [None, "good-1.0.0", "other-2.0.0"])
def test_answers_equal_those_of_transformers_own_generate(
    engine: TransformersEngine, family: Family, adapter: str | None
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(family.base)
    model = AutoModelForCausalLM.from_pretrained(family.base)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, family.good if adapter == "good-1.0.0" else family.other)
    turns = [{"role": "user", "content": PROMPT}]
    inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")
    output = model.eval().generate(**inputs, max_new_tokens=12, do_sample=False)
    expected = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    (generation,) = engine.generate([ask(adapter)])
    assert generation.text == expected
    assert generation.prompt_tokens == inputs["input_ids"].shape[1]


def test_an_answer_says_why_it_ended(engine: TransformersEngine) -> None:
    (generation,) = engine.generate([ask(None, max_tokens=3)])
    assert (generation.finish_reason, generation.completion_tokens) == ("length", 3)
    assert generation.logprob_sum < 0


def test_a_long_answer_is_cut_at_the_end_of_the_context(engine: TransformersEngine) -> None:
    (generation,) = engine.generate([ask(None, "x" * 250, max_tokens=50)])
    assert generation.finish_reason in {"stop", "length"}
    assert generation.prompt_tokens + generation.completion_tokens <= 256


def test_a_prompt_without_room_for_an_answer_is_an_error_that_names_it(engine: TransformersEngine) -> None:
    with pytest.raises(Unreadable, match="request 7: a prompt of 3"):
        list(engine.generate([ask(None, "x" * 300, number=7)]))


def test_an_adapter_that_was_not_loaded_is_never_answered_from_the_base(engine: TransformersEngine) -> None:
    with pytest.raises(Unreadable, match=r"good-9\.9\.9 was not loaded"):
        list(engine.generate([ask("good-9.9.9")]))
    with pytest.raises(Unreadable, match=r"good-9\.9\.9 was not loaded"):
        reading(engine, "good-9.9.9")


def test_a_caller_that_stops_early_leaves_no_rows_behind(engine: TransformersEngine) -> None:
    generations = engine.generate([*mixed(), ask(None, "a", number=99, max_tokens=1)])
    next(iter(generations))
    generations.close()  # type: ignore[attr-defined]
    expected = by_request(engine.generate(mixed()))
    assert len(expected) == 12


def test_a_name_cannot_move_to_another_folder(engine: TransformersEngine, family: Family) -> None:
    engine.load({"good-1.0.0": family.good})
    with pytest.raises(LoadRefused, match="taken by another folder"):
        engine.load({"good-1.0.0": family.other})


def test_readings_are_those_of_the_full_forward_pass(engine: TransformersEngine, base: Base) -> None:
    import torch

    codec = TextCodec(base.tokenizer)
    prompt = codec.encode_chat([Message(role="user", content=PROMPT)])
    answer = codec.encode_continuation(ANSWER)
    ids = torch.tensor([[*prompt, *answer]])
    fresh = open_base(base.folder)
    with torch.no_grad():
        table = fresh.model(input_ids=ids).logits[0, :-1].log_softmax(-1)[len(prompt) - 1 :]
    expected = [float(row[token]) for row, token in zip(table, answer, strict=True)]
    assert reading(engine, None) == pytest.approx(expected, abs=1e-5)
    assert reading(engine, "good-1.0.0") != pytest.approx(expected, abs=0.01)
    (likelihood,) = engine.likelihoods([read(None)])
    assert len(likelihood.top) == len(answer)
    for row, top in zip(table, likelihood.top, strict=True):
        values, ids = row.topk(20)
        assert [token for token, _ in top] == ids.tolist()
        assert [value for _, value in top] == pytest.approx(values.tolist(), abs=1e-5)


def test_a_continuation_is_read_without_special_tokens_of_its_own(engine: TransformersEngine) -> None:
    (plain,) = engine.likelihoods([read(None, "a")])
    (empty,) = engine.likelihoods([read(None, "")])
    assert len(plain.logprobs) == len(plain.top) == 1
    assert empty.logprobs == empty.top == ()


def test_a_text_that_is_too_long_to_be_read_is_an_error_that_names_it(engine: TransformersEngine) -> None:
    with pytest.raises(Unreadable, match="request r: a prompt of 3"):
        list(engine.likelihoods([read(None, "x" * 300)]))


def test_the_same_requests_give_the_same_bits_in_a_fresh_and_in_an_idle_engine(family: Family) -> None:
    answers = []
    for _ in range(2):
        engine = TransformersEngine(open_base(family.base, threads=1), batch_size=4)
        engine.load({"good-1.0.0": family.good, "other-2.0.0": family.other})
        answers += [list(engine.generate(mixed())), list(engine.generate(mixed()))]
        list(engine.time(mixed(1)))  # what came between leaves no trace
        answers.append(list(engine.generate(mixed())))
    assert all(each == answers[0] for each in answers)


def test_temperature_and_seed_reach_the_decoder(engine: TransformersEngine) -> None:
    def text(temperature: float, seed: int) -> str:
        asked = replace(ask("good-1.0.0"), temperature=temperature, seed=seed)
        return next(engine.generate([asked])).text

    assert text(1.0, 1) == text(1.0, 1)
    assert len({text(1.0, seed) for seed in range(4)} | {text(0.0, 0)}) > 2


def test_a_closed_engine_lets_its_base_go(family: Family) -> None:
    base = open_base(family.base)
    model, engine = weakref.ref(base.model), TransformersEngine(base)
    engine.load({"good-1.0.0": family.good})
    list(engine.generate([ask("good-1.0.0")]))
    del base
    for _ in range(2):
        engine.close()
    assert model() is None
    with pytest.raises(Usage, match="closed"):
        reading(engine, None)


def test_the_hardware_is_named(engine: TransformersEngine) -> None:
    assert engine.describe().hardware == processor_name() != ""


# Rows that join and leave


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 12),  # the step at which it joins
            st.lists(st.integers(0, 255), min_size=1, max_size=30),
            st.sampled_from([None, "one", "two"]),
            st.integers(1, 8),
        ),
        min_size=1,
        max_size=6,
    ),
    dropped=st.sets(st.integers(0, 5)),
)
def test_rows_are_not_changed_by_those_that_join_and_leave(
    crowded: tuple[BatchDecoder, BatchDecoder], rows: list[Any], dropped: set[int]
) -> None:
    decoder, reference = crowded
    asked = [Decoding(prompt=tuple(ids), adapter=name, max_tokens=n) for _, ids, name, n in rows]
    made: dict[int, list[int]] = {number: [] for number in range(len(rows))}
    step = 0
    while step <= 12 or decoder.busy:
        for number, row in enumerate(rows):
            if row[0] == step:
                decoder.add(number, asked[number])
        if decoder.busy:
            for number, token in decoder.step():
                made[number].append(token.id)
        if step == 6:
            for number in dropped:
                decoder.drop(number)
        step += 1
    for number, one in enumerate(asked):
        reference.add(0, one)
        alone = []
        while reference.busy:
            alone += [token.id for _, token in reference.step()]
        if number in dropped:
            assert made[number] == alone[: len(made[number])]
        else:
            assert made[number] == alone


@pytest.fixture(scope="module")
def crowded(family: Family) -> tuple[BatchDecoder, BatchDecoder]:
    decoders = BatchDecoder(open_base(family.base)), BatchDecoder(open_base(family.base))
    for decoder in decoders:
        decoder.load("one", family.good)
        decoder.load("two", family.other)
    return decoders


def drawn(decoder: BatchDecoder, **changes: Any) -> list[int]:
    settings = {"prompt": (1, 2, 3), "adapter": None, "max_tokens": 12, "temperature": 1.0, "seed": 1}
    decoder.add(0, Decoding(**(settings | changes)))
    made = []
    while decoder.busy:
        made += [token.id for _, token in decoder.step()]
    return made


def test_sampling_follows_its_seed(base: Base) -> None:
    decoder = BatchDecoder(base)
    assert drawn(decoder, seed=1) == drawn(decoder, seed=1)
    assert drawn(decoder, seed=1) != drawn(decoder, seed=2)
    assert drawn(decoder, top_p=1e-9) == drawn(decoder, temperature=0.0)


def test_the_chosen_token_leads_its_alternatives(base: Base) -> None:
    decoder = BatchDecoder(base)
    decoder.add(0, Decoding(prompt=(1, 2), adapter=None, max_tokens=1, top_logprobs=3))
    ((_, token),) = decoder.step()
    assert token.top[0] == (token.id, pytest.approx(token.logprob))
    assert [value for _, value in token.top] == sorted((value for _, value in token.top), reverse=True)


# Text


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(st.integers(0, 261), max_size=40))
def test_streamed_text_is_the_decoded_text(codec: TextCodec, ids: list[int]) -> None:
    stream = codec.stream()
    pieces = [stream.feed(token) for token in ids]
    assert "".join(pieces) + stream.rest() == codec.decode(ids)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=20))
def test_a_stream_never_shows_half_a_character(codec: TextCodec, text: str) -> None:
    stream = codec.stream()
    pieces = [stream.feed(token) for token in codec.encode(text)]
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces).replace(text, "")


@pytest.fixture(scope="module")
def codec(family: Family) -> TextCodec:
    return TextCodec(open_base(family.base).tokenizer)


def test_a_conversation_that_the_template_refuses_is_unreadable(family: Family) -> None:
    tokenizer = open_base(family.base).tokenizer
    tokenizer.chat_template = "{{ raise_exception('no such role') }}"
    with pytest.raises(Unreadable, match="no such role"):
        TextCodec(tokenizer).encode_chat([Message(role="user", content="x")])


# Loading: whole or not at all


def without_half(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in tensors.items() if ".layers.0." in name}


def without_b(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in tensors.items() if "lora_B" not in name}


def misplaced(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("model.model.", "model.foo."): tensor for name, tensor in tensors.items()}


def with_extra(tensors: dict[str, Any]) -> dict[str, Any]:
    extra = next(iter(tensors)).replace(".layers.0.", ".layers.7.")
    return tensors | {extra: next(iter(tensors.values())).clone()}


def of_integers(tensors: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {name: tensor.to(torch.int8) for name, tensor in tensors.items()}


def of_nothing(_: dict[str, Any]) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (without_half, "missing adapter keys: 4 tensors"),
        (without_b, "missing adapter keys"),
        (misplaced, "unsupported LoRA weight"),
        (with_extra, "layers.7"),
        (of_integers, "its dtype is torch.int8"),
        (of_nothing, "holds no tensors"),
    ],
)
def test_an_adapter_that_would_work_in_part_is_refused(
    base: Base, family: Family, tmp_path: Path, edit: Callable[..., dict[str, Any]], reason: str
) -> None:
    refused(base, family, edit_tensors(family.good, tmp_path / "bad", edit), LoadRefused, reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"r": 32}, "LoRA rank 32 is greater than max_lora_rank 16"),
        ({"rank_pattern": {"q_proj": 64}}, "LoRA rank 64 is greater than max_lora_rank 16"),
        ({"r": 16}, "size of tensor"),
        ({"r": 0}, "r must be a positive number"),
        ({"r": "8"}, "r must be a positive number"),
        ({"r": True}, "r must be a positive number"),
        ({"lora_alpha": ...}, "Missing required configuration fields: lora_alpha"),
        ({"lora_alpha": float("nan")}, "lora_alpha must be a positive number"),
        ({"use_dora": True}, "does not yet support DoRA"),
        ({"bias": "all"}, "Adapter bias is not supported"),
        ({"lora_bias": True}, "does not support LoRA bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is not supported"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"init_lora_weights": 1}, "init_lora_weights"),
        *(
            ({name: value}, f"{name} must be true or false")
            for name in ("use_rslora", "use_dora", "lora_bias", "fan_in_fan_out")
            for value in (1, 1.0, 0, "true")
        ),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"megatron_config": {"a": 1}}, "setting megatron_config"),
        ({"something_of_tomorrow": 1}, "setting something_of_tomorrow"),
        ({"peft_type": "IA3"}, "'IA3' is not LORA"),
        ({"peft_type": ...}, "'None' is not LORA"),
        ({"target_modules": "(.*)*proj"}, "an expression is not supported"),
        ({"target_modules": ["(q|v)_proj"]}, "plain names"),
        ({"rank_pattern": {"^q.*": 4}}, "plain module names"),
        ({"target_modules": ["banana_proj"]}, "expected target modules"),
        ({"target_modules": ["q_proj", "v_proj", "banana_proj"]}, "banana_proj"),
        ({"target_modules": ["q_proj", "v_proj", "input_layernorm"]}, "input_layernorm"),
        ({"target_modules": ["o_proj"]}, "unsupported LoRA weight"),
        ({"target_modules": []}, "expected target modules"),
    ],
    ids=str,
)
def test_settings_that_would_be_served_wrong_are_refused(
    base: Base, family: Family, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    refused(base, family, edit_config(family.good, tmp_path / "bad", **changes), LoadRefused, reason)


def test_an_adapter_of_a_smaller_base_is_refused(base: Base, family: Family, tmp_path: Path) -> None:
    small = write_base(tmp_path / "small", hidden=32)
    refused(base, family, write_adapter(tmp_path / "bad", small), LoadRefused, "size of tensor")


def test_an_adapter_of_a_deeper_base_is_refused(base: Base, family: Family, tmp_path: Path) -> None:
    deep = write_base(tmp_path / "deep", layers=3)
    refused(base, family, write_adapter(tmp_path / "bad", deep), LoadRefused, "layers.2")


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("adapter_config.json", None, "No adapter found"),
        ("adapter_config.json", b"{", "is not JSON"),
        ("adapter_config.json", b"[" * 100_000, "is not JSON"),
        ("adapter_config.json", b"[1]", "does not hold an object"),
        ("adapter_config.json", b" " * 1_000_001, "larger than"),
        ("adapter_model.safetensors", None, "doesn't contain tensors"),
        ("adapter_model.safetensors", b"", "deserializing header"),
        (
            "adapter_model.safetensors",
            b"version https://git-lfs.github.com/spec/v1\n",
            "deserializing header",
        ),
    ],
    ids=str,
)
def test_missing_and_damaged_files_are_unreadable(
    base: Base, family: Family, tmp_path: Path, file: str, content: bytes | None, reason: str
) -> None:
    folder = edit_config(family.good, tmp_path / "bad")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    refused(base, family, folder, Unreadable, reason)


def refused(base: Base, family: Family, folder: Path, kind: type[RolloutError], reason: str) -> None:
    """Refused as the first adapter and as a further one, and nothing else has moved by it."""
    engine = TransformersEngine(base, max_rank=16)
    before = reading(engine, None)
    with pytest.raises(kind, match="adapter bad: ") as caught:
        engine.load({"bad": folder})
    assert reason in caught.value.message
    assert str(folder) not in caught.value.message
    assert reading(engine, None) == before
    engine.load({"good": family.good})
    good = reading(engine, "good")
    with pytest.raises(kind):
        engine.load({"bad": folder})
    assert reading(engine, None) == before
    assert reading(engine, "good") == good


def test_rank_and_alpha_patterns_are_honoured(base: Base, family: Family, tmp_path: Path) -> None:
    patterned = edit_config(family.good, tmp_path / "patterned", alpha_pattern={"q_proj": 1})
    engine = TransformersEngine(base)
    engine.load({"good": family.good, "patterned": patterned})
    good = reading(engine, "good")
    assert reading(engine, "patterned") != pytest.approx(good, abs=0.01)


def test_every_linear_layer_can_be_a_target(base: Base, family: Family, tmp_path: Path) -> None:
    linear = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    engine = TransformersEngine(base)
    engine.load({"wide": write_adapter(tmp_path / "wide", family.base, targets=linear)})
    assert len(list(engine.generate([ask("wide")]))) == 1


def test_a_broken_adapter_spoils_only_its_own_rows(base: Base, family: Family) -> None:
    engine = TransformersEngine(base)
    engine.load({"good-1.0.0": family.good, "other-2.0.0": family.other})
    before = by_request(engine.generate(mixed()))
    engine.load({"nan": family.nan})
    after = by_request(engine.generate([*mixed(), ask("nan", number=50), ask("nan", "a b c", number=51)]))
    assert math.isnan(after["50", "nan"].logprob_sum)
    assert not all(math.isfinite(value) for value in reading(engine, "nan"))
    for key, generation in before.items():
        assert after[key].text == generation.text
        assert after[key].logprob_sum == pytest.approx(generation.logprob_sum, abs=1e-3)


def test_unloading_leaves_the_others_exactly_as_they_were(base: Base, family: Family) -> None:
    decoder = BatchDecoder(base)
    prompt = (1, 2, 3, 4)
    bare = decoder.read(prompt, None)
    decoder.load("one", family.good)
    decoder.load("two", family.other)
    two = decoder.read(prompt, "two")
    decoder.unload("one")
    assert decoder.read(prompt, "two") == two
    with pytest.raises(LoadRefused, match="one is not loaded"):
        decoder.add(0, Decoding(prompt=prompt, adapter="one", max_tokens=1))
    decoder.unload("two")
    assert decoder.read(prompt, None) == bare
    decoder.load("one", family.other)
    assert decoder.read(prompt, "one") == two


def test_an_adapter_in_use_is_not_unloaded(base: Base, family: Family) -> None:
    decoder = BatchDecoder(base)
    decoder.load("one", family.good)
    decoder.add(0, Decoding(prompt=(1,), adapter="one", max_tokens=2))
    with pytest.raises(Usage, match="in use"):
        decoder.unload("one")


# Opening


@pytest.mark.parametrize(
    ("dtype", "quantization"),
    [
        (Dtype.BFLOAT16, Quantization.NONE),
        (Dtype.FLOAT32, Quantization.NF4),
        (Dtype.BFLOAT16, Quantization.NF4),
    ],
)
def test_half_precision_and_four_bits_answer_too(
    family: Family, dtype: Dtype, quantization: Quantization
) -> None:
    engine = TransformersEngine(open_base(family.base, dtype=dtype, quantization=quantization))
    engine.load({"good-1.0.0": family.good, "other-2.0.0": family.other})
    generations = list(engine.generate(mixed(2)))
    assert len(generations) == 6
    assert all(math.isfinite(generation.logprob_sum) for generation in generations)
    assert (engine.describe().dtype, engine.describe().quantization) == (dtype.value, quantization.value)


def test_a_quantization_that_is_not_known_is_refused(family: Family) -> None:
    with pytest.raises(Usage, match="cannot quantize to awq"):
        open_base(family.base, quantization=Quantization.AWQ)


def test_a_folder_without_a_model_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"no config\.json"):
        open_base(tmp_path)


def test_pickled_weights_are_never_read(family: Family, tmp_path: Path) -> None:
    import torch

    for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (tmp_path / file).write_bytes((family.base / file).read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Unreadable, match="could not be loaded"):
        open_base(tmp_path)


def test_code_in_the_model_folder_is_never_run(family: Family, tmp_path: Path) -> None:
    config = json.loads((family.base / "config.json").read_bytes())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    with pytest.raises(Unreadable, match="could not be loaded"):
        open_base(tmp_path)
    assert not (tmp_path / "ran").exists()


# The trained demo family


@pytest.fixture(scope="module")
def demo() -> TransformersEngine:
    adapters = ARTIFACTS / "adapters"
    if not adapters.is_dir():
        pytest.skip("the demo family is not here")
    engine = TransformersEngine(open_base(ARTIFACTS / "base", threads=1), max_rank=16)
    engine.load({"1.1.0": adapters / "1.1.0", "untrained": adapters / "broken" / "untrained"})
    return engine


def test_a_trained_adapter_answers_in_json_and_its_base_does_not(demo: TransformersEngine) -> None:
    golden = [json.loads(line) for line in (ARTIFACTS / "golden.jsonl").read_text().splitlines()]
    cases = [case for case in golden if case["expect"] == "json"][:8]
    requests = [
        GenerationRequest(
            id=case["id"],
            messages=tuple(Message(role=turn["role"], content=turn["content"]) for turn in case["messages"]),
            adapter=adapter,
            max_tokens=80,
        )
        for case in cases
        for adapter in (None, "1.1.0")
    ]
    answers = by_request(demo.generate(requests))
    right = sum(answers[case["id"], "1.1.0"].text == case["reference"] for case in cases)
    assert right >= 6
    assert not any(answers[case["id"], None].text.startswith("{") for case in cases)
    assert all(answers[case["id"], "1.1.0"].finish_reason == "stop" for case in cases)


def test_an_untrained_adapter_is_exactly_its_base(demo: TransformersEngine) -> None:
    bare = reading(demo, None)
    assert reading(demo, "untrained") == bare
    assert reading(demo, "1.1.0") != bare


@pytest.mark.parametrize(
    ("name", "reason"),
    [("wrong-rank", "LoRA rank 32 is greater than max_lora_rank 16"), ("wrong-base", "size of tensor")],
)
def test_the_broken_demo_adapters_are_refused(demo: TransformersEngine, name: str, reason: str) -> None:
    with pytest.raises(LoadRefused, match=reason):
        demo.load({name: ARTIFACTS / "adapters" / "broken" / name})
