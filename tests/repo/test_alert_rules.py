"""The shipped alerts: Prometheus takes them, each fires when it should, and they name what is really there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rollout.core.alert import ACTING, AlertSettings, Request, ask, read_body
from rollout.gateway.series import PREFIX as GATEWAY
from rollout.gateway.series import SERIES as OF_GATEWAY
from rollout.gateway.series import Distribution
from rollout.report.enginemetrics import PREFIX as ENGINE
from rollout.report.enginemetrics import SERIES as OF_ENGINE
from tests.core.factories import NOON
from tests.support.alerts import alert, body
from tests.support.prometheus import NEEDS_PROMETHEUS

FOLDER = Path(__file__).parents[2] / "policies/alerts"
RULES, TESTS = FOLDER / "rollout.yaml", FOLDER / "rollout.test.yaml"
_SELECTED = re.compile(r"\b(rollout_(?:gateway|engine)_\w+)(?:\{([^}]*)\})?")
_ADDED = {"environment", "instance", "le"}
"""By whoever scrapes, and by histograms."""


def groups() -> dict[str, list[dict[str, Any]]]:
    document = YAML(typ="safe").load(RULES.read_text())
    return {group["name"]: group["rules"] for group in document["groups"]}


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rules in groups().values() for rule in rules if "alert" in rule}


def promtool(*words: str, folder: Path = FOLDER) -> tuple[int, str]:
    ended = subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


class TestByPrometheus:
    pytestmark = NEEDS_PROMETHEUS

    def test_the_rules_are_rules(self) -> None:
        status, said = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES.name)
        assert (status, "SUCCESS" in said) == (0, True), said

    def test_each_alert_fires_when_it_should_and_else_does_not(self) -> None:
        status, said = promtool("test", "rules", TESTS.name)
        assert (status, "SUCCESS" in said) == (0, True), said

    @pytest.mark.parametrize(
        ("rule", "broken"),
        [
            ('ratio_rate1h{slot="candidate"} > 14.4', 'ratio_rate1h{slot="candidate"} > 144'),
            ('ratio_rate5m{slot="candidate"} > 14.4', 'ratio_rate5m{slot="candidate"} >= 0 * 14.4'),
            ('ratio_rate30m{slot="candidate"} > 6 * 0.01', 'ratio_rate30m{slot="candidate"} >= 0'),
            ('requests:increase1h{slot="candidate"} >= 20', 'requests:increase1h{slot="candidate"} >= 0'),
            (
                '(rollout:errors:ratio_rate5m{slot="stable"}) * 2',
                '(rollout:errors:ratio_rate5m{slot="stable"}) * 0',
            ),
            (
                '(rollout:slow:ratio_rate5m{slot="stable"}) * 2',
                '(rollout:slow:ratio_rate5m{slot="stable"}) * 0',
            ),
            ("unless on (environment, name)", "unless"),
            ('shadow="0", outcome="failed"', 'outcome="failed"'),
            ('look="format"}[1h]', 'look="refusal"}[1h]'),
            (', cold="0"', ""),
            ("last_tick_seconds[1d]", "last_tick_seconds[5m]"),
            ("last_tick_seconds[1d])) > 3600", "last_tick_seconds[1d])) > 7200"),
            ('data="flags"}) > 240', 'data="routes"}) > 240'),
            ("flag_data_complaint) == 1", "flag_data_complaint) == 0"),
            ("rollback_unfinished[1h])) == 1", "overdue[1h])) == 1"),
            ("for: 15m", "for: 60m"),
            ("reReplaceAll", "print"),
        ],
    )
    def test_a_rule_that_is_broken_is_seen(self, tmp_path: Path, rule: str, broken: str) -> None:
        text = RULES.read_text()
        assert rule in text
        (tmp_path / RULES.name).write_text(text.replace(rule, broken))
        shutil.copy(TESTS, tmp_path)
        assert promtool("test", "rules", TESTS.name, folder=tmp_path)[0] != 0


def test_every_series_and_every_label_is_one_that_is_exposed() -> None:
    seen = set()
    for rules in groups().values():
        for name, labels in (found for rule in rules for found in _SELECTED.findall(rule["expr"])):
            own, known = _labels(name)
            seen.add(own)
            asked = set(re.findall(r"(\w+)=", labels))
            assert asked <= known | _ADDED, f"{name} has no label {asked - known}"
    assert {"requests_total", "latency_seconds", "found_total", "data_age_seconds"} <= seen
    assert {"last_tick_seconds", "overdue", "rollback_unfinished"} <= seen


def _labels(name: str) -> tuple[str, set[str]]:
    if name.startswith(ENGINE):
        own = name.removeprefix(ENGINE)
        return own, {"name", "environment", *OF_ENGINE[own].labels}
    own = name.removeprefix(GATEWAY)
    own = own if own in OF_GATEWAY else re.sub(r"_(bucket|count|sum)$", "", own)
    return own, set(OF_GATEWAY[own].labels)


def test_the_edge_that_slow_answers_are_counted_from_is_a_bucket() -> None:
    edges = [
        line for line in Distribution(OF_GATEWAY["latency_seconds"].bounds).lines("x", "") if 'le="10' in line
    ]
    assert edges == ['x_bucket{le="10.0"} 0.0']


def test_what_takes_back_by_default_is_what_speaks_of_a_candidate() -> None:
    assert tuple(rule["alert"] for rule in groups()["rollout-candidates"]) == ACTING


@pytest.mark.parametrize("name", sorted(alerts()))
def test_each_says_what_is_wrong_and_where_to_read_on(name: str) -> None:
    rule = alerts()[name]
    assert set(rule["annotations"]) == {"summary", "runbook"}
    assert re.fullmatch(r"rollout runbook [a-z-]+", rule["annotations"]["runbook"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    if name in ACTING:
        assert {"adapter", "version"} <= set(rule["labels"])


def test_each_leads_to_a_page_that_there_is() -> None:
    runbooks = pytest.importorskip("rollout.wiring.runbooks", reason="there are no runbooks yet")
    codes = {page.code for page in runbooks.pages()}
    named = {rule["annotations"]["runbook"].split()[-1] for rule in alerts().values()}
    assert named <= codes


@pytest.mark.parametrize("name", ACTING)
def test_with_the_labels_that_the_rules_give_an_alert_asks_for_something(name: str) -> None:
    given = alert(
        "bot", began=NOON, name=name, served="bot-1.1.0-0123456789ab", version="1.1.0", slot="candidate"
    )
    found = ask(read_body(body(given)).alerts[0], AlertSettings(), "prod")
    assert isinstance(found, Request)
