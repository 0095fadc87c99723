"""`rollout shadow`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rollout.cli.evaluate.outputs import rendering
from rollout.cli.options import ADAPTER, environment_option
from rollout.cli.outputs import Output, require_places, write_reports
from rollout.cli.shadow.options import LOG, Moment, replay_options, require_heeded

if TYPE_CHECKING:
    from rollout.core.shadow.document import ShadowReport

_LONGEST_LINE = 300


@click.command()
@click.argument("name", type=ADAPTER)
@environment_option
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the repository.  [default: the one around the working folder]",
)
@click.option(
    "--candidate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Manifest of another candidate than that of the release.",
)
@click.option("--since", type=Moment(), help="Traffic since then.  [default: since the release began]")
@click.option(
    "--min-pairs", type=click.IntRange(min=1), help="Fewer are no data.  [default: as the plan says]"
)
@click.option("--max-pairs", type=click.IntRange(min=1), default=5_000, show_default=True)
@replay_options
@rendering
def command(
    name: str,
    environment: str,
    root: Path | None,
    candidate: Path | None,
    since: datetime | None,
    min_pairs: int | None,
    max_pairs: int,
    replay: str | None,
    against: tuple[str, ...],
    speed: float,
    rate: float | None,
    max_requests: int,
    max_in_flight: int,
    timeout: float,
    stream: bool,
    dry_run: bool,
    form: str,
    outputs: tuple[Output, ...],
) -> int:
    """Compare a candidate with stable on traffic: mirrored, or recorded and asked again.

    Judged by the metrics of the plan, and by the gates of the suite that need no right answer. Exit status 0: no
    worse; 1: worse, or too few pairs to say; 2: usage; 3: something is unreadable; 4: something outside is down; 6:
    not settled, or stopped.
    """
    from rollout import wiring
    from rollout.cli.progress import shown_progress
    from rollout.cli.shadow.replay import ask_again, due_questions, rehearse_replay
    from rollout.core.environment import KeptTexts
    from rollout.core.shadow.echo import Pace
    from rollout.usecases.bout import find_bout
    from rollout.usecases.shadow import compare_copies

    require_heeded(replay)
    place = wiring.find_root(root or Path.cwd())
    require_places(outputs, place.resolve())
    world = wiring.build_world(place, environment)
    other = None
    if candidate is not None:
        other = wiring.working_folder(place).manifest(wiring.path_below(place, candidate)).value
    bout = find_bout(world, name, min_pairs=min_pairs, candidate=other)
    redacted = world.environment.metrics.texts is KeptTexts.REDACTED
    pace = Pace(
        speed=speed,
        rate=rate,
        max_in_flight=max_in_flight,
        timeout_s=timeout,
        stream=stream,
        seed=bout.subject.rules.seed,
    )
    with shown_progress() as progress:
        means = wiring.shadow_means(place, bout, _command(), progress)
        if replay is None:
            report = compare_copies(
                bout,
                wiring.shadow_traffic(world.environment, place, edge=bout.edge),
                means,
                since=since,
                max_pairs=max(max_pairs, bout.subject.min_pairs),
                redacted=redacted,
            )
        else:
            due = due_questions(replay, place, world.environment, bout, since, rate, max_requests)
            targets = wiring.replay_targets(world.environment, against)
            if dry_run:
                return rehearse_replay(due, replay, bout, targets, pace)
            report = ask_again(
                due, bout, targets, pace, means, source=replay, redacted=redacted and replay == LOG
            )
    _show(report, form, outputs, place)
    return exit_status(report)


def exit_status(report: ShadowReport) -> int:
    """0 no worse, 6 not settled, 1 anything else."""
    from rollout.core.verdict import Outcome

    return {Outcome.PASS: 0, Outcome.INCONCLUSIVE: 6}.get(report.outcome, 1)


def _command() -> str:
    words = " ".join(shlex.join(["rollout", *sys.argv[1:]]).split())
    return words if len(words) <= _LONGEST_LINE else f"{words[: _LONGEST_LINE - 1]}…"


def _show(report: ShadowReport, form: str, outputs: Sequence[Output], root: Path) -> None:
    from rollout.report.evaluation.plain import plain
    from rollout.report.shadow import headline, to_html, to_markdown, to_text

    def render(form: str, coloured: bool) -> str:
        if form == "json":
            return report.model_dump_json(by_alias=True, indent=2) + "\n"
        text = {"text": to_text, "markdown": to_markdown, "html": to_html}[form](report)
        return text if coloured else click.unstyle(text)

    write_reports(render, form, outputs, summary=plain(headline(report), 400), root=root.resolve())
