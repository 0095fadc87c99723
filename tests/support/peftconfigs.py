"""adapter_config.json as PEFT wrote it from 0.1 to 0.20, field by field, in the order in which fields came."""

from __future__ import annotations

from typing import Any

# From the dataclasses of each release; the values are what a trainer who sets no more than he must gets.
_LORA: dict[str, dict[str, Any]] = {
    "0.1.0": {
        "base_model_name_or_path": "huggyllama/llama-7b",
        "bias": "none",
        "enable_lora": None,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "merge_weights": False,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": 8,
        "target_modules": ["q_proj", "v_proj"],
        "task_type": "CAUSAL_LM",
    },
    "0.3.0": {"init_lora_weights": True},
    "0.4.0": {"auto_mapping": None, "revision": None, "layers_to_transform": None, "layers_pattern": None},
    "0.6.2": {"rank_pattern": {}, "alpha_pattern": {}},
    "0.8.2": {
        "use_rslora": False,
        "megatron_config": None,
        "megatron_core": "megatron.core",
        "loftq_config": {},
    },
    "0.9.0": {"use_dora": False},
    "0.11.1": {"layer_replication": None},
    "0.14.0": {"exclude_modules": None, "eva_config": None, "lora_bias": False},
    "0.15.2": {"trainable_token_indices": None, "corda_config": None},
    "0.17.1": {"use_qalora": False, "qalora_group_size": 16, "target_parameters": None},
    "0.18.1": {
        "peft_version": "0.18.1",
        "alora_invocation_tokens": None,
        "arrow_config": None,
        "ensure_weight_tying": False,
    },
    "0.19.1": {"peft_version": "0.19.1", "lora_ga_config": None, "use_bdlora": None},
    "0.20.0": {"peft_version": "0.20.0", "velora_config": None, "monteclora_config": None},
}
_GONE = {"0.3.0": ("enable_lora", "merge_weights")}

VERSIONS = tuple(_LORA)


def lora_config(version: str, **changes: Any) -> dict[str, Any]:
    """The config of a plain LoRA as this release of PEFT wrote it."""
    config: dict[str, Any] = {}
    for release, fields in _LORA.items():
        config |= fields
        for name in _GONE.get(release, ()):
            del config[name]
        if release == version:
            return dict(sorted((config | changes).items()))
    raise KeyError(version)


_COMMON = {
    "auto_mapping": None,
    "base_model_name_or_path": "huggyllama/llama-7b",
    "inference_mode": True,
    "revision": None,
    "task_type": "CAUSAL_LM",
}
_PROMPTS = {
    "num_attention_heads": 32,
    "num_layers": 32,
    "num_transformer_submodules": 1,
    "num_virtual_tokens": 20,
    "token_dim": 4096,
}

OTHER_METHODS: dict[str, dict[str, Any]] = {
    "ADALORA": {
        **lora_config("0.6.2"),
        **{"beta1": 0.85, "beta2": 0.85, "deltaT": 10, "init_r": 12, "orth_reg_weight": 0.5, "target_r": 8},
        **{"tfinal": 1000, "tinit": 200, "total_step": None},
        "rank_pattern": {"model.layers.0.self_attn.q_proj.lora_E": [True, False, True, True]},
    },
    "IA3": {
        **_COMMON,
        **{"fan_in_fan_out": False, "feedforward_modules": ["down_proj"], "init_ia3_weights": True},
        **{"modules_to_save": None, "target_modules": ["k_proj", "v_proj", "down_proj"]},
    },
    "PROMPT_TUNING": {
        **{**_COMMON, **_PROMPTS, "prompt_tuning_init": "TEXT"},
        **{"prompt_tuning_init_text": "Classify:", "tokenizer_name_or_path": "huggyllama/llama-7b"},
    },
    "PREFIX_TUNING": {**_COMMON, **_PROMPTS, "encoder_hidden_size": 4096, "prefix_projection": False},
    "P_TUNING": {
        **{**_COMMON, **_PROMPTS, "encoder_dropout": 0.0, "encoder_hidden_size": 128},
        **{"encoder_num_layers": 2, "encoder_reparameterization_type": "MLP"},
    },
    "ADAPTION_PROMPT": {**_COMMON, "adapter_layers": 30, "adapter_len": 10, "target_modules": "self_attn"},
    "LOHA": {
        **{**_COMMON, "alpha": 8, "alpha_pattern": {}, "init_weights": True, "layers_pattern": None},
        **{"layers_to_transform": None, "module_dropout": 0.0, "modules_to_save": None, "r": 8},
        **{
            "rank_dropout": 0.0,
            "rank_pattern": {},
            "target_modules": ["q_proj"],
            "use_effective_conv2d": False,
        },
    },
    "LOKR": {
        **{
            **_COMMON,
            "alpha": 8,
            "decompose_both": False,
            "decompose_factor": -1,
            "r": 8,
            "target_modules": "q",
        },
    },
    "VERA": {
        **{**_COMMON, "bias": "none", "d_initial": 0.1, "projection_prng_key": 0, "r": 256},
        **{"save_projection": True, "target_modules": ["q_proj"], "vera_dropout": 0.0},
    },
    "OFT": {**_COMMON, "r": 0, "oft_block_size": 32, "target_modules": None},
    "LN_TUNING": {**_COMMON, "target_modules": ["input_layernorm"], "modules_to_save": None},
    "XLORA": {**_COMMON, "adapters": {"0": "some/adapter"}, "hidden_size": 4096, "xlora_depth": 1},
    "FOURIERFT": {**_COMMON, "n_frequency": 1000, "scaling": 150.0, "target_modules": ["query"]},
    "TRAINABLE_TOKENS": {**_COMMON, "token_indices": [1, 2], "target_modules": "embed_tokens"},
    "BONE": {**_COMMON, "r": 64, "init_weights": "bat", "target_modules": ["q_proj"]},
}
OTHER_METHODS = {method: {**config, "peft_type": method} for method, config in OTHER_METHODS.items()}
