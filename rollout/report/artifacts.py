"""What an adapter's bytes are, as text for a reviewer with one minute, and as JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from statistics import median

from rollout.core.artifact import ArtifactFacts
from rollout.core.lora import ModuleFact
from rollout.usecases.inspect import Inspection

SCHEMA = "adapter-rollout/artifact-facts/v1"

# What is wrong, in the order in which it would hurt, in words.
_WRONG = {
    "pickles": "pickles or archives, which can run code",
    "code": "files that can be run",
    "not_plain": "no plain files",
    "oversize": "too large to be read",
    "unexpected": "files that no adapter needs",
    "differing": "other bytes than the manifest says",
    "undeclared": "not in the manifest",
    "absent": "in the manifest, and not here",
    "non_finite": "not finite where they are served",
    "extreme": "larger than any trained weight",
    "ignored": "dropped by a server",
    "untargeted": "applied although the config does not name them",
    "unpaired": "A without B, or B without A",
    "missing": "named by the config, and not here",
    "wrong_rank": "another rank than the config says",
    "misshapen": "another shape than the base has",
    "dead": "without any effect",
    "exploding": "gain above 30: diverged",
    "collapsed": "ranks that are copies of one direction",
    "intruders": "with intruder dimensions",
}
_SHOWN = 5
_BARS = "▁▂▃▄▅▆▇█"
_BINS = 12


def as_json(inspection: Inspection) -> str:
    """For machines; see SCHEMA for its name. What only a manifest could tell is null without one."""
    document = {
        "schema": SCHEMA,
        "subject": inspection.subject,
        "serving_types": list(inspection.dtypes),
        "facts": _facts(inspection),
        "modules": [asdict(detail) for detail in inspection.facts.details],
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _facts(inspection: Inspection) -> dict[str, object]:
    facts = inspection.facts.as_input(inspection.declared or {}, inspection.signature)
    if inspection.declared is None:
        facts |= dict.fromkeys(("differing", "undeclared", "absent"))
    return facts


def as_text(inspection: Inspection) -> str:
    """For a terminal: what is wrong, then the files, the config and what is done to the modules."""
    blocks = (_headline, _wrong, _files, _config, _modules, _largest)
    return "\n\n".join(filter(None, ("\n".join(block(inspection)) for block in blocks))) + "\n"


def _headline(inspection: Inspection) -> Iterator[str]:
    facts = inspection.facts
    types = "/".join(facts.dtypes) or "no tensors"
    served = ", ".join(inspection.dtypes) or "as they are stored (say --dtype)"
    yield f"{inspection.subject}: {_count(len(facts.modules), 'module')}, rank {facts.max_rank}, {types}"
    yield f"values judged {'for ' if inspection.dtypes else ''}{served}; {_compared(facts)}"


def _compared(facts: ArtifactFacts) -> str:
    if facts.base_checked:
        return "compared with the base's shapes"
    return "not compared with a base (say --base)"


def _wrong(inspection: Inspection) -> Iterator[str]:
    seen = _facts(inspection)
    yield from (f"cannot be read: {problem}" for problem in inspection.facts.problems)
    found = [
        (text, names) for name, text in _WRONG.items() if isinstance(names := seen[name], list) and names
    ]
    config = inspection.facts.config
    if config is not None and config.unsupported:
        found.insert(0, ("fields that servers refuse or drop", list(config.unsupported)))
    for text, names in found:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"! {len(names):>4}  {text}: {', '.join(map(str, names[:_SHOWN]))}{more}"
    if not found and not inspection.facts.problems:
        yield "nothing wrong was found"


def _files(inspection: Inspection) -> Iterator[str]:
    facts = inspection.facts
    width = max((len(name) for name in facts.sizes), default=0)
    for name, size in facts.sizes.items():
        yield f"{facts.files.get(name, 'not read'):<64}  {size:>14,}  {name:<{width}}".rstrip()


def _config(inspection: Inspection) -> Iterator[str]:
    config = inspection.facts.config
    if config is None:
        return
    by = f" by PEFT {config.peft_version}" if config.peft_version else ""
    yield f"method   {config.peft_type}{by}{f' for {config.task_type}' if config.task_type else ''}"
    yield f"base     {config.base_model or 'not named'} at {config.revision or 'no revision'}"
    if not config.r:
        return
    yield f"rank     {config.r}{_patterns(config.rank_pattern)}"
    stable = ", over the root of the rank" if config.use_rslora else ""
    yield f"alpha    {config.alpha:g}{_patterns(config.alpha_pattern)}{stable}"
    yield f"targets  {_some(config.target_modules)}"
    if config.layers is not None:
        yield f"layers   {_some([str(layer) for layer in config.layers])}"


def _patterns(patterns: object) -> str:
    count = len(patterns) if hasattr(patterns, "__len__") else 0
    return f", other for {_count(count, 'pattern')}" if count else ""


def _modules(inspection: Inspection) -> Iterator[str]:
    details = inspection.facts.details
    for name in ("scale", "gain", "spectral", "frobenius", "effective_rank"):
        values = [value for detail in details if (value := getattr(detail, name)) is not None]
        if values:
            spread = f"{min(values):>9.3g} to {max(values):<9.3g} median {median(values):<9.3g}"
            yield f"{name.replace('_', ' '):<15}{spread}  {histogram(values)}".rstrip()


def histogram(values: Sequence[float]) -> str:
    """How values are spread from the least to the largest, one bar a bin; nothing if they are all alike."""
    low, high = min(values), max(values)
    if high - low <= 1e-9 * abs(high):
        return ""
    counts = [0] * _BINS
    for value in values:
        counts[min(_BINS - 1, int((value - low) / (high - low) * _BINS))] += 1
    return "".join(" " if not count else _BARS[(count * 8 - 1) // max(counts)] for count in counts)


def _largest(inspection: Inspection) -> Iterator[str]:
    """The modules that are changed most."""
    details = [detail for detail in inspection.facts.details if detail.gain is not None]
    worst = sorted(details, key=lambda detail: -(detail.gain or 0.0))[:_SHOWN]
    if not worst:
        return
    width = max(len(detail.module) for detail in worst)
    heads = "".join(f"  {name:>9}" for name in ("spectral", "frobenius", "gain"))
    yield f"{'changed most':<{width}}  rank  scale{heads}  effective rank"
    yield from (_row(detail, width) for detail in worst)


def _row(detail: ModuleFact, width: int) -> str:
    numbers = (detail.spectral, detail.frobenius, detail.gain)
    cells = "".join(f"  {number or 0.0:>9.3g}" for number in numbers)
    used = f"{detail.effective_rank or 0.0:.1f} of {detail.rank}"
    return f"{detail.module:<{width}}  {detail.rank:>4}  {detail.scale:>5.3g}{cells}  {used:>14}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more if names else "none"
