"""`rollout flag doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, site_options


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(name: str, environment: str, root: Path | None, actor: str | None, as_json: bool) -> int:
    """Check whether an adapter's flag can be trusted as a dial.

    The same checks stand before every release. Nothing is changed. Ends with 1 if anything is blocked, or could
    not be found out.
    """
    from rollout import wiring
    from rollout.core.flagcheck import why_not_ready
    from rollout.report import flags
    from rollout.wiring.flags import flag_store

    del actor  # Looking leaves no trace.
    folder = wiring.find_root(root or Path.cwd())
    document = wiring.load_environment(environment, folder)
    key = document.flag_key(name)
    found = flag_store(document, folder).checks(key)
    render = flags.checks_as_json if as_json else flags.checks_as_text
    click.echo(render(key, environment, found), nl=False)
    return 0 if why_not_ready(found) is None else 1
