"""What the author of a rule needs: the fields of its document, its examples, and what its expression may ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic.fields import FieldInfo

from rollout.core.policy import INPUTS, RULE_SCHEMA, Rule

_EXAMPLE = f"""\
```yaml
# policies/rules/rank-is-small/rule.yaml
schema: {RULE_SCHEMA}
id: rank-is-small # the name of the folder
title: The rank is at most 16
severity: warn
since: 1.0.0
why: Our servers hold four adapters of rank 16.
test: artifact.max_rank <= 16
message: the largest rank is {{artifact.max_rank}}; at most 16 is usual here
remediation: Train with a smaller rank, or ask for a waiver.
pointer: /artifact/rank
needs: [artifact]
```

```yaml
# policies/rules/rank-is-small/denied/larger.yaml, and likewise allowed/NAME.yaml
set:
  /artifact/max_rank: 32
```"""


def recipe() -> Iterator[str]:
    """How to write a rule, as lines of Markdown."""
    yield from ("## Write a rule of your own", "", *_EXAMPLE.splitlines(), "")
    yield (
        "An example is a change of `policies/rules/example.yaml`, complete inputs that are all in order: `set:` holds "
        "other values by JSON pointer. An `allowed` one must pass the rule; a `denied` one must trip it and no other; a "
        "rule has at least one of each. `rollout policy test` runs them, and checks that one of them notices if the "
        "test is negated. `rollout policy list --format markdown > policies/README.md` writes this page anew."
    )
    yield from ("", "| field of rule.yaml | | |", "|---|---|---|")
    for name, field in Rule.model_fields.items():
        yield f"| `{field.alias or name}` | {_default(field)} | {_cell(field.description or '')} |"
    yield from ("", "## What a rule may ask", "", "| input | holds |", "|---|---|")
    yield from (f"| `{name}` | {_cell(text)} |" for name, text in INPUTS.items())
    yield from ("", "Their fields:", "")
    yield from (f"- `{name}`: {', '.join(f'`{each}`' for each in names)}" for name, names in fields().items())
    yield ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default()
    shown = {(): "[]", None: "null"}.get(default, default)
    return f"default {str(shown).lower() if isinstance(shown, bool) else shown}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def fields() -> Mapping[str, tuple[str, ...]]:
    """The fields of the inputs that are no documents, as expressions name them."""
    # Asked of the models themselves, so that a field that comes or goes is here as well.
    from rollout.core.adapterconfig import read_config
    from rollout.core.artifact import ArtifactFacts
    from rollout.core.change import ChangeKind, ManifestChange
    from rollout.core.environment import ServerLimits

    config = read_config({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]})
    artifact = ArtifactFacts(config=config).as_input({})
    change = ManifestChange(kind=ChangeKind.NONE, bytes_changed=False, revert=False).as_input()
    plan = _plan()
    return {
        "artifact": tuple(artifact),
        "artifact.config": _names(artifact["config"]),
        "change": tuple(change),
        "serving[]": ("environment", "stage", *ServerLimits.model_fields),
        "plan": tuple(plan),
        "plan.shadow": _names(plan["shadow"]),
        "plan.ring": _names(plan["ring"]),
        "plan.steps[]": _names(plan["steps"]),
    }


def _plan() -> Mapping[str, object]:
    from rollout.core.plan import PLAN_SCHEMA, Plan

    written = {
        "schema": PLAN_SCHEMA,
        "name": "any",
        "shadow": {"duration": "1h", "pairs": 1, "sample": "1%"},
        "steps": [
            {"ring": ["anyone"], "bake": "1h", "min_samples": 1, "requires": "no_harm"},
            {"share": "50%", "bake": "1h", "min_samples": 1},
            {"share": "100%", "bake": "1h", "min_samples": 1},
        ],
        "rollback_window": "1d",
        "deadline": "1d",
        "on_inconclusive": "hold",
        "on_new_version": "queue",
        "alpha": 0.01,
        "alpha_advance": 0.05,
        "metrics": ["errors"],
    }
    return Plan.model_validate(written).as_input()


def _names(value: object) -> tuple[str, ...]:
    first = value[0] if isinstance(value, list) else value
    return tuple(map(str, first)) if isinstance(first, Mapping) else ()
