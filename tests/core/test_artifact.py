from __future__ import annotations

from typing import Any

import pytest

from rollout.core.adapterconfig import read_config
from rollout.core.adapterfiles import FileFact
from rollout.core.artifact import ArtifactFacts, examine
from rollout.core.basefit import BaseFact
from rollout.core.lora import TensorFact

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
    fields: dict[str, Any] = {"non_finite": False, "largest": 1.0, **changes}
    return TensorFact(key=key, dtype="BF16", shape=shape, **fields)


PAIRS = [lora(Q, "A", (2, 8)), lora(Q, "B", (8, 2)), lora(V, "A", (2, 8)), lora(V, "B", (4, 2))]


def facts(
    tensors: list[TensorFact],
    *bases: dict[str, tuple[int, ...]] | None,
    spectra: dict[str, tuple[float, ...]] | None = None,
    **config: Any,
) -> ArtifactFacts:
    return examine(
        files=(),
        config=read_config({**CONFIG, **config}),
        tensors=tensors,
        spectra=spectra,
        bases=[BaseFact(shapes=base) for base in bases or (BASE,)],
    )


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
    assert facts([*PAIRS, *stray], None).ignored == ()


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["q_proj"]},
        {"target_modules": ["model.layers.0.self_attn.q_proj"]},
        {"target_modules": ["q_proj", "layers.1.self_attn.v_proj"]},
        {"exclude_modules": ["v_proj"]},
        {"exclude_modules": [V]},
        {"layers_to_transform": 1, "target_modules": [Q, "v_proj"]},
        {"layers_to_transform": [0], "layers_pattern": "blocks", "target_modules": [Q, "v_proj"]},
        {"target_modules": r".*\.q_proj"},
    ],
)
@pytest.mark.parametrize("base", [BASE, None])
def test_a_module_that_the_config_does_not_aim_at_is_untargeted_with_and_without_a_base(
    config: dict[str, Any], base: dict[str, tuple[int, ...]] | None
) -> None:
    assert facts(PAIRS, base, **config).untargeted == (V,)
    assert facts(PAIRS, base).untargeted == ()


def test_a_half_of_a_module_is_untargeted_as_well() -> None:
    stray = lora("model.layers.0.self_attn.o_proj", "A", (2, 8))
    assert facts([*PAIRS, stray], None).untargeted == ("model.layers.0.self_attn.o_proj",)


def test_all_linear_does_not_aim_at_heads_and_embeddings() -> None:
    pair = [lora("lm_head", "A", (2, 8)), lora("lm_head", "B", (32, 2))]
    assert facts([*PAIRS, *pair], None, target_modules="all-linear").untargeted == ("lm_head",)


def test_targets_that_nobody_can_follow_vouch_for_no_module() -> None:
    assert facts(PAIRS, None, target_modules="(a+)+(?=b)").untargeted == (Q, V)


def test_patterns_that_would_be_matched_for_minutes_are_not_matched_at_all() -> None:
    slow = {".*a" + "[a-z]" * 150 + str(number): 2 for number in range(60)}
    modules = [f"model.layers.{number}.{'a' * 200}.q_proj" for number in range(5000)]
    pairs = [lora(module, side, (2, 2)) for module in modules for side in "AB"]
    found = facts(pairs, None, rank_pattern=slow, target_modules=["q_proj"])
    assert found.problems == ("adapter_config.json: its patterns are too long for so many modules",)
    assert len(found.wrong_rank) == 5000, "nothing is known of their ranks"
    names = {f"{name}x": 2 for name in slow if "[" not in name}
    assert facts(pairs, None, rank_pattern=names, target_modules=["q_proj"]).problems == ()


def test_a_pattern_over_a_large_base_counts_as_well() -> None:
    base = {f"model.layers.{number}.{'a' * 200}.weight": (8, 8) for number in range(5000)}
    assert facts(PAIRS, base, target_modules=".*a" + "[a-z]" * 150 + "b").problems != ()


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


def test_a_module_has_to_fit_every_base_and_not_only_the_first() -> None:
    wider = {**BASE, f"{Q}.weight": (16, 8)}
    fewer = {name: shape for name, shape in BASE.items() if not name.startswith(V)}
    assert facts(PAIRS, BASE, wider).misshapen == (Q,)
    assert facts(PAIRS, BASE, fewer).ignored == (V,)
    deeper = {**BASE, "model.layers.1.self_attn.q_proj.weight": (8, 8)}
    assert facts(PAIRS, BASE, deeper).missing == ("model.layers.1.self_attn.q_proj",)


def test_one_base_that_is_not_at_hand_leaves_the_adapter_unchecked() -> None:
    assert facts(PAIRS, BASE).base_checked
    assert not facts(PAIRS, BASE, None).base_checked
    assert not examine(files=(), config=None, tensors=PAIRS).base_checked


def test_digests_of_bases_are_told_once_and_only_where_they_are_known() -> None:
    bases = [BaseFact(revision="b", tokenizer="t"), BaseFact(revision="a", tokenizer="t"), BaseFact()]
    found = examine(files=(), config=None, tensors=(), bases=bases)
    assert (found.base_revisions, found.base_tokenizers, found.base_templates) == (("a", "b"), ("t",), ())


def test_the_scale_is_that_of_every_module_with_its_patterns() -> None:
    assert (facts(PAIRS).scale_min, facts(PAIRS).scale_max) == (2.0, 2.0)
    apart = facts(PAIRS, alpha_pattern={"v_proj": 16})
    assert (apart.scale_min, apart.scale_max) == (2.0, 8.0)
    stable = facts(PAIRS, r=4, use_rslora=True, rank_pattern={"q_proj": 16})
    assert (stable.scale_min, stable.scale_max) == (1.0, 2.0)
    unknown = examine(files=(), config=None, tensors=PAIRS)
    assert (unknown.scale_min, unknown.scale_max) == (0.0, 0.0)


def test_a_product_that_is_zero_is_dead_and_one_that_was_not_made_is_not() -> None:
    assert facts(PAIRS, spectra={Q: (0.0, 0.0), V: (1.0, 0.0)}).dead == (Q,)
    assert facts(PAIRS).dead == ()


def test_an_effect_that_rounding_swallows_is_none() -> None:
    assert facts(PAIRS, spectra={Q: (6e-7, 0.0), V: (6e-7, 0.0)}).dead == ()
    assert facts(PAIRS, spectra={Q: (4e-7, 0.0), V: (1.0, 0.0)}).dead == (Q,)
    assert facts(PAIRS, spectra={Q: (1e-40, 1e-40), V: (1.0, 0.0)}).dead == (Q,)
    assert facts(PAIRS, spectra={Q: (1.0, 0.0), V: (1.0, 0.0)}, lora_alpha=1e-300).dead == (Q, V)
    assert facts(PAIRS, spectra={Q: (1.0, 0.0)}, alpha_pattern={"q_proj": 1e-9}).dead == (Q,)


def test_a_module_explodes_by_what_it_adds_and_not_by_its_width() -> None:
    assert facts(PAIRS, spectra={Q: (14.9, 1.0)}).exploding == ()
    assert facts(PAIRS, spectra={Q: (15.1, 1.0)}).exploding == (Q,)
    # Half as many outputs share it: each of them gets more.
    assert facts(PAIRS, spectra={V: (14.9, 1.0)}).exploding == (V,)
    assert facts(PAIRS, spectra={Q: (14.9, 1.0)}, lora_alpha=8).exploding == (Q,)


def test_ranks_that_are_copies_of_one_direction_have_collapsed() -> None:
    healthy, copies = (1.0,) * 8, (1.0, *(1e-3,) * 7)
    assert facts(PAIRS, spectra={Q: healthy, V: copies}).collapsed == (V,)
    assert facts(PAIRS, spectra={Q: (1.0, 0.0), V: (0.0,) * 8}).collapsed == ()


def test_details_say_what_is_added_to_each_module_and_stay_out_of_expressions() -> None:
    found = facts(PAIRS, spectra={Q: (3.0, 4.0)})
    (first, second) = found.details
    assert (first.module, first.rank, first.shape, first.scale) == (Q, 2, (8, 8), 2.0)
    assert (first.spectral, first.frobenius, first.gain) == (8.0, 10.0, 8.0)
    assert first.effective_rank == pytest.approx(1.979, abs=1e-3)
    assert (second.module, second.spectral) == (V, None)
    assert "details" not in found.as_input({})


def test_a_module_that_comes_as_a_layer_and_as_an_embedding_has_keys_too_many() -> None:
    extra = matrix(f"base_model.model.{Q}.lora_embedding_A", (2, 8))
    assert facts([*PAIRS, extra]).ignored == (extra.key,)


def file(name: str, sha256: str | None, **changes: Any) -> FileFact:
    return FileFact(name=name, size=1, sha256=sha256, **changes)


def test_policy_expressions_see_how_files_differ_from_what_was_declared() -> None:
    found = examine(files=[file("a", "1"), file("b", "2")], config=None, tensors=())
    seen = found.as_input({"b": "3", "c": "4"})
    assert (seen["differing"], seen["undeclared"], seen["absent"]) == (["b"], ["a"], ["c"])


def test_a_file_that_was_too_large_to_be_read_is_never_as_declared() -> None:
    seen = examine(files=[file("a", None)], config=None, tensors=()).as_input({"a": "1"})
    assert (seen["oversize"], seen["differing"], seen["absent"]) == (["a"], ["a"], [])
    assert seen["files"] == {}


def test_the_signature_needs_no_digest_and_every_other_file_does() -> None:
    found = examine(files=[file("model.sig", "1"), file("b", "2")], config=None, tensors=())
    assert found.as_input({}, signature="model.sig")["undeclared"] == ["b"]
    assert found.as_input({}, signature=None)["undeclared"] == ["b", "model.sig"]


def test_no_tensors_and_no_config_are_empty_facts_and_not_good_ones() -> None:
    found = examine(files=(), config=None, tensors=PAIRS[:2])
    assert found.wrong_rank == (Q,)
    assert not found.base_checked


def test_a_file_is_listed_for_what_it_is_and_not_twice_for_being_there() -> None:
    files = [
        file("a.bin", "0", pickle=True, expected=False),
        file("run.sh", "0", code=True, expected=False),
        file("notes.txt", "0", expected=False),
        file("README.md", "0"),
    ]
    found = examine(files=files, config=None, tensors=(), not_plain=["link", "folder"])
    assert (found.pickles, found.code, found.unexpected) == (("a.bin",), ("run.sh",), ("notes.txt",))
    assert found.not_plain == ("folder", "link")


def test_expressions_see_the_config_without_what_only_the_comparison_needs() -> None:
    config = facts(PAIRS).as_input({})["config"]
    assert isinstance(config, dict)
    assert sorted(config) == [
        "alpha",
        "alpha_pattern",
        "base_model",
        "layers",
        "peft_type",
        "peft_version",
        "r",
        "rank_pattern",
        "revision",
        "target_modules",
        "task_type",
        "unsupported",
        "use_rslora",
    ]
