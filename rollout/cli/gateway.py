"""`rollout gateway`: the stand-alone gateway of one environment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from rollout.cli.options import environment_option
from rollout.core.environment import Endpoint, Environment
from rollout.errors import Usage

if TYPE_CHECKING:
    import socket

_PORT = click.IntRange(0, 65535)
_OF_ITS_OWN = 256


@click.command()
@environment_option
@click.option("--name", help="Which of the environment's gateways this is.  [default: the first]")
@click.option("--host", help="Address to listen on.  [default: that of the gateway's URL]")
@click.option("--port", type=_PORT, help="Port; 0 takes a free one.  [default: of the URL]")
@click.option(
    "--admin-host", help="Address of the gateway's own pages, if they have a port.  [default: 127.0.0.1]"
)
@click.option(
    "--admin-port",
    type=_PORT,
    help="Port of the gateway's own pages (/rollout/..., /metrics), which then are on no other. The environment "
    "must name it as the gateway's URL, so that ticks find them; --port is needed then.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(min=1),
    help="Connections of clients at a time; more are answered 429.  [default: what the limit of open files allows]",
)
@click.option(
    "--header-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds for the head of a request; a connection that does not deliver it is closed.",
)
@click.option(
    "--drain-delay",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Seconds after SIGTERM in which /health answers 503 and requests are still taken, for load balancers.",
)
@click.option(
    "--drain-timeout",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    help="Seconds that requests under way get after that, before they are broken off.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    show_default="working folder",
    help="Folder of the documents and of what the environment names by relative path.",
)
def command(
    environment: str,
    name: str | None,
    host: str | None,
    port: int | None,
    admin_host: str | None,
    admin_port: int | None,
    max_connections: int | None,
    header_timeout: float,
    drain_delay: float,
    drain_timeout: int,
    root: Path,
) -> int:
    """Run the stand-alone gateway.

    Gives each request for a logical model name to the stable or the candidate adapter, as the flag says, and
    records what came back. The environment's `replicas` may change while it runs; everything else needs a restart.

    Ends on SIGTERM once the requests under way are answered; a second signal skips --drain-delay, a third one
    breaks off what is under way.
    """
    import asyncio
    import logging

    import uvloop

    from rollout.gateway.connection import Patience
    from rollout.gateway.listener import Drain, bound, raise_file_limit, serve
    from rollout.wiring import gateway_app, load_environment

    # It warns of connections that a flag file never has; what is wrong with the file we say ourselves.
    logging.getLogger("ldclient").setLevel(logging.ERROR)
    root = root.resolve()
    document = load_environment(environment, root)
    url = urlsplit(_endpoint(document, name).url)
    if admin_port is None and admin_host is not None:
        raise Usage("--admin-host needs --admin-port")
    if admin_port is not None and port is None:
        raise Usage(
            "--admin-port needs --port: the environment's URL is that of the gateway's own pages then"
        )
    main = bound(host or url.hostname or "127.0.0.1", url.port or 80 if port is None else port)
    pages = None if admin_port is None else bound(admin_host or "127.0.0.1", admin_port)
    connections = _connections(raise_file_limit(), document)
    patience = Patience(connections=max_connections or connections, head_s=header_timeout)

    def ready() -> None:
        click.echo(f"ready on {_shown(main)}", err=True)
        if pages is not None:
            click.echo(f"own pages on {_shown(pages)}", err=True)

    app = gateway_app(document, root, name=name)
    drain = Drain(delay_s=drain_delay, timeout_s=drain_timeout)
    serving = serve(app, main, pages, patience=patience, drain=drain, on_ready=ready)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)
    return 0


def _endpoint(environment: Environment, name: str | None) -> Endpoint:
    for endpoint in environment.gateways:
        if name in (None, endpoint.name):
            return endpoint
    raise Usage(f"the environment {environment.name} has no gateway {name!r}")


def _connections(files: int, environment: Environment) -> int:
    """How many clients the open files allow: every request under way has a connection to a replica too."""
    settings = environment.gateway
    return max(_OF_ITS_OWN, files - settings.max_in_flight - settings.mirror.concurrency - _OF_ITS_OWN)


def _shown(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
