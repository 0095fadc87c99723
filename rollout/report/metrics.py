"""The metrics that gates may name, as a table for people, machines, and the page beside the gate files."""

from __future__ import annotations

import json

from rollout.core.metric import Direction
from rollout.core.score import METRICS, Metric
from rollout.core.scorers.metric import Unit

SCHEMA = "adapter-rollout/metrics/v1"
_PREAMBLE = """\
# Gates

A suite (`policies/suites/<name>.yaml`) says what is asked; the gate file that it names says what the answers must be
worth. The form that is common in the field loads as it is; everything else has a strict default.

```yaml
# policies/gates/default.yaml
confidence: 0.95          # one-sided; two-sided intervals of 90 % are shown
seed: 20240               # of the bootstrap: a stored report is judged to the same bytes years later
on_inconclusive: block    # or warn, for margins that a sample does not settle
agreement: required       # a serving engine must be shown to agree with PEFT in full precision; or optional
gates:
  json_compliance: {min: 0.95, description: answers parse and match the response schema}
  exact_match:
    min: 0.9
    vs_champion: {max_loss: 0.03, confidence: 0.95}   # shown, not just observed, to lose at most 3 points
    vs_base: {max_loss: 0.01}
    slices: {min: 0.8, max_loss: 0.1}                 # in every slice and tag; smaller ones than 29 items block
  task_mmlu: {vs_base: {max_loss: 0.03}}              # general knowledge, by lm-eval
  perplexity: {max: 3, required: false}               # shown, blocks nothing
```

A margin costs items: with no changed answer at all, a loss of 5 points takes about 59 items to exclude, 3 points take
99, one point 299; the same holds for scores between 0 and 1. Perplexity, surprise and tokens have no bounds and take 20
items, or 59 where all of them changed alike. Items of one cluster count as fewer. A suite that is too small is refused
before a model is loaded, with the number that it needs. Limits are fractions: 0.05 are 5 points, and 0.5 is the largest
loss that a gate may accept. Where no required gate names a margin against the champion, right answers (`success`) may
lose 5 points. A slice fails on a loss that is proven, and on the loss of all its answers; a loss of some in a slice of
a few items is not seen, which the report says, unless a gate asks for `slices: {max_loss}`. A metric that was not
measured is `no_data`, which blocks as a failure does. `policies/evaluation.yaml` names suites that every adapter must
pass, whatever its manifest picks.

## Metrics

Written by `rollout suite metrics --format markdown`.
"""


def metrics_as_text() -> str:
    """One line a metric."""
    width = max(len(name) for name in METRICS)
    return "".join(
        f"{each.id:<{width}}  {_better(each):<6}  {_unit(each):<9}  {each.title}\n" for each in _rows()
    )


def metrics_as_json() -> str:
    """For machines."""
    rows = [
        {
            "id": each.id,
            "title": each.title,
            "unit": str(each.unit),
            "better": _better(each),
            "margins": not (each.timed or each.absolute),
        }
        for each in _rows()
    ]
    return json.dumps({"schema": SCHEMA, "metrics": rows}, indent=2, ensure_ascii=False) + "\n"


def metrics_as_page() -> str:
    """The page `policies/gates/README.md`."""
    head = "| metric | what it is | unit | better | margins |\n|---|---|---|---|---|\n"
    rows = "".join(
        f"| `{each.id}` | {each.title} | {_unit(each)} | {_better(each)} | "
        f"{'no' if each.timed or each.absolute else 'yes'} |\n"
        for each in _rows()
    )
    return f"{_PREAMBLE}\n{head}{rows}"


def _rows() -> list[Metric]:
    families = [
        Metric(
            id=name,
            title=title,
            unit=Unit.SHARE,
            direction=Direction.HIGHER,
        )
        for name, title in (
            ("exact_match_<field>", "exact match of one field of the suite"),
            ("task_<name>", "right answers in a task of lm-eval"),
        )
    ]
    return [*METRICS.values(), *families]


def _better(metric: Metric) -> str:
    return "more" if metric.direction is Direction.HIGHER else "less"


def _unit(metric: Metric) -> str:
    return "fraction" if metric.unit is Unit.SHARE else str(metric.unit)
