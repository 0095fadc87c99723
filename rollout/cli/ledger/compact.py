"""`rollout ledger compact`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, site_options


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
def command(name: str, environment: str, root: Path | None, actor: str | None) -> int:
    """Put one anchor in the place of a long history, and archive that.

    Only while nothing is under way. The anchor holds what the history had led to, the hash of its last entry, and
    the digest of the archive in the evidence: `rollout ledger verify -e ENV --archive` follows it.
    """
    from rollout import wiring
    from rollout.integrations.clock import SystemClock
    from rollout.usecases.compact import compact
    from rollout.wiring.ledgers import open_evidence, open_ledger

    folder = wiring.find_root(root or Path.cwd())
    document = wiring.load_environment(environment, folder)
    entry = compact(
        name,
        ledger=open_ledger(document, folder),
        evidence=open_evidence(document, folder),
        clock=SystemClock(),
        signature=wiring.build_signature(environment, actor),
    )
    if entry is None:
        click.echo(f"the history of {name} is as short as it can be")
    else:
        click.echo(f"{entry.seq} entries of {name} are archived as {getattr(entry.event, 'archive', '')}")
    return 0
