"""`rollout ledger verify`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, output_options, site_options


@click.command()
@click.argument("names", nargs=-1, type=ADAPTER)
@site_options
@output_options
@click.option("--archive", is_flag=True, help="Also what anchors stand for, from the evidence.")
def command(
    names: tuple[str, ...], environment: str, root: Path | None, actor: str | None, form: str, archive: bool
) -> int:
    """Check that ledgers are whole: chain, signatures and archives.

    Without NAMES, all of the environment, and what lies among them that is none. Nothing is changed. Ends with 5 if
    one is not in order, and names the first place that is not; with 3 where there is none.
    """
    from rollout import wiring
    from rollout.report import ledgers
    from rollout.usecases.ledgercheck import check_ledgers
    from rollout.wiring.ledgers import open_evidence, open_ledger

    del actor  # Looking leaves no trace.
    folder = wiring.find_root(root or Path.cwd())
    document = wiring.load_environment(environment, folder)
    ledger = open_ledger(document, folder)
    evidence = open_evidence(document, folder) if archive else None
    found = check_ledgers(ledger, names, evidence=evidence)
    click.echo(ledgers.render_checks(found, form), nl=False)
    return 5 if any(each.problem for each in found) else 0
