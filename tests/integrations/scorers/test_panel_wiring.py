"""Which scorers a suite gets, and where their folders may lie."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from rollout.core.panel import Panel
from rollout.errors import Unreadable
from rollout.ports import AnsweredItem
from rollout.wiring import build_panel, build_tasks

SHA = "0" * 64


def panel(**seats: Any) -> Panel:
    return Panel.model_validate(seats)


def everyone(path: str = "models/one") -> Panel:
    model = {"path": path, "sha256": SHA}
    return panel(
        similarity={"model": model},
        toxicity={"model": model},
        presidio={},
        judge={"url": "http://127.0.0.1:1/v1", "model": "m"},
        lm_eval={"tasks": [{"name": "law", "samples": [1]}], "include": model},
    )


def test_a_suite_gets_the_scorers_that_it_names_and_no_others(tmp_path: Path) -> None:
    assert build_panel(tmp_path, panel()) == ()
    assert build_tasks(tmp_path, panel()) is None
    assert [seat.name for seat in build_panel(tmp_path, panel(presidio={}))] == ["presidio"]
    assert [seat.name for seat in build_panel(tmp_path, everyone())] == [
        "similarity",
        "toxicity",
        "presidio",
        "judge",
    ]
    assert build_tasks(tmp_path, everyone()) is not None


def test_every_metric_of_the_panel_is_one_that_gates_know(tmp_path: Path) -> None:
    from rollout.core.score import metric

    tasks = build_tasks(tmp_path, everyone())
    assert tasks is not None
    for seat in (*build_panel(tmp_path, everyone()), tasks):
        assert all(metric(name).id == name for name in seat.metrics)


def test_what_is_not_there_is_told_by_the_scorer_and_stops_nobody(tmp_path: Path) -> None:
    items = [AnsweredItem(id="a", prompt="p", reference="r", answers={"candidate": "x", "base": "y"})]
    for seat in build_panel(tmp_path, everyone()):
        if seat.name != "presidio":
            scores = seat.score(items, lambda *_: None)
            assert scores.values == {}
            assert scores.notes, f"{seat.name} says why"


def test_a_link_does_not_lead_out_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    root = tmp_path / "root"
    (root / "models").mkdir(parents=True)
    (root / "models" / "one").symlink_to(tmp_path / "outside")
    with pytest.raises(Unreadable, match="leads out of the repository"):
        build_panel(root, everyone())
    assert build_panel(root, everyone(str(tmp_path / "outside"))), "its absolute path is no secret way"


def test_a_panel_costs_nothing_before_it_scores() -> None:
    import subprocess

    program = (
        "import sys\nfrom pathlib import Path\nfrom rollout.core.panel import Panel\n"
        "from rollout.wiring import build_panel, build_tasks\n"
        "panel = Panel.model_validate_json(sys.argv[1])\n"
        "build_panel(Path('.'), panel), build_tasks(Path('.'), panel)\n"
        "print([m for m in ('torch', 'transformers', 'spacy', 'presidio_analyzer', 'ray') if m in sys.modules])"
    )
    words = [sys.executable, "-c", program, everyone().model_dump_json()]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
