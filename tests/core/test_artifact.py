from __future__ import annotations

from typing import Any

import pytest

from rollout.core.adapterconfig import read_config
from rollout.core.artifact import ArtifactFacts, FileFact, TensorFact, examine

Q, V = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"
BASE = {
    f"{Q}.weight": (8, 8),
    f"{V}.weight": (4, 8),
    "model.embed_tokens.weight": (32, 8),
    "model.norm.weight": (8,),
}
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}


def lora(module: str, side: str, shape: tuple[int, ...], **changes: Any) -> TensorFact:
    return matrix(f"base_model.model.{module}.lora_{side}.weight", shape, **changes)


def matrix(key: str, shape: tuple[int, ...], **changes: Any) -> TensorFact:
    fields: dict[str, Any] = {"non_finite": 0, "largest": 1.0, "rank_norms": (1.0, 1.0), **changes}
    return TensorFact(key=key, dtype="BF16", shape=shape, **fields)


PAIRS = [lora(Q, "A", (2, 8)), lora(Q, "B", (8, 2)), lora(V, "A", (2, 8)), lora(V, "B", (4, 2))]


def facts(
    tensors: list[TensorFact], base: dict[str, tuple[int, ...]] | None = BASE, **config: Any
) -> ArtifactFacts:
    return examine(files=(), config=read_config({**CONFIG, **config}), tensors=tensors, base_shapes=base)


def test_pairs_that_fit_the_base_have_nothing_to_report() -> None:
    found = facts(PAIRS)
    assert (found.ignored, found.unpaired, found.missing, found.wrong_rank, found.misshapen) == (
        (),
        (),
        (),
        (),
        (),
    )


@pytest.mark.parametrize(
    "key",
    [
        "model.layers.0.self_attn.q_proj.lora_A.weight",
        "base_model.model.base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        f"base_model.model.{Q}.lora_A.default.weight",
        f"base_model.model.{Q}.lora_magnitude_vector",
        f"base_model.model.{Q}.lora_B.bias",
        "base_model.model.lm_head.weight",
        f"base_model.model.{Q}.lora_A.weight\n",
    ],
)
def test_a_key_that_some_reader_drops_is_ignored(key: str) -> None:
    assert key in facts([*PAIRS, matrix(key, (2, 8))]).ignored


@pytest.mark.parametrize(
    "module", ["foo.layers.0.self_attn.q_proj", "model.layers.7.self_attn.q_proj", "model.norm"]
)
def test_a_module_that_the_base_does_not_have_is_ignored(module: str) -> None:
    stray = [lora(module, "A", (2, 8)), lora(module, "B", (8, 2))]
    assert facts([*PAIRS, *stray]).ignored == (module,)
    assert facts([*PAIRS, *stray], base=None).ignored == ()


@pytest.mark.parametrize("left_out", [0, 1])
def test_a_matrix_without_its_other_half_is_unpaired(left_out: int) -> None:
    assert facts([tensor for place, tensor in enumerate(PAIRS) if place != left_out]).unpaired == (Q,)


def test_a_module_that_the_config_names_and_the_file_lacks_is_missing() -> None:
    assert facts(PAIRS[:2]).missing == (V,)


def test_a_target_that_no_module_of_the_base_bears_is_missing() -> None:
    assert facts(PAIRS, target_modules=["q_proj", "v_proj", "qkv_proj"]).missing == ("qkv_proj",)


def test_layers_that_the_config_leaves_out_are_not_missing() -> None:
    deeper = {**BASE, "model.layers.1.self_attn.q_proj.weight": (8, 8)}
    assert facts(PAIRS, deeper).missing == ("model.layers.1.self_attn.q_proj",)
    assert facts(PAIRS, deeper, layers_to_transform=[0]).missing == ()


@pytest.mark.parametrize("shape", [(2, 4), (2, 16), (2, 8, 1), (16,)])
def test_a_shape_other_than_the_bases_is_found(shape: tuple[int, ...]) -> None:
    assert facts([lora(Q, "A", shape), *PAIRS[1:]]).misshapen == (Q,)


def test_an_embedding_is_compared_the_other_way_round() -> None:
    name = "model.embed_tokens"
    pair = [
        matrix(f"base_model.model.{name}.lora_embedding_A", (2, 32)),
        matrix(f"base_model.model.{name}.lora_embedding_B", (8, 2)),
    ]
    targets = ["q_proj", "v_proj", "embed_tokens"]
    assert facts([*PAIRS, *pair], target_modules=targets).misshapen == ()
    assert facts([*PAIRS, pair[0], matrix(pair[1].key, (4, 2))], target_modules=targets).misshapen == (name,)


def test_a_tied_head_has_the_shape_of_the_embedding() -> None:
    pair = [lora("lm_head", "A", (2, 8)), lora("lm_head", "B", (32, 2))]
    found = facts([*PAIRS, *pair], target_modules=["q_proj", "v_proj", "lm_head"])
    assert (found.ignored, found.misshapen) == ((), ())


@pytest.mark.parametrize(("a", "b"), [((4, 8), (8, 2)), ((4, 8), (8, 4))])
def test_a_rank_other_than_the_configs_is_found(a: tuple[int, int], b: tuple[int, int]) -> None:
    found = facts([lora(Q, "A", a), lora(Q, "B", b), *PAIRS[2:]])
    assert found.wrong_rank == (Q,)
    assert found.max_rank == 4


def test_a_rank_pattern_is_heeded() -> None:
    found = facts([lora(Q, "A", (4, 8)), lora(Q, "B", (8, 4)), *PAIRS[2:]], rank_pattern={"q_proj": 4})
    assert found.wrong_rank == ()
    assert found.max_rank == 4


def test_a_rank_that_only_the_config_claims_counts_for_the_server() -> None:
    assert facts(PAIRS, r=64).max_rank == 64
    assert facts(PAIRS, rank_pattern={"nowhere": 128}).max_rank == 128


@pytest.mark.parametrize(
    "change",
    [
        {"use_dora": True},
        {"bias": "all"},
        {"lora_bias": True},
        {"modules_to_save": ["lm_head"]},
        {"init_lora_weights": "pissa"},
        {"layer_replication": [[0, 1]]},
        {"trainable_token_indices": [1]},
        {"fan_in_fan_out": True},
    ],
)
def test_what_servers_refuse_or_drop_is_unsupported(change: dict[str, Any]) -> None:
    assert read_config({**CONFIG, **change}).unsupported == tuple(change)


def test_all_reasons_against_a_config_come_at_once() -> None:
    with pytest.raises(ValueError, match=r"r must be .*; lora_alpha must be .*; target_modules must be"):
        read_config({"r": 0, "lora_alpha": float("nan"), "target_modules": []})


def test_policy_expressions_see_how_files_differ_from_what_was_declared() -> None:
    found = ArtifactFacts(files={"a": "1", "b": "2"})
    seen = found.as_input({"b": "3", "c": "4"})
    assert (seen["differing"], seen["undeclared"], seen["absent"]) == (["b"], ["a"], ["c"])


def test_no_tensors_and_no_config_are_empty_facts_and_not_good_ones() -> None:
    found = examine(files=(), config=None, tensors=PAIRS[:2], base_shapes=None)
    assert found.wrong_rank == (Q,)
    assert not found.base_checked


def test_pickles_are_listed() -> None:
    file = FileFact(name="a.bin", sha256="0", size=1, pickle=True)
    assert examine(files=(file,), config=None, tensors=(), base_shapes=None).pickles == ("a.bin",)
