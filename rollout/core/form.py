"""The form of a new manifest: every field in its order, and what is asked where only a human knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rollout.core.blanks import blank
from rollout.core.document import Pointer

Scalar = str | int | float | None
Value = Scalar | Sequence[str]
Spell = Callable[[Value], str]
"""A value as a YAML document writes it, quoted wherever a reader could take it for something else."""


class Field(NamedTuple):
    """One field: where it is, what is wanted there, and an example."""

    pointer: Pointer
    wanted: str
    example: str


def _fields(text: str) -> tuple[Field, ...]:
    rows = (line.split("|") for line in text.strip().splitlines())
    return tuple(
        Field(tuple(path.strip().split(".")), wanted.strip(), example.strip())
        for path, wanted, example in rows
    )


SCHEMA: Pointer = ("schema",)
FILES: Pointer = ("artifact", "files")

# Fields without a question are written only where they are known.
FORM = _fields(
    """
    schema | |
    name | |
    use_case | the use case that it serves, a short name of a-z, 0-9 and - | support
    task | its task there, a short name | triage
    version | |
    base.name | a short name of the base model | llama-3-8b
    base.repo | the Hub repository of the base model that it was trained on | meta-llama/Llama-3.1-8B
    base.revision | the commit of the base model, 40 hex digits, never a branch | git ls-remote
    base.quantization | how the base was held in training: none, nf4, fp4, int8, fp8, awq or gptq | nf4
    base.dtype | the type that it was trained in: float32, bfloat16 or float16 | bfloat16
    base.tokenizer_sha256 | the sha256 of the base's tokenizer.json, 64 hex digits | sha256sum tokenizer.json
    base.chat_template_sha256 | the sha256 of the base's chat template, 64 hex digits | sha256sum chat_template.jinja
    artifact.uri | |
    artifact.files | |
    artifact.rank | |
    artifact.alpha | |
    artifact.target_modules | |
    artifact.signature | |
    lineage.parent | |
    lineage.dataset.name | the name of the training data, with its version | tickets-2026-10
    lineage.dataset.sha256 | the sha256 of the training data, 64 hex digits | sha256sum train.jsonl
    lineage.training_commit | the commit of the training code, 40 hex digits | git rev-parse HEAD
    lineage.inference_code | the version of the inference code that it was tested with | 1.4.2
    data.examples | the number of training examples | 12000
    data.duplicates | the share of examples that are there more than once | 0.01
    data.personal_data | the number of examples in which a scan found personal data | 0
    data.license | the licence of the training data, an SPDX identifier | CC-BY-4.0
    data.language | the language that it is to answer in, a BCP 47 tag | en
    data.language_share | the share of examples in that language | 0.99
    data.instruction_tokens.min | the tokens of the shortest instruction | 12
    data.instruction_tokens.max | the tokens of the longest instruction | 1800
    data.output_tokens.min | the tokens of the shortest output | 6
    data.output_tokens.max | the tokens of the longest output | 700
    data.evaluation_overlap | the number of training examples that are in the evaluation suite too | 0
    evaluation.suite | the suite that proves it | golden
    rollout.plan | the plan by which it is released | standard
    risk.tier | how much harm a bad answer can do: low, medium or high | low
    risk.data_fresh_until | the last day on which the training data is not stale | 2027-01-31
    risk.license | the licence of the adapter, an SPDX identifier | Apache-2.0
    owner.team | the team that answers for it, the folder of this file | support
    owner.escalation | whom to wake when it goes wrong | "#support-oncall"
    owner.review_every_days | the days between two reviews by the team | 90
    change.purpose | what this version is for, and what is better than before | First version for the support desk.
    """
)

_ASKED = {field.pointer: field for field in FORM if field.wanted}
_HEADER = (
    "# yaml-language-server: $schema=../../schemas/manifest.schema.json",
    "# Drafted from the adapter's files by `rollout manifest new`. What begins with TODO is left to a human.",
)


def question(pointer: Pointer) -> str:
    """The blank that stands for a field. Raises KeyError for one that no human is asked for."""
    return blank(_ASKED[pointer].wanted)


def write_form(
    known: Mapping[Pointer, Value],
    spell: Spell,
    *,
    examples: Mapping[Pointer, str] | None = None,
    remarks: Mapping[Pointer, str] | None = None,
) -> str:
    """The manifest as YAML: what is known, and a blank with an example for everything that is asked.

    `examples` fit better than the general ones; `remarks` stand behind what is known.
    """
    lines = list(_HEADER)
    above: Pointer = ()
    for pointer, value, comment in _entries(known, examples or {}, remarks or {}):
        lines += _opened(above, pointer, spell)
        behind = f" # {comment}" if comment else ""
        lines.append(f"{_indent(pointer)}{spell(str(pointer[-1]))}: {spell(value)}{behind}")
        above = pointer
    return "\n".join(lines) + "\n"


def _entries(
    known: Mapping[Pointer, Value], examples: Mapping[Pointer, str], remarks: Mapping[Pointer, str]
) -> Iterator[tuple[Pointer, Value, str]]:
    for pointer, wanted, example in FORM:
        if pointer == FILES:
            files = (path for path in known if path[: len(FILES)] == FILES)
            yield from ((path, known[path], "") for path in sorted(files, key=str))
        elif pointer in known:
            yield pointer, known[pointer], remarks.get(pointer, "")
        elif wanted:
            yield pointer, blank(wanted), f"e.g. {examples.get(pointer, example)}"


def _opened(above: Pointer, pointer: Pointer, spell: Spell) -> Iterator[str]:
    """The lines of the mappings that begin with this field; those of the document stand apart."""
    if pointer[0] != (above or pointer)[0] and max(len(above), len(pointer)) > 1:
        yield ""
    for depth in range(1, len(pointer)):
        if above[:depth] != pointer[:depth]:
            yield f"{_indent(pointer[:depth])}{spell(str(pointer[depth - 1]))}:"


def _indent(pointer: Pointer) -> str:
    return "  " * (len(pointer) - 1)
