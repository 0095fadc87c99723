"""Why a request got its slot is one of a closed set of reasons, and `docs/metrics.md` explains every one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rollout.gateway.reasons import REASONS, known_reason
from tests.support.gateway import FLAG, World, eventually, running

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_table_of_reasons_is_that_of_the_code() -> None:
    table = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(("| yes |", "| no |"))]
    assert table == [
        f"| {'yes' if reason.by_design else 'no'} | `{name}` | {reason.meaning} |"
        for name, reason in REASONS.items()
    ]


@pytest.mark.parametrize(
    ("reason", "known"),
    [
        ("FALLTHROUGH", "FALLTHROUGH"),
        ("RULE_MATCH:4711", "RULE_MATCH"),
        ("PREREQUISITE_FAILED:gate", "PREREQUISITE_FAILED"),
        ("ERROR:MALFORMED_FLAG", "ERROR:MALFORMED_FLAG"),
        ("ERROR:SomethingNobodyForesaw", "ERROR:OTHER"),
        ("ERROR", "ERROR:OTHER"),
        ("WHATEVER:it", "OTHER"),
        ("", "OTHER"),
    ],
)
def test_any_reason_is_one_of_a_closed_set(reason: str, known: str) -> None:
    assert known_reason(reason) == known
    assert known in REASONS


def test_reasons_are_told_apart_on_the_page_and_named_in_the_rows(tmp_path: Path) -> None:
    rule = {
        "id": "rule-4711",
        "variation": 1,
        "clauses": [{"contextKind": "user", "attribute": "key", "op": "startsWith", "values": ["qa-"]}],
    }
    with running(tmp_path) as world:
        world.dial("0%")
        for change in (
            {"targets": [{"values": ["ann"], "variation": 1}], "rules": [rule]},
            {"prerequisites": [{"key": "gate", "variation": 0}]},
            {"on": False},
        ):
            edit_and_wait(world, change)
            for user in ("ann", "qa-7", "bob"):
                world.ask(user)
        counted = decisions(world.client.get("/metrics").text)
        told = {row["flag_reason"] for row in world.rows()}
    assert counted == {
        ("TARGET_MATCH", "candidate"): 1,
        ("RULE_MATCH", "candidate"): 1,
        ("FALLTHROUGH", "stable"): 1,
        ("PREREQUISITE_FAILED", "stable"): 3,
        ("OFF", "stable"): 3,
    }
    assert {"RULE_MATCH:rule-4711", "PREREQUISITE_FAILED:gate"} <= told


def test_the_page_says_where_the_flags_came_from(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        world.dial("5%")
        page = world.client.get("/metrics").text
        assert 'flag_data_ready{source="file",environment=""} 1.0' in page
        assert "flag_data_complaint 0.0" in page
        (tmp_path / "flags.json").write_text("{}")
        eventually(lambda: "flag_data_complaint 1.0" in world.client.get("/metrics").text)
        status = world.status()
    assert (status["flag_source"], status["flag_environment"]) == ("file", None)


def edit_and_wait(world: World, change: dict[str, Any]) -> None:
    """Change the flag by hand, until the gateway has it."""
    path = world.root / "flags.json"
    document = json.loads(path.read_bytes())
    flag = document["flags"][FLAG]
    flag.update(change, version=flag["version"] + 1)
    beside = path.with_name("edited.json")
    beside.write_text(json.dumps(document))
    beside.replace(path)
    eventually(lambda: world.status()["flag_versions"][FLAG] == flag["version"])


def decisions(page: str) -> dict[tuple[str, str], float]:
    """Requests by reason and slot."""
    families = {family.name: family for family in text_string_to_metric_families(page)}
    samples = families["rollout_gateway_decisions"].samples
    return {(each.labels["reason"], each.labels["slot"]): each.value for each in samples}
