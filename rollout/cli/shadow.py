"""`rollout shadow`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollout.cli.evaluate.outputs import rendering
from rollout.cli.options import ADAPTER
from rollout.cli.outputs import Output, write_reports

if TYPE_CHECKING:
    from rollout.cli.progress import Progress
    from rollout.core.environment import Environment
    from rollout.core.shadow.document import ShadowReport
    from rollout.core.shadow.echo import Pace
    from rollout.core.shadow.question import Question
    from rollout.usecases.bout import Bout

LOG = "traffic-log"
_MOST_FILE = 1 << 30
_LONGEST_LINE = 300
Due = list[tuple[float, "Question"]]


class _Moment(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            when = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time: write it like 2026-03-01T12:00:00Z", param, ctx)
        return when if when.tzinfo else when.replace(tzinfo=UTC)


def _replay_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a record is asked again."""
    count = click.IntRange(min=1)
    for option in (
        click.option("--dry-run", is_flag=True, help="With --replay: show what would be sent where."),
        click.option(
            "--stream/--no-stream",
            default=True,
            show_default=True,
            help="Ask for streams, which tell when the first token came.",
        ),
        click.option(
            "--timeout", type=click.FloatRange(min=0, min_open=True), default=120, show_default=True
        ),
        click.option(
            "--max-in-flight",
            type=count,
            default=256,
            show_default=True,
            help="Questions under way; one that is due then is not sent, and counted.",
        ),
        click.option("--max-requests", type=count, default=10_000, show_default=True),
        click.option(
            "--rate",
            type=click.FloatRange(min=0, min_open=True),
            help="Questions a second, instead of the times at which they came.",
        ),
        click.option(
            "--speed",
            type=click.FloatRange(min=0, min_open=True),
            default=1.0,
            show_default=True,
            help="How many times as fast as they came.",
        ),
        click.option(
            "--against",
            multiple=True,
            metavar="URL",
            help="Servers to ask, instead of the environment's replicas; the token is in ROLLOUT_ENGINE_TOKEN.",
        ),
        click.option(
            "--replay",
            metavar=f"FILE|{LOG}",
            help="Ask a record again, at its own times: JSONL of request bodies or of OpenAI's batches, or the log.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("name", type=ADAPTER)
@click.option("--environment", "-e", required=True, help="Name of the environment document.")
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
@click.option("--since", type=_Moment(), help="Traffic since then.  [default: since the release began]")
@click.option(
    "--min-pairs", type=click.IntRange(min=1), help="Fewer are no data.  [default: as the plan says]"
)
@click.option("--max-pairs", type=click.IntRange(min=1), default=5_000, show_default=True)
@_replay_options
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
    from rollout.core.environment import KeptTexts
    from rollout.core.shadow.echo import Pace
    from rollout.usecases.bout import find_bout
    from rollout.usecases.shadow import compare_copies

    if replay is None and (against or dry_run or rate is not None):
        raise click.UsageError("--against, --rate and --dry-run belong to --replay")
    place = wiring.find_root(root or Path.cwd())
    world = wiring.build_world(place, environment)
    other = None
    if candidate is not None:
        other = wiring.working_folder(place).manifest(wiring.path_below(place, candidate)).value
    bout = find_bout(world, name, min_pairs=min_pairs, candidate=other)
    redacted = world.environment.metrics.texts is KeptTexts.REDACTED
    pace = Pace(
        speed=speed,
        max_in_flight=max_in_flight,
        timeout_s=timeout,
        stream=stream,
        seed=bout.subject.rules.seed,
    )
    with shown_progress() as progress:
        if replay is None:
            report = compare_copies(
                bout,
                wiring.shadow_traffic(world.environment, place, edge=bout.edge),
                wiring.shadow_means(place, bout, _command(), progress),
                since=since,
                max_pairs=max(max_pairs, bout.subject.min_pairs),
                redacted=redacted,
            )
        else:
            due = _due(replay, place, world.environment, bout, since, rate, max_requests)
            targets = wiring.replay_targets(world.environment, against)
            if dry_run:
                return _rehearse(due, replay, bout, [target.url for target in targets], pace)
            from_log = replay == LOG
            report = _again(
                due, place, bout, targets, pace, progress, source=replay, redacted=redacted and from_log
            )
    _show(report, form, outputs, place)
    return exit_status(report)


def exit_status(report: ShadowReport) -> int:
    """0 no worse, 6 not settled, 1 anything else."""
    from rollout.core.verdict import Outcome

    return {Outcome.PASS: 0, Outcome.INCONCLUSIVE: 6}.get(report.outcome, 1)


def _due(
    replay: str,
    root: Path,
    environment: Environment,
    bout: Bout,
    since: datetime | None,
    rate: float | None,
    most: int,
) -> Due:
    """The questions with their times, the earliest first, at most so many."""
    from rollout import wiring
    from rollout.core.shadow.question import at_their_times, read_questions
    from rollout.errors import Unreadable

    if replay == LOG:
        begins = 0.0 if since is None else since.timestamp()
        log = wiring.shadow_traffic(environment, root)
        questions = tuple(log.questions(bout.subject.name, since=begins))
        if not questions:
            raise Unreadable(
                f"the traffic log holds no question of {bout.subject.name}",
                advice="Texts are kept where metrics.texts of the environment is `redacted` or `full`.",
            )
    else:
        questions = read_questions(_read(Path(replay)), replay)
    try:
        return at_their_times(questions, rate)[:most]
    except ValueError as error:
        raise click.UsageError(f"{error}: name how many a second with --rate") from None


def _read(file: Path) -> bytes:
    from rollout.errors import Unreadable

    try:
        if file.stat().st_size > _MOST_FILE:
            raise Unreadable(f"{file} is larger than {_MOST_FILE >> 30} GiB", advice="Ask a part of it.")
        return file.read_bytes()
    except OSError as error:
        raise Unreadable(f"{file} cannot be read: {error.strerror}") from None


def _again(
    due: Due,
    root: Path,
    bout: Bout,
    targets: Sequence[Any],
    pace: Pace,
    progress: Progress,
    *,
    source: str,
    redacted: bool,
) -> ShadowReport:
    from rollout import wiring
    from rollout.usecases.shadow import compare_echoes

    means = wiring.shadow_means(root, bout, _command(), progress)
    started = means.clock.now()
    return compare_echoes(
        bout,
        wiring.replay(bout, due, targets, pace, progress),
        means,
        source=f"a replay of {_told(source)}",
        started=started,
        questions=len(due),
        pace=pace,
        targets=[target.url for target in targets],
        redacted=redacted,
    )


def _rehearse(due: Due, source: str, bout: Bout, targets: Sequence[str], pace: Pace) -> int:
    from rollout import wiring
    from rollout.report.shadow.rehearsal import rehearse

    text = rehearse(
        due,
        source=_told(source),
        arms=(bout.comparison.stable, bout.comparison.candidate),
        targets=targets,
        pace=pace,
        skipped=wiring.skipped_questions([question for _, question in due]),
    )
    click.echo(text, nl=False)
    return 0


def _told(source: str) -> str:
    return "the traffic log" if source == LOG else Path(source).name[:200]


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
