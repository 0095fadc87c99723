"""A record that is asked again: what is in it, what would be sent, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rollout.cli.shadow.options import LOG

if TYPE_CHECKING:
    from rollout.core.environment import Environment
    from rollout.core.shadow.document import ShadowReport
    from rollout.core.shadow.echo import Pace
    from rollout.core.shadow.question import Question
    from rollout.gateway.upstream import Address
    from rollout.usecases.bout import Bout
    from rollout.usecases.shadow import Means

Due = list[tuple[float, "Question"]]
_MOST_FILE = 1 << 30


def due_questions(
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


def rehearse_replay(due: Due, source: str, bout: Bout, targets: Sequence[Address], pace: Pace) -> int:
    """Show what would be sent where."""
    from rollout import wiring
    from rollout.report.shadow.rehearsal import rehearse

    text = rehearse(
        due,
        source=_told(source),
        arms=(bout.comparison.stable, bout.comparison.candidate),
        targets=[target.url for target in targets],
        pace=pace,
        skipped=wiring.skipped_questions([question for _, question in due]),
    )
    click.echo(text, nl=False)
    return 0


def ask_again(
    due: Due,
    bout: Bout,
    targets: Sequence[Address],
    pace: Pace,
    means: Means,
    *,
    source: str,
    redacted: bool,
) -> ShadowReport:
    """Ask both sides, and compare what they said."""
    from rollout import wiring
    from rollout.usecases.shadow import compare_echoes

    started = means.clock.now()
    return compare_echoes(
        bout,
        wiring.replay(bout, due, targets, pace, means.progress),
        means,
        source=f"a replay of {_told(source)}",
        started=started,
        questions=len(due),
        pace=pace,
        targets=[target.url for target in targets],
        redacted=redacted,
    )


def _read(file: Path) -> bytes:
    from rollout.errors import Unreadable

    try:
        if file.stat().st_size > _MOST_FILE:
            raise Unreadable(f"{file} is larger than {_MOST_FILE >> 30} GiB", advice="Ask a part of it.")
        return file.read_bytes()
    except OSError as error:
        raise Unreadable(f"{file} cannot be read: {error.strerror}") from None


def _told(source: str) -> str:
    return "the traffic log" if source == LOG else Path(source).name[:200]
