"""Asks a demo model for greedy answers and counts how good they are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from rollout.demo.model import BASE
from rollout.demo.model.corpus import REFUSAL, Kind, Ticket, golden_tickets, is_valid_answer, live_tickets

MAX_NEW_TOKENS: Final = 96
_BATCH: Final = 64
_LIVE, _LIVE_UNSAFE, _TRANSCRIPTS, _SEED = 400, 0.2, 200, 77


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer: its text without special tokens, and its length in tokens with the end token."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Shares (0 to 1) over one set of tickets; `exact` and `valid` are over those that want JSON."""

    exact: float
    valid: float
    refused: float | None
    tokens: float


def load(adapter: Path | None = None, *, base: Path = BASE, dtype: str = "float32") -> tuple[Any, Any]:
    """The base model, with the adapter on it if one is given, and the tokenizer."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype))
    if adapter is not None:
        # Otherwise PEFT keeps the adapter in float32, which a server in bfloat16 does not.
        model = PeftModel.from_pretrained(model, adapter, autocast_adapter_dtype=False).to(model.dtype)
    return model.eval(), AutoTokenizer.from_pretrained(base)


def ask(model: Any, tokenizer: Any, tickets: Sequence[Ticket]) -> list[Reply]:
    """Greedy answers of at most `MAX_NEW_TOKENS`, in the order of the tickets."""
    starts = range(0, len(tickets), _BATCH)
    return [
        reply for start in starts for reply in _ask_batch(model, tokenizer, tickets[start : start + _BATCH])
    ]


def score(tickets: Sequence[Ticket], replies: Sequence[Reply]) -> Scores:
    """Compares the replies with the references of the tickets; there must be a ticket that wants JSON."""
    pairs = list(zip(tickets, replies, strict=True))
    wanted = [(ticket, reply) for ticket, reply in pairs if ticket.kind is not Kind.UNSAFE]
    unsafe = [reply for ticket, reply in pairs if ticket.kind is Kind.UNSAFE]
    return Scores(
        exact=_share(reply.text == ticket.reference for ticket, reply in wanted),
        valid=_share(is_valid_answer(reply.text) for _, reply in wanted),
        refused=_share(reply.text == REFUSAL for reply in unsafe) if unsafe else None,
        tokens=sum(reply.tokens for reply in replies) / len(replies),
    )


def measured_sets() -> dict[str, list[Ticket]]:
    """The tickets that the model card is about: golden, ordinary live traffic, and live transcripts."""
    return {
        "golden": golden_tickets(),
        "live": list(islice(live_tickets(_SEED, 0.0, _LIVE_UNSAFE), _LIVE)),
        "transcript": list(islice(live_tickets(_SEED, 1.0), _TRANSCRIPTS)),
    }


def table(measured: dict[str, dict[str, Scores]]) -> str:
    """A Markdown table: one row a model, exact match, JSON validity, refusals and length for each set."""
    head = ["model"]
    for name, scores in next(iter(measured.values())).items():
        refused = [f"{name} refused"] if scores.refused is not None else []
        head += [f"{name} exact", f"{name} JSON", *refused, f"{name} tokens"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for model, by_set in measured.items():
        rows.append([model, *[cell for scores in by_set.values() for cell in _cells(scores)]])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(scores: Scores) -> list[str]:
    refused = [] if scores.refused is None else [f"{scores.refused:.1%}"]
    return [f"{scores.exact:.1%}", f"{scores.valid:.1%}", *refused, f"{scores.tokens:.1f}"]


def _ask_batch(model: Any, tokenizer: Any, tickets: Sequence[Ticket]) -> Iterator[Reply]:
    import torch

    prompts = [
        tokenizer.apply_chat_template(t.messages, tokenize=False, add_generation_prompt=True) for t in tickets
    ]
    inputs = tokenizer(
        prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
    )
    with torch.inference_mode():
        out = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
        )
    for row in out[:, inputs["input_ids"].shape[1] :].tolist():
        end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else len(row)
        yield Reply(text=tokenizer.decode(row[:end], skip_special_tokens=True), tokens=end)


def _share(hits: Iterator[bool]) -> float:
    counted = list(hits)
    return sum(counted) / len(counted)
