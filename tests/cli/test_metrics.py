"""`rollout metrics`: what it shows of each source, and with what it ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rollout.cli import VERBS
from rollout.cli.metrics import command
from rollout.demo.scratch import ENVIRONMENT as ENVIRONMENT_NAME
from rollout.demo.scratch import NAME
from tests.support.adapters import write_repository
from tests.support.commands import Ended, everything, rollout
from tests.support.site import Site

PROGRAM = """\
import json, os, sys
question = json.load(sys.stdin)
open("asked", "a").write(json.dumps(question) + "\\n")
print(os.environ.get("KPI", '{"total": 12, "bad": 3}'))
"""
ENVIRONMENT = """\
providers:
  shop: {kind: command, command: [%s, kpi.py], environment: [KPI], timeout_s: 60}
"""
METRIC = """\
schema: adapter-rollout/metric/v1
id: %s
title: Lost orders
kind: rate
source: {provider: %s, ask: orders, total: /total, bad: /bad}
direction: lower_is_better
max_abs: 0.01
max_rate: 0.5
min_samples: 10
on_missing: inconclusive
stages: [canary, bake]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_repository(tmp_path / "repository")
    (root / "kpi.py").write_text(PROGRAM)
    environment = root / "policies/environments/demo.yaml"
    environment.write_text(environment.read_text() + ENVIRONMENT % json.dumps(sys.executable))
    (root / "policies/metrics/orders.yaml").write_text(METRIC % ("orders", "shop"))
    return root


def check(root: Path, *words: str) -> Ended:
    return rollout("metrics", "check", "-e", "demo", "--root", str(root), *words)


def test_a_metric_shows_what_came_back_for_both_arms_and_what_was_asked(root: Path) -> None:
    ended = check(root, "orders")
    assert ended.status == 0
    assert "orders  shop" in ended.out
    assert "stable 3 of 12, candidate 3 of 12" in ended.out
    assert "kpi.py <<<" in ended.out
    assert ended.out.endswith("1 metric: all answered\n")
    asked = [json.loads(line) for line in (root / "asked").read_text().splitlines()]
    assert [each["served"] for each in asked] == ["metrics-check-stable", "metrics-check-candidate"]
    assert {each["until"] - each["since"] for each in asked} <= {3600, 3599, 3601}


def test_the_window_is_as_long_as_it_is_asked_for(root: Path) -> None:
    assert check(root, "orders", "--window", "2d").status == 0
    asked = json.loads((root / "asked").read_text().splitlines()[0])
    assert abs(asked["until"] - asked["since"] - 2 * 86400) <= 1


def test_nothing_came_back_is_said_and_is_no_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPI", '{"total": 0, "bad": 0}')
    ended = check(root, "orders")
    assert (ended.status, "stable no data, candidate no data" in ended.out) == (0, True)


def test_what_does_not_answer_is_named_with_the_reason_and_hides_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPI", '{"total": 1, "bad": NaN}')
    ended = check(root)
    assert ended.status == 4
    assert "error: provider 'shop', asked for orders: what came back holds NaN, which is no JSON" in ended.out
    assert "error_rate" in ended.out
    assert "there is no traffic log" in ended.out, "the gateways are asked as well"
    assert "2 metrics: 2 did not answer" in ended.out


def test_a_metric_whose_provider_the_environment_lacks_did_not_answer(root: Path) -> None:
    (root / "policies/metrics/sales.yaml").write_text(METRIC % ("sales", "nobody"))
    ended = check(root, "sales")
    assert ended.status == 4
    assert "sales: this environment has no provider 'nobody'" in ended.out


def test_it_writes_for_machines(root: Path) -> None:
    ended = check(root, "orders", "--format", "json")
    document = json.loads(ended.out)
    (found,) = document["checks"]
    assert document["schema"] == "adapter-rollout/metric-checks/v1"
    assert (found["metric"], found["provider"], found["complaint"]) == ("orders", "shop", None)
    assert found["samples"]["stable"] == {"total": 12, "bad": 3}
    assert len(found["samples"]["query"]) == 2


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["nothing"], 3, "there is no metric 'nothing'"),
        (["--adapter", "support-bot"], 3, "the ledger knows nothing of 'support-bot'"),
        (["--window", "0s"], 2, "a window is a second or longer"),
        (["--window", "an hour"], 2, "is no length of time like"),
    ],
)
def test_what_cannot_be_asked_is_said(root: Path, words: list[str], status: int, why: str) -> None:
    ended = check(root, *words)
    assert (ended.status, why in ended.err) == (status, True), ended.err


def test_no_metric_at_all_is_never_a_pass(root: Path) -> None:
    for path in (root / "policies/metrics").iterdir():
        path.unlink()
    ended = check(root)
    assert (ended.status, ended.out) == (3, "")


def test_an_unreadable_metric_is_said_with_its_place(root: Path) -> None:
    path = root / "policies/metrics/orders.yaml"
    path.write_text(path.read_text().replace("kind: rate", "kind: ratio"))
    ended = check(root)
    assert (ended.status, "policies/metrics/orders.yaml:4" in ended.err) == (3, True)


def test_the_list_has_one_line_a_metric(root: Path) -> None:
    ended = rollout("metrics", "list", "--root", str(root))
    lines = [line.split() for line in ended.out.splitlines()]
    assert [line[:4] for line in lines] == [
        ["error_rate", "rate", "gateways", "shadow,canary,bake"],
        ["orders", "rate", "shop", "canary,bake"],
    ]
    document = json.loads(rollout("metrics", "list", "--root", str(root), "--format", "json").out)
    assert [each["id"] for each in document["metrics"]] == ["error_rate", "orders"]


def test_what_helps_all_is_said_once(ramping: Site) -> None:
    (ramping.repository.state / "traffic.sqlite").unlink()
    where = ("-e", ENVIRONMENT_NAME, "--root", str(ramping.repository.root))
    ended = rollout("metrics", "check", *where)
    assert ended.status == 4
    assert ended.out.count("error: there is no traffic log") > 5
    assert ended.out.count("next: ") == 1


def test_an_adapter_is_asked_about_by_what_it_is_served_as_and_nothing_is_written(ramping: Site) -> None:
    root = ramping.repository.root
    environment = root / f"policies/environments/{ENVIRONMENT_NAME}.yaml"
    environment.write_text(environment.read_text() + ENVIRONMENT % json.dumps(sys.executable))
    program = PROGRAM.replace('"asked"', repr(str(ramping.repository.root.parent / "asked")))
    (root / "kpi.py").write_text(program)
    (root / "policies/metrics/orders.yaml").write_text(METRIC % ("orders", "shop"))
    before = everything(ramping)
    ended = rollout(
        "metrics", "check", "-e", ENVIRONMENT_NAME, "--root", str(root), "--adapter", NAME, "--window", "1h"
    )
    assert ended.status == 0, ended.out
    state = ramping.state
    assert state.stable is not None
    assert state.candidate is not None
    asked = [json.loads(line) for line in (root.parent / "asked").read_text().splitlines()]
    assert [each["served"] for each in asked] == [state.stable.served_name, state.candidate.served_name]
    assert {each["name"] for each in asked} == {NAME}
    assert "gateways" in ended.out
    assert everything(ramping) == before


def test_the_help_of_the_verb_is_its_line_among_the_verbs() -> None:
    assert (command.help or "").split("\n")[0] == VERBS["metrics"]
