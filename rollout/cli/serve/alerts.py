"""`rollout serve alerts`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rollout.cli.options import environment_option
from rollout.errors import Unreadable, Usage

_FILE = click.Path(dir_okay=False, path_type=Path)
_LEAST_SECRET = 16
_CONNECTIONS = 64


@click.command()
@environment_option
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", default=8095, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@click.option("--tls-cert", type=_FILE, help="Certificate of this server (PEM), with those it is signed by.")
@click.option("--tls-key", type=_FILE, help="Its key (PEM).")
@click.option(
    "--client-ca", type=_FILE, help="Who signs the certificates that senders of alerts must have (PEM)."
)
@click.option("--actor", default="alertmanager", show_default=True, help="Who acts, for the ledger.")
@click.option(
    "--drain",
    type=click.IntRange(min=1),
    default=120,
    show_default=True,
    help="Seconds after SIGTERM for rollbacks under way; a second signal does not wait.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the repository.  [default: the one around the working folder]",
)
def command(
    environment: str,
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    client_ca: Path | None,
    actor: str,
    drain: int,
    root: Path | None,
) -> int:
    """Take alerts from Alertmanager, and take back what they name.

    POST /alerts takes the body of a webhook, does what `rollout rollback --from-alert FILE -e ENV` does, and is answered
    once that is done. Whoever sends has to know the secret in the variable that the environment names
    (`alerts.token_env`), as a bearer token or as the password of basic authentication, or to have a certificate that
    --client-ca has signed.
    """
    from functools import partial

    from rollout import wiring
    from rollout.bearer import token_from
    from rollout.gateway.connection import Connection, Patience
    from rollout.gateway.listener import bound
    from rollout.server.run import run

    place = wiring.find_root(root or Path.cwd())
    alerted = wiring.alerted(place, environment, actor)
    variable = alerted.environment.alerts.token_env
    token = token_from(variable)
    if token is not None and len(token) < _LEAST_SECRET:
        raise Usage(f"{variable} holds fewer than {_LEAST_SECRET} characters, which can be guessed")
    tls = _tls(tls_cert, tls_key, client_ca)
    if token is None and client_ca is None:
        raise Usage(
            "nothing would keep anybody from taking adapters back here",
            advice=f"Set {variable} to a secret, or demand certificates with --client-ca, --tls-cert and --tls-key.",
        )
    bound(host, port).close()  # what uvicorn would say of a port that is taken helps nobody
    _log_to_standard_error()
    app = wiring.alert_receiver(alerted, token)
    http = partial(Connection, patience=Patience(connections=_CONNECTIONS))
    ready = run(app, host=host, port=port, grace_s=drain, http=http, ws="none", proxy_headers=False, **tls)
    return 0 if ready else 4


def _tls(cert: Path | None, key: Path | None, client_ca: Path | None) -> dict[str, Any]:
    """Settings of uvicorn. Raises Usage, and Unreadable for what is no certificate, or no key of it."""
    import ssl

    if (cert is None) != (key is None):
        raise Usage("--tls-cert and --tls-key belong together")
    if cert is None or key is None:
        if client_ca is not None:
            raise Usage("--client-ca needs --tls-cert and --tls-key: without TLS nobody shows a certificate")
        return {}
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key, password=lambda: b"")
        if client_ca is not None:
            context.load_verify_locations(client_ca)
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise Unreadable(f"the certificate, its key or --client-ca cannot be used: {why}") from None
    found: dict[str, Any] = {"ssl_certfile": str(cert), "ssl_keyfile": str(key)}
    if client_ca is not None:
        found |= {"ssl_ca_certs": str(client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return found


def _log_to_standard_error() -> None:
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("rollout.receiver")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
