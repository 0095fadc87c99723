"""Adapters and configs that the installed PEFT itself writes, read without it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.core.adapterconfig import read_config
from rollout.core.artifact import ArtifactFacts
from rollout.core.manifest import Dtype
from rollout.integrations.safetensors import inspect

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
pytestmark = pytest.mark.model

LAYERS = 3
ATTENTION = ["q_proj", "v_proj"]


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=LAYERS,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    llama().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def saved(folder: Path, config: Any) -> None:
    """The files of an adapter of that config whose weights are random."""
    torch.manual_seed(1)
    model = peft.get_peft_model(llama(), config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)


def facts(folder: Path, base: Path) -> ArtifactFacts:
    return inspect(folder, dtypes=frozenset({Dtype.BFLOAT16}), bases=[base])


def lora(**options: Any) -> Any:
    return peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ATTENTION, **options})


CLEAN: dict[str, Any] = {
    "plain": {},
    "names in full": {"target_modules": ["model.layers.1.self_attn.q_proj"]},
    "all linear": {"target_modules": "all-linear"},
    "a pattern": {"target_modules": r".*\.layers\.(0|2)\..*(up|down)_proj"},
    "some layers": {"layers_to_transform": [0, 2]},
    "some layers and a name in full": {
        "layers_to_transform": [0],
        "target_modules": ["q_proj", "lm_head", "model.layers.2.self_attn.v_proj"],
    },
    "one layer": {"layers_to_transform": 1, "layers_pattern": "layers"},
    "without some": {"exclude_modules": ["layers.0.self_attn.q_proj"]},
    "stable": {"use_rslora": True},
    "ranks by name": {"rank_pattern": {"q_proj": 2, "layers.1.self_attn.v_proj": 8}},
    "ranks by pattern": {"rank_pattern": {r"^model\.layers\.[01]\..*q_proj": 2, ".*v_proj": 6}},
    "alphas": {"alpha_pattern": {"q_proj": 1, r"layers\.2\..*": 32}, "rank_pattern": {"v_proj": 8}},
    "gaussian": {"init_lora_weights": "gaussian"},
    "the head": {"target_modules": [*ATTENTION, "lm_head"]},
}


@pytest.mark.parametrize("options", CLEAN.values(), ids=CLEAN)
def test_a_lora_that_servers_apply_is_read_as_peft_applies_it(
    tmp_path: Path, base: Path, options: dict[str, Any]
) -> None:
    saved(tmp_path, lora(**options))
    # Read back: PEFT sorts what it saves, and of several patterns for a module the first one counts.
    model = peft.PeftModel.from_pretrained(llama(), tmp_path)
    found = facts(tmp_path, base)
    layers = {
        name.removeprefix("base_model.model."): layer
        for name, layer in model.named_modules()
        if hasattr(layer, "lora_A") and hasattr(layer, "scaling")
    }
    assert found.problems == ()
    assert found.config is not None
    assert found.config.unsupported == ()
    assert (found.missing, found.wrong_rank, found.misshapen, found.unpaired) == ((), (), (), ())
    assert found.untargeted == ()
    assert found.ignored == ()
    assert set(found.modules) == set(layers)
    for detail in found.details:
        layer = layers[detail.module]
        assert detail.rank == layer.r["default"]
        assert detail.scale == pytest.approx(layer.scaling["default"])
        delta = layer.get_delta_weight("default").detach().double()
        assert detail.spectral == pytest.approx(torch.linalg.matrix_norm(delta, 2).item(), rel=1e-3)
        assert detail.frobenius == pytest.approx(torch.linalg.matrix_norm(delta).item(), rel=1e-3)
    assert found.scale_max == pytest.approx(max(layer.scaling["default"] for layer in layers.values()))


def test_an_embedding_and_what_peft_saves_beside_it(tmp_path: Path, base: Path) -> None:
    saved(tmp_path, lora(target_modules=[*ATTENTION, "embed_tokens"]))
    found = facts(tmp_path, base)
    assert "model.embed_tokens" in found.modules
    assert (found.misshapen, found.wrong_rank, found.missing) == ((), (), ())
    assert found.ignored == ()


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens"])
def test_a_base_weight_beside_the_adapter_is_harmless_only_where_it_is_the_bases_own(
    tmp_path: Path, base: Path, name: str
) -> None:
    from safetensors.torch import load_file, save_file

    saved(tmp_path, lora(target_modules=["q_proj", name]))
    weights = tmp_path / "adapter_model.safetensors"
    tensors = load_file(weights)
    (key,) = [key for key in tensors if key.endswith(f"{name}.base_layer.weight")]
    assert facts(tmp_path, base).ignored == ()
    assert facts(tmp_path, tmp_path / "nowhere").ignored == (key,)
    tensors[key][3, 3] += 1
    save_file(tensors, weights)
    assert facts(tmp_path, base).ignored == (key,)
    save_file({**tensors, key: tensors[key][:-1].clone()}, weights)
    assert facts(tmp_path, base).ignored == (key,)


REFUSED: dict[str, tuple[Any, str]] = {
    "dora": ({"use_dora": True}, "use_dora"),
    "biases": ({"bias": "lora_only"}, "bias"),
    "a bias of its own": ({"lora_bias": True}, "lora_bias"),
    "whole modules": ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    "tokens": ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
    "pissa": ({"init_lora_weights": "pissa"}, "init_lora_weights"),
    "olora": ({"init_lora_weights": "olora"}, "init_lora_weights"),
    "lookahead": ({"target_modules": r".*(?<!k)(q|v)_proj"}, "target_modules as a pattern"),
}


@pytest.mark.parametrize(("options", "named"), REFUSED.values(), ids=REFUSED)
def test_a_lora_that_servers_refuse_is_read_and_says_why(
    tmp_path: Path, base: Path, options: dict[str, Any], named: str
) -> None:
    saved(tmp_path, lora(**options))
    found = facts(tmp_path, base)
    assert found.problems == ()
    assert found.config is not None
    assert [each.partition(":")[0] for each in found.config.unsupported] == [named]


def others() -> dict[str, Any]:
    prompts = {"num_virtual_tokens": 4, "task_type": "CAUSAL_LM"}
    return {
        "ADALORA": peft.AdaLoraConfig(target_modules=ATTENTION, total_step=10),
        "IA3": peft.IA3Config(target_modules=[*ATTENTION, "down_proj"], feedforward_modules=["down_proj"]),
        "PROMPT_TUNING": peft.PromptTuningConfig(**prompts),
        "PREFIX_TUNING": peft.PrefixTuningConfig(**prompts),
        "P_TUNING": peft.PromptEncoderConfig(**prompts),
        "LOHA": peft.LoHaConfig(target_modules=ATTENTION),
        "LOKR": peft.LoKrConfig(target_modules=ATTENTION),
        "VERA": peft.VeraConfig(target_modules=["q_proj"]),
        "OFT": peft.OFTConfig(target_modules=ATTENTION, oft_block_size=4),
        "LN_TUNING": peft.LNTuningConfig(target_modules=["input_layernorm"]),
        "TRAINABLE_TOKENS": peft.TrainableTokensConfig(token_indices=[1], target_modules=["embed_tokens"]),
        "FOURIERFT": peft.FourierFTConfig(n_frequency=10, target_modules=ATTENTION),
        "SHIRA": peft.ShiraConfig(target_modules=["q_proj"], r=2),
        "VBLORA": peft.VBLoRAConfig(num_vectors=8, vector_length=4, target_modules=ATTENTION),
    }


@pytest.mark.parametrize("method", others())
def test_an_adapter_of_another_method_is_read_and_named(tmp_path: Path, base: Path, method: str) -> None:
    saved(tmp_path, others()[method])
    found = facts(tmp_path, base)
    assert found.problems == ()
    assert found.config is not None
    assert (found.config.peft_type, found.config.r) == (method, 0)
    assert found.modules == ()
    assert len(found.ignored) > 0


def test_every_method_that_peft_knows_has_a_config_that_we_read(tmp_path: Path) -> None:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    read = 0
    for method, kind in PEFT_TYPE_TO_CONFIG_MAPPING.items():
        try:
            kind().save_pretrained(tmp_path)
        except (TypeError, ValueError, ImportError):
            continue  # what it asks for has no default
        data = json.loads((tmp_path / "adapter_config.json").read_text())
        if method == "LORA":
            data["target_modules"] = ATTENTION
        config = read_config(data)
        assert config.peft_type == data["peft_type"]
        assert config.unsupported == ()
        read += 1
    assert read > 30
