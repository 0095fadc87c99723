"""Human review: the sample is blinded, seeded and harmless; what comes back is believed only if it is what went out."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from math import fsum

import pytest

from rollout.core.document import DocumentErrors
from rollout.core.evaluation import EvalReport, Reply, Side
from rollout.core.review import Blinding, Letter, Opinion, Task, agreement, krippendorff, scores_of
from rollout.core.reviewsample import draw, sample_of
from rollout.core.reviewsheet import COLUMNS, SheetForm, read_sheets, write_sheet
from rollout.core.worst import Change, change, worst_first
from rollout.errors import Unreadable
from tests.support.reports import faithful, sample_report

SEED = 7
Cells = dict[str, str]


@pytest.fixture(scope="module")
def report() -> EvalReport:
    return sample_report()


def sides_of(report: EvalReport, case: str, seed: int) -> dict[Letter, Side]:
    return Blinding.of(report, seed).sides(case)


def rows_of(sheet: bytes) -> list[Cells]:
    return list(csv.DictReader(sheet.decode("utf-8-sig").splitlines(keepends=True)))


def as_csv(rows: list[Cells], delimiter: str = ",") -> bytes:
    lines = [list(COLUMNS), *([row[name] for name in COLUMNS] for row in rows)]
    quoted = (delimiter.join('"' + cell.replace('"', '""') + '"' for cell in line) for line in lines)
    return "\r\n".join(quoted).encode()


def filled(
    report: EvalReport, reviewer: str = "Ada", says: Callable[[Cells], Cells] | None = None, size: int = 20
) -> list[Cells]:
    """A sheet as a reviewer would send it back."""
    rows = rows_of(write_sheet(draw(report, size, SEED), SheetForm.CSV))
    opinion = says or (lambda _: {"preference": "A", "rating_a": "5", "rating_b": "2"})
    return [{**row, "reviewer": reviewer, **opinion(row)} for row in rows]


def complaint(report: EvalReport, *sheets: bytes, seed: int = SEED) -> str:
    with pytest.raises(DocumentErrors) as caught:
        read_sheets({f"sheet{number}.csv": sheet for number, sheet in enumerate(sheets)}, report, seed)
    return caught.value.message


def test_half_of_the_sample_is_the_worst_and_the_rest_comes_by_chance_from_many_slices(
    report: EvalReport,
) -> None:
    drawn = {task.case for task in draw(report, 40, SEED)}
    differing = [
        case for case in worst_first(report.measured) if change(case, Side.CHAMPION) is not Change.SAME
        and case.text(Side.CANDIDATE) != case.text(Side.CHAMPION)
    ]  # fmt: skip
    assert len(drawn) == 40
    assert {case.id for case in differing[:20]} <= drawn
    others = Counter(case.slice for case in differing[20:] if case.id in drawn)
    assert len(others) > 3


def test_what_was_drawn_by_chance_stands_for_the_suite_and_the_worst_do_not(report: EvalReport) -> None:
    right = {case.id: case.scores[Side.CANDIDATE]["success"] for case in report.measured.cases}
    suite = fsum(right.values()) / len(right)
    means: dict[str, list[float]] = {"seen": [], "drawn": []}
    for seed in range(40):
        found = sample_of(report, {task.case for task in draw(report, 40, seed)}, seed)
        assert found is not None
        for name, ids in (("seen", found.seen), ("drawn", found.drawn)):
            means[name].append(fsum(right[id_] for id_ in ids) / len(ids))
    assert fsum(means["drawn"]) / 40 == pytest.approx(suite, abs=0.02)
    assert fsum(means["seen"]) / 40 < suite - 0.2


@pytest.mark.parametrize("size", [2, 7, 40, 2000])
def test_the_sample_is_known_again_from_what_was_reviewed(report: EvalReport, size: int) -> None:
    cases = {task.case for task in draw(report, size, SEED)}
    found = sample_of(report, cases, SEED)
    assert found is not None
    assert found.seen == cases
    one = sample_of(report, {max(cases)}, SEED)
    assert one is not None
    assert one.seen <= cases, "a part of a sample is never taken for a larger one"
    assert sample_of(report, {*cases, "nowhere"}, SEED) is None


def test_the_sample_depends_on_the_seed_alone(report: EvalReport) -> None:
    assert draw(report, 20, SEED) == draw(report, 20, SEED)
    assert [task.case for task in draw(report, 20, SEED)] != [
        task.case for task in draw(report, 20, SEED + 1)
    ]


def test_answers_that_are_the_same_are_not_given_to_reviewers() -> None:
    assert draw(sample_report(says=faithful), 40, SEED) == ()


def test_the_candidate_is_a_about_as_often_as_b(report: EvalReport) -> None:
    blinding = Blinding.of(report, SEED)
    first = [blinding.sides(case.id)["A"] for case in report.measured.cases]
    assert 0.4 < first.count(Side.CANDIDATE) / len(first) < 0.6


def test_the_order_of_a_and_b_differs_between_seeds_and_reports(report: EvalReport) -> None:
    ids = [case.id for case in report.measured.cases]
    other = report.model_copy(update={"tool": "0.2.1"})
    blindings = [Blinding.of(of, seed) for of, seed in ((report, 1), (report, 2), (other, 1))]
    keys = [[blinding.sides(each)["A"] for each in ids] for blinding in blindings]
    assert len({tuple(key) for key in keys}) == 3


def test_neither_side_nor_version_nor_score_is_in_the_sheet(report: EvalReport) -> None:
    tasks = draw(report, 40, SEED)
    for form in SheetForm:
        text = write_sheet(tasks, form).decode().lower()
        for told in ("champion", "candidate", "1.1.0", "1.2.0", "base", report.digest[:8], "lost", "seed"):
            assert told not in text, told


def test_both_forms_hold_the_same_rows(report: EvalReport) -> None:
    tasks = draw(report, 10, SEED)
    lines = [json.loads(line) for line in write_sheet(tasks, SheetForm.JSONL, "Ada").decode().splitlines()]
    assert lines == rows_of(write_sheet(tasks, SheetForm.CSV, "Ada"))
    assert list(lines[0]) == list(COLUMNS)
    assert {line["reviewer"] for line in lines} == {"Ada"}


@pytest.mark.parametrize("opening", ["=", "+", "-", "@", "\t", "\r", "＝", "'="])
def test_no_cell_is_a_formula_and_none_is_changed_by_that(report: EvalReport, opening: str) -> None:
    text = f'{opening}cmd|"/c calc"!A1'
    task = Task(case="x-1", prompt=text, reference=text, answer_a=text, answer_b="plain")
    row = rows_of(write_sheet([task], SheetForm.CSV, reviewer=text))[0]
    for name in ("prompt", "reference", "answer_a", "reviewer"):
        assert row[name] == "'" + text
    assert row["answer_b"] == "plain"


def test_an_answer_like_a_formula_comes_back_as_itself(report: EvalReport) -> None:
    texts = {Side.CHAMPION: "=1+1", Side.CANDIDATE: "'-2", Side.BASE: "x"}
    replies = {
        side: (Reply(text=text, completion_tokens=1, finish_reason="stop"),) for side, text in texts.items()
    }
    case = report.measured.cases[0].model_copy(update={"replies": replies})
    measured = report.measured.model_copy(update={"cases": (case,)})
    strange = report.model_copy(update={"quality": report.quality.model_copy(update={"measured": measured})})
    raw = write_sheet(draw(strange, 2, SEED), SheetForm.CSV).decode("utf-8-sig")
    [row] = list(csv.DictReader(raw.splitlines(keepends=True)))
    row |= {"preference": "tie", "reviewer": "Ada"}
    assert [each.preference for each in read_sheets({"a.csv": as_csv([row])}, strange, SEED)] == ["tie"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_reviewers_send_back_is_read_with_any_separator_of_a_spreadsheet(
    report: EvalReport, delimiter: str
) -> None:
    rows = filled(report)
    opinions = read_sheets({"ada.csv": as_csv(rows, delimiter)}, report, SEED)
    assert [each.case for each in opinions] == [row["case"] for row in rows]
    assert {each.reviewer for each in opinions} == {"Ada"}
    assert all(each.ratings == {"A": 5, "B": 2} for each in opinions)


def test_json_lines_are_read_too(report: EvalReport) -> None:
    rows = [{**row, "rating_a": 4, "rating_b": 4, "comment": None} for row in filled(report)]
    content = "\n".join(json.dumps(row) for row in rows).encode()
    opinions = read_sheets({"ada.jsonl": content}, report, SEED)
    assert len(opinions) == 20
    assert opinions[0].ratings == {"A": 4, "B": 4}


def test_a_reviewer_who_always_prefers_the_candidate_gives_it_every_point(report: EvalReport) -> None:
    def prefers_candidate(row: Cells) -> Cells:
        best = "A" if sides_of(report, row["case"], SEED)["A"] is Side.CANDIDATE else "B"
        low, high = ("5", "1") if best == "A" else ("1", "5")
        return {"preference": best.lower(), "rating_a": low, "rating_b": high}

    opinions = read_sheets({"ada.csv": as_csv(filled(report, says=prefers_candidate))}, report, SEED)
    found = scores_of(Blinding.of(report, SEED), opinions)
    assert len(found) == 20
    for scores in found.values():
        assert scores == {
            Side.CANDIDATE: {"human_preference": 1.0, "human_rating": 1.0},
            Side.CHAMPION: {"human_preference": 0.0, "human_rating": 0.0},
        }


def test_scores_are_means_over_the_reviewers_and_a_tie_is_half(report: EvalReport) -> None:
    case = report.measured.cases[0].id
    mine = "A" if sides_of(report, case, SEED)["A"] is Side.CANDIDATE else "B"
    opinions = [
        Opinion(case=case, reviewer="Ada", preference="tie", ratings={}),
        Opinion(case=case, reviewer="Bo", preference=mine, ratings={"A": 3, "B": 3}),
    ]
    scores = scores_of(Blinding.of(report, SEED), opinions)[case]
    assert scores[Side.CANDIDATE] == {"human_preference": 0.75, "human_rating": 0.5}
    assert scores[Side.CHAMPION]["human_preference"] == 0.25


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("case", "nowhere-1", "/case: the report has no case 'nowhere-1'"),
        ("case", "", "/case: the report has no case ''"),
        ("answer_a", "something else", "/answer_a: this is not the answer in the report"),
        ("answer_b", "", "/answer_b: this is not the answer in the report"),
        ("preference", "", "/preference: '' is no preference: write A, B or tie"),
        ("preference", "C", "/preference: 'C' is no preference"),
        ("rating_a", "6", "/rating_a: '6' is no rating: write 1 to 5 for both answers, or for none"),
        ("rating_a", "4.5", "/rating_a: '4.5' is no rating"),
        ("rating_b", "", "/rating_b: '' is no rating"),
        ("rating_b", "٣", "/rating_b: '٣' is no rating"),
        ("reviewer", " ", "/reviewer: who says so?"),
    ],
)
def test_a_wrong_cell_is_refused_with_its_file_and_line(
    report: EvalReport, column: str, value: str, said: str
) -> None:
    rows = filled(report)
    rows[1][column] = value
    line = 2 + as_csv(rows[:1]).decode().split("\r\n", 1)[1].count("\n") + 1
    message = complaint(report, as_csv(rows))
    assert message.startswith(f"sheet0.csv:{line}:1: {said}")
    assert len(message.splitlines()) == 1


def test_a_file_of_another_seed_or_report_is_told_apart(report: EvalReport) -> None:
    message = complaint(report, as_csv(filled(report)), seed=SEED + 1)
    assert (
        "A and B stand the other way round: the file was exported from another report, or with another seed"
        in message
    )
    other = sample_report(per_slice=39)
    assert re.search(r"another report", complaint(other, as_csv(filled(report))))


def test_a_reviewer_who_speaks_twice_of_a_case_is_refused_across_files(report: EvalReport) -> None:
    rows = filled(report)
    message = complaint(report, as_csv(rows), as_csv([{**rows[0], "reviewer": " ada "}]))
    assert (
        message
        == f"sheet1.csv:2:1: /case: {rows[0]['case']} was reviewed by this reviewer before, at sheet0.csv:2"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"case,prompt\nx,y\n", "sheet0.csv:1:1: columns are missing: reference, answer_a"),
        (b"\xff\xfe\x00", "sheet0.csv:1:1: this is not UTF-8"),
        (b'{"case": 1', "sheet0.csv:1:1: this line is not JSON"),
        (b'{"case": "x"}\n[1]\n', "sheet0.csv:2:1: this is no object"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "sheet0.csv:1:1: this is not UTF-8"),
    ],
)
def test_what_is_no_sheet_is_refused(report: EvalReport, content: bytes, said: str) -> None:
    assert said in complaint(report, content)


def test_a_column_too_many_is_refused(report: EvalReport) -> None:
    content = as_csv(filled(report)).replace(b'"case"', b'"winner","case"', 1)
    assert "columns that no export has: winner" in complaint(report, content)


def test_an_unclosed_quote_is_refused_where_its_row_begins(report: EvalReport) -> None:
    content = as_csv(filled(report)[:1]) + b'\r\n"x,1'
    assert re.search(r"this is not CSV: unexpected end of data", complaint(report, content))


@pytest.mark.parametrize("content", [b"", b"\n\n", ",".join(COLUMNS).encode()])
def test_files_without_a_review_are_refused(report: EvalReport, content: bytes) -> None:
    with pytest.raises(Unreadable, match="there is no review in these files"):
        read_sheets({"a.csv": content}, report, SEED)


# Krippendorff's own example: 12 units, up to 4 observers. Computing Krippendorff's Alpha-Reliability (2011), section D.
OBSERVED = [
    [1, 1, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4],
    [4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [5, 5, 5], [1, 1], [3],
]  # fmt: skip


def test_alpha_is_that_of_the_published_example() -> None:
    assert krippendorff(OBSERVED, "nominal") == pytest.approx(0.743, abs=5e-4)
    assert krippendorff(OBSERVED, "interval") == pytest.approx(0.849, abs=5e-4)


def test_alpha_is_one_for_agreement_and_below_zero_for_its_opposite() -> None:
    assert krippendorff([[1, 1], [0, 0]], "nominal") == 1
    opposed = krippendorff([[1, 0], [0, 1]], "nominal")
    assert opposed is not None
    assert opposed < 0


@pytest.mark.parametrize("units", [[], [[1]], [[1], [0]], [[1, 1], [1, 1]]])
def test_alpha_that_is_not_defined_is_none_and_not_one(units: list[list[float]]) -> None:
    assert krippendorff(units, "nominal") is None


def test_agreement_counts_reviewers_and_says_where_it_is_not_defined(report: EvalReport) -> None:
    case = report.measured.cases[0].id
    alone = agreement(
        Blinding.of(report, SEED), [Opinion(case=case, reviewer="Ada", preference="A", ratings={})]
    )
    assert alone["reviewers"] == alone["cases"] == "1"
    assert alone["cases of several reviewers"] == "0"
    assert alone["alpha of preferences (nominal)"] == alone["alpha of ratings (interval)"] == "not defined"


def test_reviewers_who_say_the_same_agree_whatever_letter_it_has(report: EvalReport) -> None:
    cases = [case.id for case in report.measured.cases[:20]]
    opinions = [
        Opinion(case=case, reviewer=reviewer, preference="A", ratings={"A": 5, "B": 1})
        for case in cases
        for reviewer in ("Ada", "Bo")
    ]
    told = agreement(Blinding.of(report, SEED), opinions)
    assert told["alpha of preferences (nominal)"] == told["alpha of ratings (interval)"] == "1.000"
