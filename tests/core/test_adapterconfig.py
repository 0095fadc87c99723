from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.adapterconfig import AdapterConfig, read_config
from rollout.core.basefit import missing_modules
from rollout.core.pattern import MAX_PATTERN, MAX_PATTERNS, Pattern, PatternTable
from rollout.core.scaling import Scaling
from tests.support.peftconfigs import OTHER_METHODS, VERSIONS, lora_config

Q, V = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"
NEWEST = VERSIONS[-1]


def read(**changes: Any) -> AdapterConfig:
    return read_config(lora_config(NEWEST, **changes))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plain_lora_of_every_release_reads_the_same(version: str) -> None:
    config = read_config(lora_config(version))
    assert (config.peft_type, config.r, config.alpha) == ("LORA", 8, 16.0)
    assert config.target_modules == ("q_proj", "v_proj")
    assert config.base_model == "huggyllama/llama-7b"
    assert config.unsupported == ()


def test_no_more_is_asked_of_a_config_than_servers_ask() -> None:
    least = {"peft_type": "LORA", "r": 4, "lora_alpha": 8.5, "target_modules": ["q_proj"]}
    config = read_config(least)
    assert (config.alpha, config.peft_version, config.task_type, config.revision) == (8.5, None, None, None)
    assert config.unsupported == ()


@pytest.mark.parametrize("method", OTHER_METHODS)
def test_another_method_is_named_and_left_to_a_rule(method: str) -> None:
    config = read_config(OTHER_METHODS[method])
    assert config.peft_type == method
    assert (config.r, config.alpha, config.target_modules, config.unsupported) == (0, 0.0, (), ())
    assert config.base_model == "huggyllama/llama-7b"


UNKNOWN_INIT = "init_lora_weights: an initialisation that is not known"
CHANGED = "init_lora_weights: {} changes the base, and servers have the unchanged one"
CONVERTING = "path_initial_model_for_weight_conversion"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"use_dora": True},
            "use_dora: DoRA also scales the weights by magnitudes that servers do not apply",
        ),
        ({"bias": "all"}, "bias"),
        ({"bias": "lora_only"}, "bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"enable_lora": [True, False, True]}, "enable_lora"),
        ({"use_qalora": True}, "use_qalora"),
        ({"use_bdlora": {"nblocks": 2}}, "use_bdlora"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
        ({"arrow_config": {"top_k": 2}}, "arrow_config"),
        ({"velora_config": {"num_groups": 2}}, "velora_config"),
        ({"monteclora_config": {"num_samples": 2}}, "monteclora_config"),
        ({"kasa_config": {"beta": 1e-4}}, "kasa_config"),
        ({"ensure_weight_tying": True}, "ensure_weight_tying"),
        ({"target_parameters": ["experts.gate_up_proj"], "target_modules": []}, "target_parameters"),
        ({"target_modules": None}, "target_modules"),
        ({"target_modules": []}, "target_modules"),
        ({"a_field_of_tomorrow": {"strength": 2}}, "a_field_of_tomorrow"),
        ({"bell\x07": True}, "'bell\\x07'"),
        *(
            ({"init_lora_weights": init}, UNKNOWN_INIT)
            for init in ("unheard", "true", "none", "", 1, 1.0, [])
        ),
        *(
            (
                {"init_lora_weights": init},
                f"{CHANGED.format(init.lower())}; convert on saving with {CONVERTING}",
            )
            for init in ("pissa", "pissa_niter_16", "olora", "corda", "PiSSA")
        ),
        *(
            ({"init_lora_weights": init}, f"{CHANGED.format(init)}; train with another initialisation")
            for init in ("loftq", "lora_ga")
        ),
        ({"bias": None}, "bias"),
        ({"bias": "None"}, "bias"),
        ({"bias": False}, "bias"),
        ({"a_field_of_tomorrow": 0}, "a_field_of_tomorrow"),
        ({"megatron_config": {}}, "megatron_config"),
        ({"megatron_config": {"hidden_size": 8}}, "megatron_config"),
        ({"megatron_core": "os"}, "megatron_core"),
        ({"megatron_core": "megatron.core.evil"}, "megatron_core"),
        ({"megatron_core": ""}, "megatron_core"),
        *(
            ({"auto_mapping": mapping}, "auto_mapping")
            for mapping in (
                {"base_model_class": "system", "parent_library": "os"},
                {"base_model_class": "Evil", "parent_library": "transformers_modules.evil.modeling_evil"},
                {"base_model_class": "Evil", "parent_library": "transformers.models.llama.modeling_llama\n"},
                {"base_model_class": "Evil", "parent_library": ["transformers"]},
                {"parent_library": "transformers.models.llama.modeling_llama", "code": "x"},
                {"unsloth_fixed": "yes"},
                [],
                "os",
            )
        ),
    ],
)
def test_what_servers_refuse_or_drop_is_unsupported(change: dict[str, Any], named: str) -> None:
    assert read(**change).unsupported == (named,)


@pytest.mark.parametrize(
    "change",
    [{"init_lora_weights": init} for init in (True, False, None, "gaussian", "eva", "orthogonal", "Gaussian")]
    + [
        {"eva_config": {"rho": 2.0}, "init_lora_weights": "eva", "rank_pattern": {Q: 3}},
        {"loftq_config": {"loftq_bits": 4}},
        {"auto_mapping": {"base_model_class": "LlamaForCausalLM", "unsloth_fixed": True}},
        {
            "auto_mapping": {
                "base_model_class": "LlamaForCausalLM",
                "parent_library": "transformers.models.llama.modeling_llama",
            }
        },
        {"megatron_core": None},
        {"use_dora": None, "lora_bias": None, "fan_in_fan_out": None},
        {"runtime_config": {"ephemeral_gpu_offload": False}},
        {"lora_dtype": None, "lorap_lr_ratio": None, "lorap_emb_lr": 1e-06},
        {"exclude_modules": ["lm_head"]},
        {"layers_to_transform": 3},
        {"layers_to_transform": [0, 1], "layers_pattern": "layers"},
        {"a_field_of_tomorrow": False},
        {"peft_version": "0.18.0.dev0@abc"},
    ],
)
def test_what_a_server_need_not_heed_is_not_held_against_an_adapter(change: dict[str, Any]) -> None:
    assert read(**change).unsupported == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"peft_type": None}, "peft_type is missing"),
        ({"peft_type": ["LORA"]}, "peft_type must be a text"),
        ({"r": 0}, "r must be a whole number"),
        ({"r": "8"}, "r must be a whole number"),
        ({"r": True}, "r must be a whole number"),
        ({"r": 8.0}, "r must be a whole number"),
        ({"r": 10**9}, "r must be a whole number"),
        ({"lora_alpha": 0}, "with 0 the adapter has no effect"),
        ({"lora_alpha": None}, "lora_alpha must be a number"),
        ({"lora_alpha": float("nan")}, "lora_alpha must be a number"),
        ({"lora_alpha": True}, "lora_alpha must be a number"),
        *(
            ({name: value}, f"{name} must be true or false")
            for name in ("use_rslora", "use_dora", "lora_bias", "fan_in_fan_out", "inference_mode")
            for value in (0, 1, 0.0, 1.0, "yes", "", "false", [])
        ),
        ({"target_modules": [1]}, "target_modules must be a list"),
        ({"target_modules": {"q_proj": 1}}, "target_modules must be a list"),
        ({"target_modules": ["q\x1b[31m"]}, "target_modules must be a list"),
        ({"rank_pattern": {"q_proj": 0}}, "rank_pattern of q_proj must be a whole number"),
        ({"rank_pattern": ["q_proj"]}, "rank_pattern must map"),
        ({"alpha_pattern": {"q_proj": "8"}}, "alpha_pattern of q_proj must be a number"),
        ({"layers_to_transform": ["0"]}, "layers_to_transform must hold"),
        ({"revision": 7}, "revision must be a text"),
        ({"base_model_name_or_path": "x" * 2000}, "base_model_name_or_path must be a text"),
    ],
)
def test_a_damaged_field_is_a_reason(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read(**change)


def test_all_reasons_against_a_config_come_at_once() -> None:
    with pytest.raises(ValueError, match=r"target_modules must be .*; r must be .*; lora_alpha must be "):
        read(r=0, lora_alpha=float("nan"), target_modules=7)


BASE = {
    f"model.layers.{layer}.{name}.weight": (8, 8)
    for layer in (0, 1, 11)
    for name in ("self_attn.q_proj", "self_attn.v_proj", "mlp.experts.3.up_proj")
} | {"model.embed_tokens.weight": (32, 8), "lm_head.weight": (32, 8), "model.norm.weight": (8,)}
LINEAR = {name.removesuffix(".weight") for name in BASE if ".layers." in name}


def missing(**changes: Any) -> set[str]:
    return set(missing_modules(read(**changes), (), BASE))


def layer(number: int) -> set[str]:
    return {name for name in LINEAR if name.startswith(f"model.layers.{number}.")}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"target_modules": ["q_proj"]}, {f"model.layers.{n}.self_attn.q_proj" for n in (0, 1, 11)}),
        ({"target_modules": [Q]}, {Q}),
        ({"target_modules": ["proj"]}, {"proj"}),
        ({"target_modules": "all-linear"}, LINEAR),
        ({"target_modules": "All-Linear"}, LINEAR),
        ({"target_modules": r".*\.layers\.(0|1)\..*_proj"}, layer(0) | layer(1)),
        ({"target_modules": r"model\.layers\.1.*"}, layer(1) | layer(11)),
        ({"target_modules": "q_proj"}, set()),
        ({"target_modules": ["q_proj"], "layers_to_transform": 11}, {"model.layers.11.self_attn.q_proj"}),
        (
            {"target_modules": ["up_proj"], "layers_to_transform": [3]},
            set(),  # the first number counts, not that of the expert
        ),
        ({"target_modules": ["lm_head"], "layers_to_transform": [0]}, {"lm_head"}),  # named in full
        (
            {"target_modules": ["up_proj"], "layers_to_transform": [3], "layers_pattern": ["experts"]},
            {name for name in LINEAR if "experts" in name},
        ),
        (
            {
                "target_modules": ["q_proj", "v_proj"],
                "exclude_modules": ["layers.0.self_attn.q_proj", "v_proj"],
            },
            {f"model.layers.{n}.self_attn.q_proj" for n in (1, 11)},
        ),
    ],
)
def test_targets_are_found_among_the_bases_modules_as_peft_finds_them(
    change: dict[str, Any], wanted: set[str]
) -> None:
    assert missing(**change) == wanted


def test_nothing_is_missing_from_an_adapter_of_another_method() -> None:
    assert missing_modules(read_config(OTHER_METHODS["IA3"]), (), BASE) == frozenset()


@pytest.mark.parametrize(
    "hostile",
    [
        r"(a+)+\1$",
        r"(?=x)q_proj",
        r"(?:(?:a{9}){9}){9}",
        r"a++q_proj",
        r"[[a]]",
        r"[a-z&&q]",
        r"\pL",
        r"\Zq",
        "a)|(b",
        "((",
        "[",
        "*",
        "(" * 400 + ")" * 400,
        "a" * (MAX_PATTERN - 1) + "*" * 2,
    ],
)
def test_a_pattern_that_readers_could_take_differently_is_not_followed(hostile: str) -> None:
    with pytest.raises(ValueError):
        Pattern(hostile)
    assert read(target_modules=hostile).unsupported == ("target_modules as a pattern",)
    if len(hostile) < MAX_PATTERN:
        assert read(rank_pattern={hostile: 4}).unsupported == ("rank_pattern as a pattern",)
    assert read(exclude_modules=".*q_proj").unsupported == ("exclude_modules as a pattern",)
    assert read(layers_to_transform=1, layers_pattern="(a+)+").unsupported == ("layers_pattern as a pattern",)


ATOMS = st.sampled_from(["q", "_proj", r"\.", ".", r"\d", r"\w", "[a-z]", r"[^\d_]", "layers", "0", r"\b"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "+?", "{1,}", "{0,}", "{0,1}"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=8,
)
NAMES = st.one_of(st.sampled_from(sorted(LINEAR)), st.text("qv_proj.01layers-", max_size=12))


@given(PATTERNS, NAMES)
def test_a_plain_pattern_covers_what_python_covers(pattern: str, name: str) -> None:
    assert Pattern(pattern).covers(name) == bool(re.fullmatch(pattern, name))
    as_ending = re.match(rf"(.*\.)?(?:{pattern})$", name)
    if "." not in pattern:  # a key of plain letters is a name, and its dots are dots
        assert (PatternTable({pattern: 3}).value_of(name) == 3) == bool(as_ending)


def test_patterns_of_trainers_are_plain() -> None:
    attention = "(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)"
    kinds = "(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    layers = rf"\bmodel\.layers\.[\d]{{1,}}\.{attention}\.(?:{kinds})"
    written = rf"(?:.*?(?:language|text).*?{attention}.*?{kinds}.*?)|(?:{layers})"
    assert Pattern(written).covers(Q)
    assert not Pattern(written).covers("model.vision_tower.blocks.0.mlp.fc1")


def test_the_first_key_that_covers_a_module_wins() -> None:
    table = PatternTable({".*v_proj": 1, "v_proj": 2, "self_attn.q_proj": 3, "q_proj": 4})
    assert (table.value_of(V), table.value_of(Q), table.value_of("q_proj")) == (1, 3, 4)
    assert table.value_of("model.layers.0.mlp.gate_proj") is None
    assert table.value_of("model.layers.0.self_attn.xq_proj") is None


def test_many_names_are_looked_up_and_many_patterns_are_refused() -> None:
    names = {f"model.layers.{number}.self_attn.q_proj": number + 1 for number in range(3000)}
    assert read(rank_pattern=names).unsupported == ()
    assert Scaling(read(rank_pattern=names)).rank_of("model.layers.2999.self_attn.q_proj") == 3000
    patterns = {f".*layers.{number}.*q_proj": 4 for number in range(MAX_PATTERNS + 1)}
    assert read(rank_pattern=patterns).unsupported == ("rank_pattern as a pattern",)


def test_scales_are_those_of_the_method() -> None:
    config = read(r=16, lora_alpha=32, rank_pattern={"v_proj": 4}, alpha_pattern={"self_attn.v_proj": 2})
    assert (Scaling(config).scale_of(Q), Scaling(config).scale_of(V)) == (2.0, 0.5)
    stable = read(r=16, lora_alpha=32, use_rslora=True, rank_pattern={"v_proj": 4})
    assert (Scaling(stable).scale_of(Q), Scaling(stable).scale_of(V)) == (8.0, 16.0)
    assert Scaling(read_config(OTHER_METHODS["IA3"])).scale_of(Q) == 0.0
