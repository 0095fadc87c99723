"""`rollout hold`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, site_options


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@click.option("--reason", help="Why; for whoever looks at the gateways next.")
@click.option(
    "--served", help="Served name of the adapter.  [default: the candidate in the gateways' routes]"
)
@click.option("--lift", "lifting", is_flag=True, help="Let the adapter of --served have requests again.")
def command(
    name: str,
    environment: str,
    root: Path | None,
    actor: str | None,
    reason: str | None,
    served: str | None,
    lifting: bool,
) -> int:
    """Send all traffic of an adapter's candidate to stable, at all gateways at once.

    Needs nothing but the gateways and their token: neither flag, ledger, git nor metrics. It ends no release:
    `rollout rollback` takes the adapter back for good. Ends with 4 if a gateway did not do it.
    """
    from rollout import wiring
    from rollout.errors import Usage
    from rollout.usecases.hold import hold, lift
    from rollout.wiring.worlds import gateway_clients

    document = wiring.load_environment(environment, wiring.find_root(root or Path.cwd()))
    gateways = gateway_clients(document)
    if lifting:
        if served is None:
            raise Usage(
                "--lift needs --served", advice=f"`rollout routes show -e {environment}` names the candidate."
            )
        found = lift(gateways, served)
    else:
        if not reason:
            raise Usage("a hold needs --reason")
        by = wiring.build_signature(environment, actor).actor
        found = hold(gateways, name, by=by, reason=reason, served=served)
    for each in found:
        verb = "lifted" if lifting else "held"
        said = f"{verb} {each.served}" if each.complaint is None else each.complaint
        click.echo(f"{each.gateway}: {said}", err=each.complaint is not None)
    if not lifting:
        click.echo(f"next: rollout rollback {name} -e {environment} --reason ...", err=True)
    return 0 if found and all(each.complaint is None for each in found) else 4
