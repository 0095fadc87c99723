"""`rollout flag serve`."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rollout.flagserver.app import FlagServerSettings


@click.command()
@click.option(
    "--flags",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The flag file; made if there is none.",
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", default=8030, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@click.option("--project", default="default", show_default=True, help="Key of the project.")
@click.option("--environment", default="production", show_default=True, help="Key of the environment.")
@click.option(
    "--tokens",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the tokens that are made.  [default: beside the flag file, .tokens]",
)
@click.option(
    "--faults", is_flag=True, help="Let /faults make things go wrong, to try out what depends on this."
)
def command(
    *,
    path: Path,
    host: str,
    port: int,
    project: str,
    environment: str,
    tokens: Path | None,
    faults: bool,
) -> int:
    """Run a local LaunchDarkly over a flag file.

    REST, stream, polling and events on one port, for one project and one environment. The access tokens are what
    LD_ACCESS_TOKEN, LD_ROLLBACK_TOKEN (may bypass approvals) and LD_READER_TOKEN (may only read) hold, the SDK key
    what LD_SDK_KEY holds. Those that are not set are made, and kept in a file that only its owner may read.
    """
    from rollout.flagserver.app import FlagServerSettings

    settings = FlagServerSettings(path=path, project=project, environment=environment, faults=faults)
    with _only_server(path):
        _check_port(host, port)
        return _serve(settings, host, port, tokens or path.with_name(f"{path.name}.tokens"))


def _serve(settings: FlagServerSettings, host: str, port: int, kept: Path) -> int:
    from rollout.flagserver.app import FlagServer
    from rollout.flagserver.tokens import tokens_of
    from rollout.server.run import run

    found = tokens_of(kept)
    server = FlagServer(settings, found.access)
    server.open()
    said = f"# Tokens: `. {kept}` sets those that were made here." if found.kept else "# Tokens: as set."

    def ready(url: str) -> None:
        click.echo(f"{said}\n{_block(settings, url)}")

    app = server.application()
    return 0 if run(app, host=host, port=port, ready=ready, leaving=server.leave) else 4


@contextmanager
def _only_server(path: Path) -> Iterator[None]:
    """Be the only server of the file. The lock is another than that of the file's writers, who come and go."""
    from rollout.durable import exclusive
    from rollout.errors import Busy, Unreadable

    target = Path(os.path.realpath(path))
    if target.parent.exists() and not target.parent.is_dir():
        raise Unreadable(f"{path} cannot be read: {target.parent} is no folder")
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(target.with_name(f"{target.name}.server"), wait_s=0))
        except Busy as error:
            raise Busy(
                f"another `rollout flag serve` is running on {path}",
                advice="Use that one, stop it first, or name another file by --flags.",
            ) from error
        yield


def _check_port(host: str, port: int) -> None:
    """Raise Unavailable if nothing can listen there, in words that say what to do."""
    from rollout.errors import Unavailable

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the server will: a port that was just given back is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise Unavailable(
            f"cannot listen on {host}, port {port}: {error.strerror}",
            advice="Name another port by --port; --port 0 takes any free one.",
        ) from error


def _block(settings: FlagServerSettings, url: str) -> str:
    """What an environment document says to use this server."""
    return "\n".join(
        [
            "flags:",
            "  kind: launchdarkly",
            f"  project: {settings.project}",
            f"  environment: {settings.environment}",
            f"  api: {url}",
            f"  stream: {url}",
            f"  events: {url}",
            "  rollback_token_env: LD_ROLLBACK_TOKEN",
        ]
    )
