"""`rollout policy`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rollout.usecases.workspace import Workspace

_root = click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the repository.  [default: the one around the working folder]",
)


@click.group()
def command() -> None:
    """List, explain and test the policy rules."""


@command.command("list")
@_root
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True
)
def list_(root: Path | None, form: str) -> int:
    """List the rules: id, severity, when they are checked, title; and the modules in policies/rego.

    `--format markdown` is the book of all rules, as it lies in policies/README.md.
    """
    from rollout.report import rules

    workspace = _workspace(root)
    found = workspace.rules()
    if form == "markdown":
        click.echo(rules.as_book(found), nl=False)
        return 0
    render = rules.as_json if form == "json" else rules.as_text
    click.echo(render(found, [str(path) for path in workspace.rego_paths()]), nl=False)
    return 0


@command.command()
@click.argument("rule")
@_root
def explain(rule: str, root: Path | None) -> int:
    """Say what a RULE asks, why, and what to do if it finds something; show its examples.

    Of a finding of a module in Rego (rego/FILE/RULE), show the module.
    """
    from rollout.report import rules
    from rollout.usecases.policies import examples_of, find_module, find_rule

    workspace = _workspace(root)
    if rule.startswith("rego/"):
        module = find_module(workspace, rule)
        text = workspace.tree.read(module).decode(errors="replace")
        click.echo(rules.explained_module(str(module), text), nl=False)
        return 0
    found = find_rule(workspace, rule)
    examples = [
        (kind, str(path), workspace.tree.read(path).decode(errors="replace"))
        for kind, path in examples_of(workspace, rule)
    ]
    click.echo(rules.explained(found, examples), nl=False)
    return 0


@command.command()
@_root
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def test(root: Path | None, form: str) -> int:
    """Run the examples of every rule.

    An allowed example must pass its rule; a denied one must trip it and no other; and with the rule's test
    negated, an example must notice. Exit status 0: all do; 1: some do not; 3: something is unreadable.
    """
    from rollout.integrations.cel import evaluator
    from rollout.report import rules
    from rollout.usecases.policies import run_examples

    trials = run_examples(_workspace(root), evaluator)
    render = rules.trials_as_json if form == "json" else rules.trials_as_text
    click.echo(render(trials), nl=False)
    return int(any(trial.complaint for trial in trials))


def _workspace(root: Path | None) -> Workspace:
    from rollout import wiring

    return wiring.working_folder(wiring.find_root(root or Path.cwd()))
