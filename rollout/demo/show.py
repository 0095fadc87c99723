"""The demo as it is seen: the journey, its timeline, and its claims with what was found."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import time
from pathlib import Path

import click

from rollout.demo.claims import Claim, check_claims
from rollout.demo.journey import Journey
from rollout.demo.scratch import ENVIRONMENT, NAME
from rollout.demo.timeline import timeline
from rollout.errors import RolloutError, Usage
from rollout.wiring import build_world

_NEEDED = ("torch", "transformers", "peft")


def show(folder: Path | None, *, seed: int) -> int:
    """Run it; the answer is the exit status, 1 if a claim is false."""
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise Usage(
            f"the demo needs {', '.join(missing)}",
            advice="Install the extra: pip install 'adapter-rollout[local]'.",
        )
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Usage(f"{folder} is not empty")
    place = (folder or Path(tempfile.mkdtemp(prefix="rollout-demo-"))).resolve()
    began = time.monotonic()
    try:
        failed = _run(Journey(place, seed=seed), began)
    except BaseException as error:
        if isinstance(error, RolloutError):
            error.advice = error.advice or f"Logs and state are kept in {place}."
        raise
    if folder is None and not failed:
        shutil.rmtree(place, ignore_errors=True)
    elif failed:
        click.echo(f"logs and state are kept in {place}")
    return int(failed)


def _run(journey: Journey, began: float) -> bool:
    journey.run()
    click.secho("\nThe timeline, from the ledger", bold=True, fg="cyan")
    ledger = build_world(journey.repository.root, ENVIRONMENT).ledger
    for line in timeline(ledger.read(NAME)):
        click.echo(line)
    _tell_the_rollback(journey)
    click.secho(
        "\nThe claims, checked against flag, ledger, git, gateway log and users", bold=True, fg="cyan"
    )
    claims = check_claims(journey)
    for claim in claims:
        _tell(claim)
    false = [claim for claim in claims if not claim.holds]
    seconds = time.monotonic() - began
    verdict = f"{len(false)} of {len(claims)} claims are false" if false else f"all {len(claims)} claims hold"
    click.secho(f"\n{verdict}; {seconds:.0f} s", bold=True, fg="red" if false else "green")
    return bool(false)


def _tell(claim: Claim) -> None:
    mark = click.style("true ", fg="green") if claim.holds else click.style("FALSE", fg="red", bold=True)
    click.echo(f"  {mark}  {claim.text}")
    click.echo(click.style(f"         {claim.found}", dim=True))


def _tell_the_rollback(journey: Journey) -> None:
    """The parts of the manual rollback that must not be mixed: process start, routing, finishing answers."""
    from rollout.core.lifecycle import RolledBack

    ledger = build_world(journey.repository.root, ENVIRONMENT).ledger
    written = [entry.event for entry in ledger.read(NAME) if isinstance(entry.event, RolledBack)][-1]
    report = journey.facts.rollback
    start = written.flag_written_at.timestamp() - journey.facts.command_started_at
    click.secho("\nThe manual rollback, from the first flag write", bold=True, fg="cyan")
    for value, what in (
        (start, "before it: start of the process, up to the flag write"),
        (report["last_routed_s"], "last request routed to 1.4.0"),
        (report["drained_s"], "its last answer finished, seen by asking the gateway"),
        (report["verified_s"], "verified: flag, routes, git and gateways agree"),
    ):
        click.echo(f"  {value:7.3f} s  {what}")
