"""What every rendering tells: the entries with the worst first, their number, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rollout.core.builtin import BUILT_IN
from rollout.core.document import DocumentErrors, Place, Problem, show_pointer
from rollout.core.finding import Finding, Severity
from rollout.core.validation import Validation
from rollout.report.findings.plain import shortened, visible

UNREADABLE = DocumentErrors.code
"""Stands for a rule where a document cannot be read, so that no rule could be asked."""

MAX_TOLD = 2000
"""The longest message, in characters."""

_MAX_RETIRED = 10

_TITLES = {
    **BUILT_IN,
    UNREADABLE: "The document can be read: its form and its fields are what its schema says.",
}


class Level(StrEnum):
    """How much an entry matters, the worst first."""

    ERROR = "error"
    WARNING = "warning"
    WAIVED = "waived"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A finding or a problem. Its texts are `visible`, its file and its source line are as they are."""

    severity: Severity
    rule: str
    title: str
    message: str
    help: str
    file: str
    pointer: str
    place: Place
    end: Place | None
    source_line: str
    waived_by: str | None = None
    waiver_expires: str | None = None
    waiver_reason: str | None = None

    @property
    def level(self) -> Level:
        """How much it matters."""
        if self.waived_by is not None:
            return Level.WAIVED
        return Level.ERROR if self.severity is Severity.BLOCK else Level.WARNING

    @property
    def after(self) -> str:
        """What is told behind the message: who excuses it, until when and why, or what to do."""
        if self.waived_by is None:
            return self.help
        expires = f", expires {self.waiver_expires}" if self.waiver_expires else ""
        return f"waived by {self.waived_by}{expires}" + (
            f": {self.waiver_reason}" if self.waiver_reason else ""
        )

    @property
    def where(self) -> str:
        """`file:line`, as it can be shown."""
        return f"{shown_file(self.file)}:{self.place.line}"


def outcome(validation: Validation) -> str:
    """`unreadable`, `blocked` or `pass`, the worst first."""
    if validation.problems:
        return "unreadable"
    return "blocked" if validation.blocked else "pass"


def exit_status(validation: Validation) -> int:
    """What the process ends with."""
    return {"unreadable": 3, "blocked": 1, "pass": 0}[outcome(validation)]


def entries(validation: Validation) -> tuple[Entry, ...]:
    """Everything that was found: the worst first, and within that by file and place."""
    titles = _TITLES | {rule.id: rule.title for rule in validation.rulebook}
    found = [
        *(_of_problem(problem) for problem in validation.problems),
        *(_of_finding(finding, titles) for finding in validation.findings),
    ]
    ranks = list(Level)
    return tuple(
        sorted(found, key=lambda entry: (ranks.index(entry.level), entry.file, entry.place, entry.rule))
    )


def _of_problem(problem: Problem) -> Entry:
    pointer = show_pointer(problem.pointer)
    found = "" if problem.found is None else f"; found {problem.found}"
    return Entry(
        severity=Severity.BLOCK,
        rule=UNREADABLE,
        title=_TITLES[UNREADABLE],
        message=_told(f"{pointer + ': ' if pointer else ''}{problem.message}{found}"),
        help="",
        file=problem.source,
        pointer=pointer,
        place=problem.place,
        end=problem.end,
        source_line=problem.source_line,
    )


def _of_finding(finding: Finding, titles: dict[str, str]) -> Entry:
    return Entry(
        severity=finding.severity,
        rule=visible(finding.rule),
        title=visible(titles.get(finding.rule, finding.rule)),
        message=_told(finding.message),
        help=_told(finding.remediation),
        file=finding.file,
        pointer=finding.pointer,
        place=finding.place,
        end=finding.end,
        source_line=finding.source_line,
        waived_by=None if finding.waived_by is None else visible(finding.waived_by),
        waiver_expires=None if finding.waiver_expires is None else finding.waiver_expires.isoformat(),
        waiver_reason=None
        if finding.waiver_reason is None
        else _told(" ".join(finding.waiver_reason.split())),
    )


def _told(text: str) -> str:
    """A sentence or some: what is longer was made to fill the reader's screen."""
    return shortened(visible(text[: 4 * MAX_TOLD]), MAX_TOLD)


def worst(found: Sequence[Entry], limit: int) -> tuple[tuple[Entry, ...], str]:
    """(at most `limit` of the entries, of which the worst come first; the others in words)."""
    return tuple(found[:limit]), counted(entry.level for entry in found[limit:])


def counted(levels: Iterable[Level]) -> str:
    """`2 errors, 1 warning`; empty if there are none."""
    numbers = Counter(levels)
    names = {Level.ERROR: "error", Level.WARNING: "warning", Level.WAIVED: "waived"}
    return ", ".join(
        f"{numbers[level]} {name}{'s' if numbers[level] > 1 and level is not Level.WAIVED else ''}"
        for level, name in names.items()
        if numbers[level]
    )


def summary(validation: Validation) -> str:
    """One line: how many were checked against how many rules, and what came of it."""
    blocking = sum(finding.blocks for finding in validation.findings)
    waived = sum(finding.waived_by is not None for finding in validation.findings)
    warnings = len(validation.findings) - blocking - waived
    counts = (
        (len(validation.problems), "problem", "problems"),
        (blocking, "blocking finding", "blocking findings"),
        (warnings, "warning", "warnings"),
        (waived, "waived", "waived"),
    )
    found = ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)
    return (
        f"{_number(len(validation.checked), 'manifest')}, {_number(len(validation.rulebook), 'rule')}: "
        + (found or "nothing found")
    )


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def notes(validation: Validation) -> Iterator[str]:
    """What a reader could take for granted and must not."""
    if validation.uncompared:
        yield f"without --base not checked: {', '.join(validation.uncompared)}"
    if validation.later:
        yield f"checked at release only (--release): {', '.join(validation.later)}"
    for path in validation.retired[:_MAX_RETIRED]:
        yield f"{shown_file(path)} is gone: its adapter is retired"
    if (more := len(validation.retired) - _MAX_RETIRED) > 0:
        yield f"{more} more are gone"
    if not validation.checked and not validation.problems:
        yield "no manifest differs from the base"


def unchecked(validation: Validation) -> dict[str, str]:
    """Why each of the rules was not asked that were not."""
    later = dict.fromkeys(validation.later, "it is asked at release")
    return dict.fromkeys(validation.unchecked, "without a base there is nothing to compare with") | later


def shown_file(file: str) -> str:
    """The path as it can stand at the beginning of a line."""
    shown = visible(file)
    return f"./{shown}" if shown.startswith("::") else shown
