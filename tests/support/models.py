"""Random tiny Llamas, byte-level tokenizers and adapters on them: real files, made in a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

SPECIAL = ("<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def write_base(folder: Path, *, hidden: int = 128, layers: int = 2, seed: int = 0) -> Path:
    """A random base model (vocabulary: the 256 bytes and 6 special tokens) and its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def byte_tokenizer() -> Any:
    """A tokenizer without merges: one token a byte, so that characters can fall apart between tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(
        models.BPE(vocab={character: index for index, character in enumerate(alphabet)}, merges=[])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=SPECIAL[0],
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        chat_template=CHAT_TEMPLATE,
    )


def write_adapter(
    folder: Path,
    base: Path,
    *,
    seed: int = 1,
    rank: int = 4,
    alpha: int = 64,
    targets: tuple[str, ...] = ("q_proj", "v_proj"),
    **settings: Any,
) -> Path:
    """A LoRA adapter with random weights on both sides, as PEFT saves it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=list(targets), task_type="CAUSAL_LM", **settings
    )
    adapted = get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted.save_pretrained(folder)
    return folder


def edit_tensors(source: Path, folder: Path, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    """A copy of an adapter with other tensors."""
    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_bytes((source / "adapter_config.json").read_bytes())
    tensors = {
        name: tensor.clone() for name, tensor in load_file(source / "adapter_model.safetensors").items()
    }
    save_file(edit(tensors), folder / "adapter_model.safetensors")
    return folder


def edit_config(source: Path, folder: Path, **changes: Any) -> Path:
    """A copy of an adapter with other settings; a setting of `...` is taken out."""
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes((source / "adapter_model.safetensors").read_bytes())
    document = json.loads((source / "adapter_config.json").read_bytes()) | changes
    document = {name: value for name, value in document.items() if value is not ...}
    (folder / "adapter_config.json").write_text(json.dumps(document))
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A base and adapters on it. `folder` holds them all."""

    folder: Path
    base: Path
    good: Path
    other: Path
    nan: Path
    wide: Path

    WIDE_RANK: ClassVar[int] = 32


def write_family(folder: Path) -> Family:
    """A random base with two good adapters, one with a NaN and one of rank 32."""
    base = write_base(folder / "base")
    good = write_adapter(folder / "good", base, seed=1)
    return Family(
        folder=folder,
        base=base,
        good=good,
        other=write_adapter(folder / "other", base, seed=2, rank=8, targets=("q_proj", "down_proj")),
        nan=edit_tensors(good, folder / "nan", _spoil),
        wide=write_adapter(folder / "wide", base, seed=3, rank=Family.WIDE_RANK),
    )


def _spoil(tensors: dict[str, Any]) -> dict[str, Any]:
    name = next(name for name in tensors if "lora_B" in name)
    tensors[name][0, 0] = float("nan")
    return tensors
