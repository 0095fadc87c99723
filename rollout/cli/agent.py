"""`rollout agent`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from rollout.cli.options import environment_option
from rollout.errors import Usage

if TYPE_CHECKING:
    from rollout.core.environment import Environment, ReplicaEndpoint


@click.command()
@environment_option
@click.option(
    "--replica", help="Beside which of the environment's replicas.  [default: the only one with an agent]"
)
@click.option("--host", help="Address to listen on.  [default: that of the agent's URL]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.  [default: of the URL]"
)
@click.option(
    "--drain",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds that an adapter stays loaded which no route names and nobody delivered since.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    show_default="working folder",
    help="Folder of the documents and of what the environment names by relative path.",
)
def command(
    environment: str, replica: str | None, host: str | None, port: int | None, drain: float, root: Path
) -> int:
    """Run the agent beside one server.

    Fetches adapters that ticks deliver, verifies them, lays them down read-only and loads them; keeps loaded what
    the routes name, so that a server that was restarted gets its adapters back before /ready says 200.
    """
    from rollout.server.run import run
    from rollout.wiring import load_environment
    from rollout.wiring.delivery import agent_app

    root = root.resolve()
    document = load_environment(environment, root)
    endpoint = _endpoint(document, replica)
    url = urlsplit(endpoint.agent or "")
    app = agent_app(document, endpoint, root, drain_s=drain)
    found = url.port or 80 if port is None else port
    return 0 if run(app, host=host or url.hostname or "127.0.0.1", port=found) else 4


def _endpoint(environment: Environment, name: str | None) -> ReplicaEndpoint:
    found = [each for each in environment.replicas if each.agent and name in (None, each.name)]
    if len(found) == 1:
        return found[0]
    if name is None and found:
        raise Usage(f"{environment.name} has {len(found)} agents", advice="Choose one with --replica.")
    raise Usage(
        f"the environment {environment.name} names no agent" + (f" of a replica {name!r}" if name else ""),
        advice="Set `agent` of the replica to the URL that ticks will reach it under.",
    )
