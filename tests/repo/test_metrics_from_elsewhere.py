"""The page about metrics from elsewhere says what is so: its documents load, belong together and are complete."""

from __future__ import annotations

import json
import re
from pathlib import Path

from rollout.core.environment import Environment
from rollout.core.metric import Kind, MetricSpec
from rollout.core.query import PLACEHOLDERS, Question, complaints
from rollout.integrations.documents import StrictDocuments
from rollout.usecases.measured import lacking

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/metrics-from-elsewhere.md").read_text()
BLOCKS = dict(re.findall(r"```yaml\n# (\S+)[^\n]*\n(.*?)```", PAGE, re.DOTALL))


def _environment() -> Environment:
    """Our own, with the providers of the page."""
    text = (ROOT / "policies/environments/local.yaml").read_text()
    text += BLOCKS["policies/environments/production.yaml"]
    return StrictDocuments().read(text.encode(), Environment, source="page").value


def _metrics() -> list[MetricSpec]:
    found = []
    for path, text in BLOCKS.items():
        if "/metrics/" in path:
            spec = StrictDocuments().read(text.encode(), MetricSpec, source=path).value
            assert Path(path).stem == spec.id
            found.append(spec)
    return found


def test_every_metric_of_the_page_can_be_asked_of_the_pages_environment() -> None:
    environment, specs = _environment(), _metrics()
    assert lacking(specs, environment) == ()
    assert {spec.source.provider for spec in specs if spec.source} == set(environment.providers)
    assert {spec.kind for spec in specs} == set(Kind)


def test_a_metric_of_the_page_that_lost_what_it_needs_would_be_noticed() -> None:
    environment = _environment()
    for spec in _metrics():
        assert spec.source is not None
        for field in ("total", "bad", "values"):
            if getattr(spec.source, field) is not None:
                poorer = spec.model_copy(update={"source": spec.source.model_copy(update={field: None})})
                provider = environment.providers[spec.source.provider]
                assert any(f"needs `{field}`" in why for _, why in complaints(poorer, provider)), spec.id


def test_the_page_names_every_placeholder_and_shows_the_question_as_a_program_gets_it() -> None:
    table = PAGE.split("## What must come back")[0]
    assert all(f"`{name}`" in table for name in PLACEHOLDERS)
    (question,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    asked = json.loads(question)
    assert asked.keys() == {"metric", "kind", "ask", *Question.__dataclass_fields__}
