"""`rollout metrics`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollout.cli.options import ADAPTER, environment_option

if TYPE_CHECKING:
    from rollout.core.metric import MetricSpec

_NAMES = ("metrics-check", "metrics-check-stable", "metrics-check-candidate")
_root = click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the repository.  [default: the one around the working folder]",
)
_form = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)


class _Window(click.ParamType[timedelta]):
    """A length of time as documents write it."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        from pydantic import TypeAdapter, ValidationError

        from rollout.core.duration import Duration

        try:
            window: timedelta = TypeAdapter(Duration).validate_python(value)
        except ValidationError:
            self.fail(f"{value!r} is no length of time like 30m, 1h or 7d", param, ctx)
        if window < timedelta(seconds=1):
            self.fail("a window is a second or longer", param, ctx)
        return window


@click.group()
def command() -> None:
    """List the metrics, and ask for each of them once."""


@command.command("list")
@_root
@_form
def list_(root: Path | None, form: str) -> int:
    """List the metrics: id, kind, who is asked, stages, title."""
    from rollout import wiring
    from rollout.report import metricchecks

    found = _specs(wiring.find_root(root or Path.cwd()), None)
    render = metricchecks.list_as_json if form == "json" else metricchecks.list_as_text
    click.echo(render(found), nl=False)
    return 0


@command.command()
@click.argument("name", required=False)
@environment_option
@_root
@click.option("--adapter", type=ADAPTER, help="Ask about what this adapter is served as, by its ledger.")
@click.option("--window", type=_Window(), default="1h", show_default=True, help="How far back to ask.")
@_form
def check(
    name: str | None, environment: str, root: Path | None, adapter: str | None, window: timedelta, form: str
) -> int:
    """Ask for every metric, or for NAME, once, and show what came back for both arms.

    Without --adapter it is asked about names that nobody serves: each query is run, and finds nothing. Writes
    nothing. Exit status 0: all answered; 3: something is unreadable, or there is no metric; 4: one did not answer.
    """
    import time

    from rollout import wiring
    from rollout.report import metricchecks
    from rollout.usecases.metricscheck import check_metrics
    from rollout.wiring.metrics import metric_sources

    place = wiring.find_root(root or Path.cwd())
    document = wiring.load_environment(environment, place)
    names = _NAMES if adapter is None else _served(place, environment, adapter)
    found = check_metrics(
        metric_sources(document, place), _specs(place, name), names, window, time.perf_counter
    )
    render = metricchecks.as_json if form == "json" else metricchecks.as_text
    click.echo(render(found), nl=False)
    return metricchecks.exit_status(found)


def _specs(root: Path, name: str | None) -> list[MetricSpec]:
    from rollout import wiring

    workspace = wiring.working_folder(root)
    ids = workspace.metric_ids() if name is None else (name,)
    return [metric.value for metric in workspace.metrics(ids)]


def _served(root: Path, environment: str, adapter: str) -> tuple[str, str, str]:
    from rollout import wiring
    from rollout.core.lifecycle import fold
    from rollout.usecases.metricscheck import served_names

    world = wiring.build_world(root, environment)
    return served_names(adapter, fold(world.ledger.read(adapter)), world.environment.server.base)
