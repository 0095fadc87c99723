"""The page that says what a release is judged by names all that there is, and nothing else."""

from __future__ import annotations

import pytest

from rollout import wiring
from rollout.core.metric import Event, Kind, Measure, Score
from tests.support.adapters import REPOSITORY

PAGE = (REPOSITORY / "docs/judged-by.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of a section's table."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(
    ("heading", "names"),
    [("Three kinds", Kind), ("Events", Event), ("Times", Measure), ("Scores", Score)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_tables_name_each_in_the_order_of_the_code(heading: str, names: type) -> None:
    assert [row[0] for row in rows(heading)] == [f"`{each.value}`" for each in names]


def test_every_file_that_is_handed_out_is_listed_with_what_it_measures() -> None:
    policies = wiring.working_folder(REPOSITORY)
    found = [located.value for located in policies.metrics(policies.metric_ids())]
    listed = [[cell.strip("`") for cell in row] for row in rows("The files that are handed out")]
    assert listed == [[spec.id, spec.kind, str(spec.event or spec.measure or spec.score)] for spec in found]
