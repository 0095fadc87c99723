"""The file that reviewers fill in: CSV for a spreadsheet, or JSON lines. Written harmless, read back strictly."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from rollout.core.document import DocumentErrors, Place, Problem
from rollout.core.evaluation import Case, EvalReport
from rollout.core.review import LARGEST_RATING, Blinding, Letter, Opinion, Preference, Task
from rollout.errors import Unreadable

COLUMNS = (
    *(field.name for field in fields(Task)),
    "preference",
    "rating_a",
    "rating_b",
    "comment",
    "reviewer",
)
# Openings that a spreadsheet takes for a formula, and the sign that says that it is none.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠'")
_MARK = "'"
_PREFERENCES: Mapping[str, Preference] = {"a": "A", "b": "B", "tie": "tie"}


class SheetForm(StrEnum):
    """How a sheet is written."""

    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a sheet with the line that it begins on."""

    source: str
    line: int
    cells: Mapping[str, str]


def write_sheet(tasks: Iterable[Task], form: SheetForm, reviewer: str = "") -> bytes:
    """The sheet, with the reviewer's name if it is known.

    CSV has a byte order mark, without which Excel spoils every letter that is not ASCII.
    """
    rows = [_blank(task, reviewer) for task in tasks]
    if form is SheetForm.JSONL:
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    lines = [COLUMNS, *([_disarmed(row[name]) for name in COLUMNS] for row in rows)]
    return ("\ufeff" + "".join(",".join(map(_quoted, line)) + "\r\n" for line in lines)).encode()


def read_sheets(sheets: Mapping[str, bytes], report: EvalReport, seed: int) -> tuple[Opinion, ...]:
    """What reviewers said, from one file or several, by name.

    Raises DocumentErrors with file and line of everything that is wrong: a case that the report does not have,
    answers that are not the report's, a row without an opinion, a reviewer who speaks twice. Raises Unreadable if
    there is no row at all.
    """
    cases = {case.id: case for case in report.measured.cases}
    blinding, problems = Blinding.of(report, seed), list[Problem]()
    rows = [row for source, content in sheets.items() for row in _rows(content, source, problems)]
    opinions = [_opinion(row, cases, blinding, problems) for row in rows]
    problems += _doubles(rows)
    if problems:
        raise DocumentErrors(tuple(problems))
    if not opinions:
        raise Unreadable(
            "there is no review in these files", advice="Name files that reviewers have filled in."
        )
    return tuple(opinion for opinion in opinions if opinion is not None)


def _blank(task: Task, reviewer: str) -> dict[str, str]:
    told = {field.name: str(getattr(task, field.name)) for field in fields(Task)}
    return {name: told.get(name, reviewer if name == "reviewer" else "") for name in COLUMNS}


def _disarmed(cell: str) -> str:
    return _MARK + cell if cell.startswith(_FORMULA) else cell


def _armed(cell: str) -> str:
    return cell.removeprefix(_MARK)


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def _rows(content: bytes, source: str, problems: list[Problem]) -> Iterator[Row]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problems.append(_problem(source, line, "", "this is not UTF-8: save it as CSV UTF-8"))
        return
    if text.lstrip().startswith("{"):
        yield from _json_rows(text, source, problems)
    else:
        yield from _csv_rows(text, source, problems)


def _json_rows(text: str, source: str, problems: list[Problem]) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            problems.append(_problem(source, number, "", "this line is not JSON"))
            continue
        if not isinstance(found, dict) or not _has_columns(list(found), source, number, problems):
            problems += [] if isinstance(found, dict) else [_problem(source, number, "", "this is no object")]
            continue
        cells = {name: "" if value is None else str(value) for name, value in found.items()}
        yield Row(source=source, line=number, cells=cells)


def _csv_rows(text: str, source: str, problems: list[Problem]) -> Iterator[Row]:
    head = text.partition("\n")[0]
    # A spreadsheet writes the separator of its country.
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader((line + "\n" for line in text.split("\n")), delimiter=delimiter, strict=True)
    columns: list[str] = []
    start = 1
    try:
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = [cell.strip() for cell in cells]
                if not _has_columns(columns, source, line, problems):
                    return
            elif len(cells) != len(columns):
                problems.append(_problem(source, line, "", f"{len(cells)} cells in a row of {len(columns)}"))
            else:
                told = zip(columns, map(_armed, cells), strict=True)
                yield Row(source=source, line=line, cells=dict(told))
    except csv.Error as error:
        problems.append(_problem(source, start, "", f"this is not CSV: {error}"))


def _has_columns(found: Sequence[str], source: str, line: int, problems: list[Problem]) -> bool:
    missing = [name for name in COLUMNS if name not in found]
    others = [name for name in found if name not in COLUMNS]
    if missing:
        problems.append(_problem(source, line, "", f"columns are missing: {', '.join(missing)}"))
    if others:
        problems.append(_problem(source, line, "", f"columns that no export has: {', '.join(others)[:200]}"))
    return not missing and not others and len(found) == len(COLUMNS)


def _opinion(
    row: Row, cases: Mapping[str, Case], blinding: Blinding, problems: list[Problem]
) -> Opinion | None:
    """The row as an opinion, or None if something is wrong with it, which is added to the problems."""
    case = cases.get(row.cells["case"].strip())
    if case is None:
        problems.append(
            _problem(row.source, row.line, "case", f"the report has no case {row.cells['case'][:100]!r}")
        )
        return None
    before = len(problems)
    problems += _strange(row, blinding.task(case))
    preference = _PREFERENCES.get(row.cells["preference"].strip().lower())
    if preference is None:
        why = f"{row.cells['preference'][:40]!r} is no preference: write A, B or tie"
        problems.append(_problem(row.source, row.line, "preference", why))
    ratings = _ratings(row, problems)
    if not (reviewer := row.cells["reviewer"].strip()):
        problems.append(
            _problem(row.source, row.line, "reviewer", "who says so? The reviewer's name is missing")
        )
    if preference is None or len(problems) > before:
        return None
    return Opinion(case=case.id, reviewer=reviewer, preference=preference, ratings=ratings)


def _strange(row: Row, task: Task) -> Iterator[Problem]:
    """What does not stand as it was exported."""
    told = {name: _same(row.cells[name]) for name in ("answer_a", "answer_b")}
    expected = {"answer_a": _same(task.answer_a), "answer_b": _same(task.answer_b)}
    if told == expected:
        return
    if told == {"answer_a": expected["answer_b"], "answer_b": expected["answer_a"]} != expected:
        why = "A and B stand the other way round: the file was exported from another report, or with another seed"
        yield _problem(row.source, row.line, "answer_a", why)
        return
    for name, text in told.items():
        if text != expected[name]:
            why = "this is not the answer in the report: it was changed, or is of another report"
            yield _problem(row.source, row.line, name, why)


def _same(text: str) -> str:
    """A text without what a spreadsheet does to it: line ends, blanks at both ends and the mark of no formula."""
    flat = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    return flat.removeprefix(_MARK).strip()


def _ratings(row: Row, problems: list[Problem]) -> dict[Letter, int]:
    told: dict[Letter, str] = {"A": row.cells["rating_a"].strip(), "B": row.cells["rating_b"].strip()}
    if not any(told.values()):
        return {}
    found: dict[Letter, int] = {}
    for letter, text in told.items():
        if text in map(str, range(1, LARGEST_RATING + 1)):
            found[letter] = int(text)
            continue
        why = f"{text[:40]!r} is no rating: write 1 to {LARGEST_RATING} for both answers, or for none"
        problems.append(_problem(row.source, row.line, f"rating_{letter.lower()}", why))
    return found


def _doubles(rows: Iterable[Row]) -> Iterator[Problem]:
    first: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = (row.cells["case"].strip(), row.cells["reviewer"].strip().casefold())
        other = first.setdefault(key, row)
        if other is not row and all(key):
            why = f"{key[0]} was reviewed by this reviewer before, at {other.source}:{other.line}"
            yield _problem(row.source, row.line, "case", why)


def _problem(source: str, line: int, column: str, message: str) -> Problem:
    pointer = (column,) if column else ()
    return Problem(source=source, place=Place(line, 1), pointer=pointer, message=message)
