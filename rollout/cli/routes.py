"""`rollout routes`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollout.cli.options import environment_option
from rollout.errors import Usage

if TYPE_CHECKING:
    from rollout.core.environment import Environment
    from rollout.core.routes import Routes
    from rollout.core.split import Split

_FORMATS = ("inference-model-rewrite", "envoy-ai-gateway", "litellm")


def _site(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--root",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Folder of the repository.  [default: the one around the working folder]",
        ),
        environment_option,
    ):
        command = option(command)
    return command


@click.group()
def command() -> None:
    """Show the routes in force, or render them for another gateway."""


@command.command()
@_site
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def show(environment: str, root: Path | None, as_json: bool) -> int:
    """Show where each logical name goes, and what its flag makes of that now."""
    from rollout.report.routes import table

    _, routes, splits = _present(environment, root)
    render = table.as_json if as_json else table.as_text
    click.echo(render(routes, splits), nl=False)
    return 0


@command.command()
@_site
@click.option("--format", "form", type=click.Choice(_FORMATS), required=True, help="Whose form.")
@click.option("--namespace", help="Namespace of the objects.  [default: none is written]")
@click.option("--pool", help="The InferencePool, for inference-model-rewrite.")
@click.option(
    "--group",
    type=click.Choice(["llm-d.ai", "inference.networking.x-k8s.io"]),
    default="llm-d.ai",
    show_default=True,
    help="API group, for inference-model-rewrite; the other one is the older.",
)
@click.option("--gateway", help="The Gateway, for envoy-ai-gateway.")
@click.option("--backend", help="The AIServiceBackend over all replicas, for envoy-ai-gateway.")
def render(
    environment: str,
    root: Path | None,
    form: str,
    namespace: str | None,
    pool: str | None,
    group: str,
    gateway: str | None,
    backend: str | None,
) -> int:
    """Write the routes in the form of another gateway, with the flags' present shares.

    What that gateway does not keep of our promises stands at the head of the file and on standard error.
    """
    from rollout.report.routes import envoyaigateway, inferencemodelrewrite, litellm
    from rollout.report.routes.losses import commented
    from rollout.wiring.routes import as_yaml

    document, routes, splits = _present(environment, root)
    match form:
        case "inference-model-rewrite":
            objects = inferencemodelrewrite.render(
                splits, group=group, pool=_needed(form, pool=pool), namespace=namespace
            )
            title, lost = inferencemodelrewrite.TITLE, inferencemodelrewrite.LOST
        case "envoy-ai-gateway":
            objects = envoyaigateway.render(
                splits,
                gateway=_needed(form, gateway=gateway),
                backend=_needed(form, backend=backend),
                namespace=namespace,
                timeout_s=document.gateway.read_timeout_s,
            )
            title, lost = envoyaigateway.TITLE, envoyaigateway.LOST
        case _:
            objects = [litellm.render(splits, document)]
            title, lost = litellm.TITLE, litellm.LOST
    text = as_yaml(objects)
    click.echo(commented(text, title=title, revision=routes.revision, splits=splits, lost=lost), nl=False)
    click.echo(f"note: {title} does not keep all that our own gateway keeps:", err=True)
    for each in lost:
        click.echo(f"  - {each}", err=True)
    return 0


def _present(environment: str, root: Path | None) -> tuple[Environment, Routes, tuple[Split, ...]]:
    from rollout import wiring
    from rollout.wiring.routes import present_splits

    folder = wiring.find_root(root or Path.cwd())
    document = wiring.load_environment(environment, folder)
    return document, *present_splits(document, folder)


def _needed(form: str, **option: str | None) -> str:
    ((name, value),) = option.items()
    if not value:
        raise Usage(f"--format {form} needs --{name}")
    return value
