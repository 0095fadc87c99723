"""`rollout gateway`: the stand-alone gateway of one environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from rollout.core.environment import Endpoint, Environment
from rollout.errors import Usage

_DRAIN_S = 10


@click.command()
@click.option("--environment", "-e", required=True, help="Name of the environment document.")
@click.option("--name", help="Which of the environment's gateways this is.  [default: the first]")
@click.option("--host", help="Address to listen on.  [default: that of the gateway's URL]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.  [default: of the URL]"
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    show_default="working folder",
    help="Folder of the documents and of what the environment names by relative path.",
)
def command(environment: str, name: str | None, host: str | None, port: int | None, root: Path) -> int:
    """Run the stand-alone gateway.

    Gives each request for a logical model name to the stable or the candidate adapter, as the flag says, and
    records what came back. Ends on SIGTERM once the requests under way are answered, or after ten seconds.
    """
    import logging

    from rollout.wiring import gateway_app, load_environment

    # It warns of connections that a flag file never has; what is wrong with the file we say ourselves.
    logging.getLogger("ldclient").setLevel(logging.ERROR)
    root = root.resolve()
    document = load_environment(environment, root)
    url = urlsplit(_endpoint(document, name).url)
    app = gateway_app(document, root)
    return _serve(app, host or url.hostname or "127.0.0.1", url.port or 80 if port is None else port)


def _endpoint(environment: Environment, name: str | None) -> Endpoint:
    for endpoint in environment.gateways:
        if name in (None, endpoint.name):
            return endpoint
    raise Usage(f"the environment {environment.name} has no gateway {name!r}")


def _serve(app: Any, host: str, port: int) -> int:
    import signal

    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                bound = self.servers[0].sockets[0].getsockname()
                shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
                click.echo(f"ready on http://{shown}:{bound[1]}", err=True)

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_DRAIN_S,
        lifespan="on",
    )
    server = Server(config)
    # uvicorn raises the signal again once it has shut down in order; an orderly end is a success.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: None)
    server.run()
    return 0 if server.started else 4
