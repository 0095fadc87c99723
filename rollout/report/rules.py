"""Rules and the trials of their examples, as text, JSON, and the book of all rules in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import click

from rollout.core.builtin import BUILT_IN
from rollout.core.document import Located
from rollout.core.policy import CheckedAt, Rule
from rollout.core.ruletest import Kind, Trial
from rollout.report.recipe import recipe

RULES_SCHEMA = "adapter-rollout/rules/v1"
TRIALS_SCHEMA = "adapter-rollout/rule-trials/v1"

_WHEN = {CheckedAt.PULL_REQUEST: "pull request", CheckedAt.RELEASE: "release"}


def as_text(rules: Sequence[Rule], modules: Sequence[str] = ()) -> str:
    """One line a rule, and one a module in Rego."""
    width = max(len(rule.id) for rule in rules)
    lines = [
        f"{rule.id:<{width}}  {rule.severity.value:<5}  {_WHEN[rule.stage]:<12}  {rule.title}"
        for rule in rules
    ]
    lines += [f"{module}: all its `deny`, `violation` and `warn`" for module in modules]
    count = f"{len(rules)} rules" + (f" and {_number(len(modules), 'module')} in Rego" if modules else "")
    return "\n".join([*lines, f"{count}; `rollout policy explain ID` says more of one"]) + "\n"


def as_json(rules: Sequence[Rule], modules: Sequence[str] = ()) -> str:
    """For machines."""
    data = [{**rule.model_dump(mode="json", by_alias=True), "docs": rule.anchor} for rule in rules]
    return (
        json.dumps(
            {"schema": RULES_SCHEMA, "rules": data, "rego": list(modules)}, indent=2, ensure_ascii=False
        )
        + "\n"
    )


def as_book(rules: Sequence[Rule]) -> str:
    """All rules for reading, a heading each: what findings link to."""
    return "\n".join([*_preface(rules), *(line for rule in rules for line in _chapter(rule))]).rstrip() + "\n"


def _preface(rules: Sequence[Rule]) -> Iterator[str]:
    yield "# The rules"
    yield ""
    yield "Written by `rollout policy list --format markdown`, from the rules themselves: write it anew when one changes."
    yield ""
    yield "| rule | | checked at | |"
    yield "|---|---|---|---|"
    for rule in rules:
        yield f"| [{rule.id}](#{rule.id}) | {rule.severity.value} | {_WHEN[rule.stage]} | {rule.title} |"
    yield from ("", *recipe(), "## Findings that need no rule", "")
    yield from (f"- `{name}`: {text}" for name, text in BUILT_IN.items())
    yield ""


def _chapter(rule: Rule) -> Iterator[str]:
    notes = [f"{rule.severity.value}s", f"checked at {_WHEN[rule.stage]}", f"since {rule.since}"]
    notes += ["not asked of a revert"] if rule.exempt_reverts else []
    notes += [f"asked after {', '.join(f'[{each}](#{each})' for each in rule.after)}"] if rule.after else []
    yield f"## {rule.id}"
    yield ""
    yield f"**{rule.title}.** ({'; '.join(notes)})"
    yield ""
    yield rule.why
    yield ""
    yield "```cel"
    yield rule.test
    yield "```"
    yield ""
    yield f"What to do: {rule.remediation}"
    yield ""


def explained(rule: Located[Rule], examples: Sequence[tuple[Kind, str, str]]) -> str:
    """One rule for a person whose change it stopped. `examples` are (kind, path, text)."""
    value = rule.value
    lines = [
        click.style(f"{value.id}: {value.title}", bold=True),
        f"  {value.severity.value}s, checked at {_WHEN[value.stage]}, since {value.since}; {rule.source}",
        "",
        f"Why        {value.why}",
        f"In order   {value.test}",
        f"Message    {value.message}",
        f"What to do {value.remediation}",
    ]
    lines += ["Reverts    content that was released before passes without it"] if value.exempt_reverts else []
    lines += [f"Left out   where {', '.join(value.after)} blocks already"] if value.after else []
    lines += [f"Needs      {', '.join(need.value for need in value.needs)}"] if value.needs else []
    for kind, path, text in examples:
        lines += ["", f"{kind.value}: {path}", *(f"  {line}" for line in _without_comments(text))]
    return "\n".join(lines) + "\n"


def explained_module(path: str, text: str) -> str:
    """A module in Rego, comments and all: it explains itself."""
    head = click.style(f"{path}: a module in Rego", bold=True)
    return f"{head}\n  evaluated beside the rules; `deny` and `violation` block, `warn` warns\n\n{text.rstrip()}\n"


def _without_comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def trials_as_text(trials: Sequence[Trial]) -> str:
    """What failed, and how many were run."""
    failed = [trial for trial in trials if trial.complaint]
    lines = [
        click.style(f"error: {trial.rule or 'example.yaml'}: {trial.what}", fg="red")
        + f"\n  {trial.complaint}"
        for trial in failed
    ]
    rules = len({trial.rule for trial in trials if trial.rule})
    count = f"{_number(rules, 'rule')}, {_number(len(trials), 'trial')}"
    return "\n".join([*lines, f"{count}: {len(failed) or 'none'} failed"]) + "\n"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def trials_as_json(trials: Sequence[Trial]) -> str:
    """For machines."""
    data = [{"rule": each.rule, "what": each.what, "complaint": each.complaint} for each in trials]
    return json.dumps({"schema": TRIALS_SCHEMA, "trials": data}, indent=2, ensure_ascii=False) + "\n"
