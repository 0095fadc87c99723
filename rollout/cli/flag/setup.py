"""`rollout flag setup`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rollout.cli.options import ADAPTER, site_options

if TYPE_CHECKING:
    from rollout.core.environment import Environment


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@click.option("--dry-run", is_flag=True, help="Print only; make nothing, and need no token.")
def command(name: str, environment: str, root: Path | None, actor: str | None, dry_run: bool) -> int:
    """Make an adapter's flag, off and stable, and print what keeps it so.

    A flag that is there is left as it is. At LaunchDarkly, that is a Terraform resource which leaves the dial
    alone, and the least custom roles for the tokens. `rollout flag doctor` then checks it all.
    """
    from rollout import wiring
    from rollout.wiring.flags import flag_store

    folder = wiring.find_root(root or Path.cwd())
    document = wiring.load_environment(environment, folder)
    key = document.flag_key(name)
    if dry_run:
        click.echo(
            f"{key}: not looked for; it would be made, off and stable, in {document.flags.kind} flags if it is not there",
            err=True,
        )
    else:
        by = wiring.build_signature(environment, actor).actor
        state = flag_store(document, folder).create(key, by=by)
        turned = "on" if state.on else "off"
        click.echo(f"{key}: {turned} at {state.share}, version {state.version}", err=True)
    _print_keeping(document, key, there=not dry_run)
    verb = "setup" if dry_run else "doctor"
    click.echo(f"next: rollout flag {verb} {name} -e {environment}", err=True)
    return 0


def _print_keeping(document: Environment, key: str, *, there: bool) -> None:
    from rollout.core.environment import LaunchDarklyFlags

    if isinstance(document.flags, LaunchDarklyFlags):
        from rollout.integrations.launchdarkly.setup import roles_text, terraform

        click.echo("# Terraform (provider launchdarkly/launchdarkly)\n")
        click.echo(terraform(document.flags, key, there=there))
        click.echo("# The least custom roles, as POST /api/v2/roles takes them\n")
        click.echo(roles_text(document.flags))
