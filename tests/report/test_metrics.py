"""The table of metrics, and the page that is written from it."""

from __future__ import annotations

import json
import re

import pytest
from pydantic import ValidationError

from rollout.cli import run
from rollout.core.gatefile import Gates
from rollout.core.paired import fewest_items
from rollout.core.score import METRICS
from rollout.integrations.documents import StrictDocuments
from rollout.report.metrics import metrics_as_json, metrics_as_page, metrics_as_text
from tests.support.adapters import REPOSITORY

PAGE = REPOSITORY / "policies/gates/README.md"


def test_the_committed_page_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert PAGE.read_text() == metrics_as_page(), (
        "rollout suite metrics --format markdown > policies/gates/README.md"
    )
    assert run(["suite", "metrics", "--format", "markdown"]) == 0
    assert capsys.readouterr().out == metrics_as_page()


def test_every_metric_has_a_line_a_row_and_an_entry() -> None:
    entries = {each["id"]: each for each in json.loads(metrics_as_json())["metrics"]}
    for name in METRICS:
        assert re.search(rf"^{name} ", metrics_as_text(), re.MULTILINE)
        assert f"| `{name}` |" in metrics_as_page()
        assert name in entries


def test_the_example_of_the_page_is_a_gate_file() -> None:
    example = metrics_as_page().split("```yaml\n")[1].split("```")[0]
    gates = StrictDocuments().read(example.encode(), Gates, source="example").value
    assert gates.gates["exact_match"].vs_champion is not None


def test_the_numbers_of_items_on_the_page_are_right() -> None:
    page = " ".join(metrics_as_page().split())
    needed = [fewest_items(margin, 0.9) for margin in (0.05, 0.03, 0.01)]
    assert (
        f"5 points takes about {needed[0]} items to exclude, 3 points take {needed[1]}, one point {needed[2]}"
        in page
    )


@pytest.mark.parametrize("name", [each.id for each in METRICS.values() if each.timed or each.absolute])
def test_metrics_that_the_table_gives_no_margin_take_none(name: str) -> None:
    with pytest.raises(ValidationError, match="it takes min or max, not a margin"):
        Gates.model_validate({"gates": {name: {"vs_champion": {"max_loss": 1.0}}}})
