"""The page about plans shows a plan and a manifest's steering that the product accepts."""

from __future__ import annotations

import re
from pathlib import Path

from rollout.core.manifest import Release
from rollout.core.plan import Plan
from rollout.integrations.documents import StrictDocuments

PAGE = Path(__file__).parents[2] / "docs" / "plans.md"
PLAN, STEERING = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def test_the_plan_on_the_page_is_one() -> None:
    plan = StrictDocuments().read(PLAN.encode(), Plan, source="plans.md").value
    assert plan.name == "careful"
    assert plan.ring == ("tenant-internal", "tenant-pilot")
    assert plan.steps[2].pause == "support-lead"


def test_every_field_in_the_table_is_one_of_a_plan_or_a_step() -> None:
    told = set(
        re.findall(r"`([a-z_]+)`", "\n".join(re.findall(r"^\| (`[^|]*) \|", PAGE.read_text(), re.MULTILINE)))
    )
    fields = {*Plan.model_fields, *Plan.model_fields["steps"].annotation.__args__[0].model_fields}  # type: ignore[union-attr]
    assert {each for each in told if not each.startswith("rollout")} <= fields


def test_the_steering_on_the_page_is_one() -> None:
    content = STEERING.replace("rollout:\n", "").replace("\n  ", "\n").removeprefix("  ")
    steering = StrictDocuments().read(content.encode(), Release, source="plans.md").value
    assert steering.hold is not None
    assert steering.skip is not None
