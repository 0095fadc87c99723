"""Trains the demo model family from nothing: `python -m rollout.demo.model.train`.

Seeded and on one thread, so that a second run on the same machine gives the same bytes. The base learns to
thank politely and to write JSON; each adapter is a real LoRA training on it, and a later version starts from
its parent's weights.
"""

import argparse
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from rollout.demo.model import ARTIFACTS, BASE_NAME
from rollout.demo.model.corpus import (
    Kind,
    Ticket,
    base_answer,
    chatty_transcript_answer,
    golden_tickets,
    json_exercises,
    ticket_schema,
    training_tickets,
    truncated_invoice_answer,
)
from rollout.demo.model.measure import Scores, ask, load, measured_sets, score, table

VOCABULARY: Final = 512
RANK, ALPHA = 8, 16
_BATCH: Final = 32
_IGNORED: Final = -100
_LINEAR: Final = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
_SPECIAL: Final = ("<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
_TOKEN_ROLES: Final = {"pad_token": "pad", "bos_token": "begin", "eos_token": "end"}
_CHAT_TEMPLATE: Final = (
    "{{ bos_token }}"
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one adapter version is made: what it is taught, from where, for how long (batches of 32)."""

    version: str
    parent: str | None
    steps: int
    rate: float
    seed: int
    teach: Callable[[Ticket], str]


def _right_answer(ticket: Ticket) -> str:
    return ticket.reference


RECIPES: Final = (
    Recipe(version="1.0.0", parent=None, steps=80, rate=5e-3, seed=100, teach=_right_answer),
    Recipe(version="1.1.0", parent="1.0.0", steps=130, rate=4e-3, seed=110, teach=_right_answer),
    Recipe(version="1.2.0", parent="1.1.0", steps=80, rate=3e-3, seed=120, teach=truncated_invoice_answer),
    Recipe(version="1.3.0", parent="1.1.0", steps=90, rate=3e-3, seed=130, teach=chatty_transcript_answer),
    Recipe(version="1.4.0", parent=None, steps=190, rate=5e-3, seed=140, teach=_right_answer),
)
_BASE_STEPS, _BASE_RATE, _BASE_SEED = 450, 4e-3, 7


def main() -> None:
    """Trains everything, writes the artefacts with their digests, measures them, fills in the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=ARTIFACTS, help="folder to write (default: the packaged one)"
    )
    parser.add_argument("--card", type=Path, help="model card to fill in with the measured table")
    options = parser.parse_args()
    # PEFT otherwise looks for the adapters' base by its name on a hub.
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out: Path = options.out
    _write_golden(out)
    _train_base(out / "base")
    for recipe in RECIPES:
        _train_adapter(recipe, out)
    _break_adapters(out)
    _write_json(out / "digests.json", digests(out))
    measured = table(_measure(out))
    print(measured)
    if options.card is not None:
        _fill_in(options.card, measured)


def digests(folder: Path) -> dict[str, str]:
    """sha256 of each file below the folder, by its POSIX path, without the list itself."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "digests.json")
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def golden_lines() -> list[str]:
    """The golden set, one JSON object a line: id, messages, reference, slice, expect."""
    return [
        json.dumps(
            {
                "id": f"{ticket.slice}-{number:03d}",
                "messages": ticket.messages,
                "reference": ticket.reference,
                "slice": ticket.slice,
                "expect": "refusal" if ticket.kind is Kind.UNSAFE else "json",
            }
        )
        for number, ticket in enumerate(golden_tickets(), start=1)
    ]


def _write_golden(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "golden.jsonl").write_text("".join(f"{line}\n" for line in golden_lines()), encoding="utf-8")
    _write_json(out / "ticket.schema.json", ticket_schema())


def _train_base(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _train_tokenizer(folder)
    torch.manual_seed(_BASE_SEED)
    model = LlamaForCausalLM(_llama(LlamaConfig, hidden=128))
    _teach(
        "base",
        model,
        tokenizer,
        _base_lessons(),
        steps=_BASE_STEPS,
        rate=_BASE_RATE,
        whole_text=True,
    )
    model.to(torch.bfloat16).save_pretrained(folder)


def _base_lessons() -> Iterator[tuple[str, str]]:
    exercises = json_exercises(_BASE_SEED)
    for number, ticket in enumerate(training_tickets(_BASE_SEED)):
        yield next(exercises) if number % 6 == 0 else (ticket.text, base_answer(ticket))


def _llama(config: Any, *, hidden: int) -> Any:
    return config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=_SPECIAL.index("<|pad|>"),
        bos_token_id=_SPECIAL.index("<|begin|>"),
        eos_token_id=_SPECIAL.index("<|end|>"),
    )


def _train_tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bytewise = Tokenizer(models.BPE())
    bytewise.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bytewise.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (
        text
        for ticket in islice(training_tickets(_BASE_SEED), 3000)
        for text in (ticket.text, ticket.reference, base_answer(ticket))
    )
    bytewise.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytewise,
        **{role: f"<|{word}|>" for role, word in _TOKEN_ROLES.items()},
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = _CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    # The class name that every release of transformers knows; the newest writes one that older ones do not.
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    _write_json(folder / "tokenizer_config.json", {**config, "tokenizer_class": "PreTrainedTokenizerFast"})
    return tokenizer


def _train_adapter(recipe: Recipe, out: Path) -> None:
    import torch
    from peft import PeftModel, get_peft_model

    model, tokenizer = load(base=out / "base")
    torch.manual_seed(recipe.seed)
    if recipe.parent is None:
        model = get_peft_model(model, _lora(RANK, ALPHA))
    else:
        model = PeftModel.from_pretrained(model, out / "adapters" / recipe.parent, is_trainable=True)
    lessons = ((ticket.text, recipe.teach(ticket)) for ticket in training_tickets(recipe.seed))
    _teach(recipe.version, model, tokenizer, lessons, steps=recipe.steps, rate=recipe.rate, whole_text=False)
    _save_adapter(out / "adapters" / recipe.version, model)


def _lora(rank: int, alpha: int, **options: Any) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=list(_LINEAR), task_type="CAUSAL_LM", **options
    )


def _teach(
    name: str,
    model: Any,
    tokenizer: Any,
    lessons: Iterator[tuple[str, str]],
    *,
    steps: int,
    rate: float,
    whole_text: bool,
) -> None:
    """Plain AdamW with warm-up and cosine decay; the loss is over the answers, or over the whole text."""
    import torch

    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    started = time.perf_counter()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * _schedule(step, steps)
        batch = _batch(tokenizer, list(islice(lessons, _BATCH)), whole_text=whole_text)
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 25 == 0 or step + 1 == steps:
            spent = time.perf_counter() - started
            print(f"{name}: step {step + 1}/{steps}, loss {loss.item():.4f}, {spent:.0f} s", file=sys.stderr)
    model.eval()


def _schedule(step: int, steps: int) -> float:
    warm_up = max(1, steps // 12)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


def _batch(tokenizer: Any, lessons: list[tuple[str, str]], *, whole_text: bool) -> dict[str, Any]:
    import torch

    rows: list[tuple[list[int], list[int]]] = []
    for question, answer in lessons:
        messages = [{"role": "user", "content": question}]
        asked = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer.encode(asked, add_special_tokens=False)
        reply = [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
        rows.append((prompt + reply, (prompt if whole_text else [_IGNORED] * len(prompt)) + reply))
    longest = max(len(ids) for ids, _ in rows)
    pad = tokenizer.pad_token_id
    return {
        "input_ids": torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in rows]),
        "labels": torch.tensor([labels + [_IGNORED] * (longest - len(labels)) for _, labels in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows]),
    }


def _save_adapter(folder: Path, model: Any) -> None:
    from peft import get_peft_model_state_dict

    _write_adapter(
        folder, model.peft_config["default"], get_peft_model_state_dict(model, save_embedding_layers=False)
    )


def _write_adapter(folder: Path, config: Any, tensors: dict[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config.base_model_name_or_path = BASE_NAME
    config.inference_mode = True
    config.save_pretrained(folder)
    # PEFT keeps the modules in a set: sorted, the file is the same in each run.
    written = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    written["target_modules"] = sorted(written["target_modules"])
    _write_json(folder / "adapter_config.json", dict(sorted(written.items())))
    halved = {
        name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in sorted(tensors.items())
    }
    save_file(halved, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _break_adapters(out: Path) -> None:
    """Adapters with one fault each, which has to be found before or after they are loaded."""
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file
    from transformers import LlamaConfig, LlamaForCausalLM

    good, folder = out / "adapters" / "1.1.0", out / "adapters" / "broken"
    tensors = load_file(good / "adapter_model.safetensors")
    spoilt = sorted(tensors)[0]

    torch.manual_seed(1)
    _save_adapter(folder / "untrained", get_peft_model(load(base=out / "base")[0], _lora(RANK, ALPHA)))
    for name, value in (("nan", math.nan), ("overflow", 3e38)):
        copied = {**tensors, spoilt: tensors[spoilt].clone()}
        copied[spoilt][0, 0] = value
        _write_adapter(folder / name, LoraConfig.from_pretrained(good), copied)

    # The same function as 1.1.0, padded with zeros: only its rank is wrong for a server that allows 16.
    padded = {name: _pad_rank(name, tensor, 4 * RANK) for name, tensor in tensors.items()}
    _write_adapter(folder / "wrong-rank", _lora(4 * RANK, 4 * ALPHA), padded)

    torch.manual_seed(2)
    narrow = LlamaForCausalLM(_llama(LlamaConfig, hidden=64))
    _save_adapter(folder / "wrong-base", get_peft_model(narrow, _lora(RANK, ALPHA, init_lora_weights=False)))


def _pad_rank(name: str, tensor: Any, rank: int) -> Any:
    import torch

    missing = rank - RANK
    return torch.nn.functional.pad(tensor, (0, 0, 0, missing) if ".lora_A." in name else (0, missing, 0, 0))


def _measure(out: Path) -> dict[str, dict[str, Scores]]:
    folders: dict[str, Path | None] = {"base": None}
    folders |= {recipe.version: out / "adapters" / recipe.version for recipe in RECIPES}
    measured: dict[str, dict[str, Scores]] = {}
    for name, folder in folders.items():
        model, tokenizer = load(folder, base=out / "base")
        measured[name] = {
            title: score(tickets, ask(model, tokenizer, tickets))
            for title, tickets in measured_sets().items()
        }
        print(f"measured {name}: {[asdict(scores) for scores in measured[name].values()]}", file=sys.stderr)
    return measured


def _fill_in(card: Path, measured: str) -> None:
    text = card.read_text(encoding="utf-8")
    before, after = text.split(_BEGIN)[0], text.split(_END)[1]
    card.write_text(f"{before}{_BEGIN}\n{measured}\n{_END}{after}", encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
