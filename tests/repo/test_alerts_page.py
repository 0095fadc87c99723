"""docs/alerts.md: what it shows is taken by Prometheus, Alertmanager and rollout, and its tables are what there is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from rollout.core.alert import ACTING, AlertSettings
from tests.repo.test_alert_rules import RULES, alerts
from tests.support.prometheus import NEEDS_PROMETHEUS

PAGE = (Path(__file__).parents[2] / "docs/alerts.md").read_text()


def block(mark: str) -> str:
    found: list[str] = [each for each in re.findall(r"^```\w*\n(.*?)^```", PAGE, re.M | re.S) if mark in each]
    assert len(found) == 1
    return found[0]


def test_the_settings_that_are_shown_are_the_defaults() -> None:
    shown = YAML(typ="safe").load(block("alerts:\n"))
    assert AlertSettings.model_validate(shown["alerts"]) == AlertSettings()


def test_the_table_names_every_alert_its_page_and_whether_it_takes_back() -> None:
    rows = re.findall(r"^\| `(Rollout\w+)` \| .* \| (yes)? ?\| `([a-z-]+)` \|$", PAGE, re.M)
    there = {
        name: ("yes" if name in ACTING else "", rule["annotations"]["runbook"].split()[-1])
        for name, rule in alerts().items()
    }
    assert {name: (yes, code) for name, yes, code in rows} == there


class TestByPrometheus:
    pytestmark = NEEDS_PROMETHEUS

    def test_prometheus_takes_its_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "prometheus.yml").write_text(block("rule_files:"))
        (tmp_path / "policies/alerts").mkdir(parents=True)
        shutil.copy(RULES, tmp_path / "policies/alerts")
        self._check(["promtool", "check", "config", "prometheus.yml"], tmp_path)

    @pytest.mark.skipif(shutil.which("amtool") is None, reason="there is no amtool (prometheus-alertmanager)")
    def test_alertmanager_takes_its_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "alertmanager.yml").write_text(block("webhook_configs"))
        self._check(["amtool", "check-config", "alertmanager.yml"], tmp_path)

    def _check(self, words: list[str], folder: Path) -> None:
        ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
