"""What was drafted, what is left to a human, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rollout.core.blanks import Blank
from rollout.core.document import Place, show_pointer
from rollout.errors import Usage
from rollout.usecases.draft import Draft

Left = Sequence[tuple[Place, Blank]]


def place_of(draft: Draft, output: str | None) -> str:
    """The file that messages name. Raises Usage if nobody said which it is."""
    if output is not None:
        return "the draft" if output == "-" else output
    if draft.path is None:
        raise Usage(
            "nobody knows whose adapter this is, so there is no folder for its manifest",
            advice="Name the team with --team, or a file with --output.",
        )
    return str(draft.path)


def as_text(draft: Draft, left: Left, *, place: str, shown: bool) -> str:
    """One line of what it is, a line for each blank, and the next command."""
    return "\n".join([*_said(draft, place, shown), *_left(left, place), *_next(left, place)]) + "\n"


def _said(draft: Draft, place: str, shown: bool) -> Iterator[str]:
    what = "the next version" if draft.replaces is not None else "a first draft"
    yield f"{place}: version {draft.version}, {what}, {'not written' if shown else 'written'}"
    if draft.comments_lost:
        yield "note: the manifest is laid out in a way that could not be edited; its comments were lost"


def _left(left: Left, place: str) -> Iterator[str]:
    if left:
        yield from ("", f"Left to you, {len(left)} blanks:" if len(left) > 1 else "Left to you:")
    for at, blank in left:
        yield f"  {place}:{at.line}: {show_pointer(blank.pointer)}: {blank.wanted}"


def _next(left: Left, place: str) -> Iterator[str]:
    yield from ("", "Next:")
    if left:
        yield "  fill in the blanks"
    yield "  rollout validate" if place == "the draft" else f"  rollout validate {place}"
