"""A release that is judged by a program's numbers too: through real ticks, ledger, traffic log and processes."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.core.environment import CommandProvider
from rollout.core.lifecycle import Erred, Looked, Phase
from rollout.demo.scratch import NAME
from rollout.integrations.metricsources import MetricSources
from rollout.integrations.providers import ProviderMetrics
from rollout.integrations.providers.command import CommandAsked
from rollout.usecases.tick import Move
from tests.support.site import Site

PROGRAM = """\
import json, pathlib, sys
question = json.load(sys.stdin)
told = json.loads(pathlib.Path("told.json").read_text())
print(json.dumps(told["stable" if question["served"] == question["stable"] else "candidate"]))
"""
ORDERS = """\
schema: adapter-rollout/metric/v1
id: orders
title: Lost orders
kind: rate
source: {provider: shop, total: /total, bad: /bad}
direction: lower_is_better
max_abs: 0.1
max_rate: 0.5
min_samples: 20
on_missing: inconclusive
stages: [canary, bake]
"""
GOOD = {"total": 400, "bad": 8}
BAD = {"total": 400, "bad": 160}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site whose plan asks a shop as well."""
    site = Site.create(tmp_path)
    root = site.repository.root
    plan = root / "policies/plans/demo.yaml"
    lines = plan.read_text().splitlines()
    (place,) = (number for number, line in enumerate(lines) if line.startswith("metrics:"))
    lines[place] = lines[place].replace("[", "[orders, ", 1)
    plan.write_text("\n".join(lines) + "\n")
    assert "orders" in plan.read_text()
    (root / "policies/metrics/orders.yaml").write_text(ORDERS)
    site.repository.git("add", "policies")
    site.repository.git("commit", "-qm", "Ask the shop")
    site.repository.git("push", "-q", "origin", "main")
    (site.folder / "kpi.py").write_text(PROGRAM)
    document = CommandProvider(kind="command", command=(sys.executable, "kpi.py"), timeout_s=60)
    shop = ProviderMetrics(
        "shop", document, CommandAsked(document, site.folder), now=lambda: site.clock.time.timestamp()
    )
    site.world = replace(
        site.world,
        environment=site.world.environment.model_copy(update={"providers": {"shop": document}}),
        metrics=MetricSources(site.world.metrics, {"shop": shop}),
    )
    tell(site, stable=GOOD, candidate=GOOD)
    site.propose("1.1.0")
    return site


def tell(site: Site, **told: object) -> None:
    (site.folder / "told.json").write_text(json.dumps(told))


def canary(site: Site) -> None:
    """Go on until the candidate has users."""
    for _ in range(60):
        if site.state.phase is Phase.CANARY and site.state.heard:
            return
        site.answer(stable=300, candidate=300, shadow=site.state.phase is Phase.SHADOW)
        site.tick_after(60)
    raise AssertionError(f"no canary: {site.state.phase}")


def events(site: Site) -> list[object]:
    return [entry.event for entry in site.world.ledger.read(NAME)]


def test_harm_that_only_the_shop_sees_takes_the_release_back(site: Site) -> None:
    canary(site)
    tell(site, stable=GOOD, candidate=BAD)
    for _ in range(5):
        site.answer(stable=300, candidate=30)
        tick = site.tick_after(10)
        if tick.move is Move.ROLLED_BACK:
            break
    assert tick.move is Move.ROLLED_BACK
    look = [event for event in events(site) if isinstance(event, Looked)][-1]
    assert "|shop=" in look.edge
    assert any("orders" in reason for reason in look.reasons), look.reasons
    assert "orders" in tick.reason, tick.reason


def test_a_shop_that_is_closed_holds_the_release_and_says_so(site: Site) -> None:
    canary(site)
    tell(site, nothing={})
    before = site.state
    for _ in range(2):
        site.answer(stable=300, candidate=30)
        tick = site.tick_after(10)
        assert tick.move is Move.HELD
    assert (site.state.share, site.state.edge) == (before.share, before.edge), "the window is asked for again"
    erred = [event for event in events(site) if isinstance(event, Erred)]
    assert "provider 'shop', asked for orders: it ended with 1: KeyError" in erred[-1].reason
