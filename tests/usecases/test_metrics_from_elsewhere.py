"""A release that is judged by a program's numbers too: through real ticks, ledger, traffic log and processes."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.core.environment import CommandProvider
from rollout.core.lifecycle import Erred, Looked, Phase
from rollout.core.verdict import Outcome
from rollout.demo.scratch import NAME
from rollout.integrations.metricsources import MetricSources
from rollout.integrations.providers import ProviderMetrics
from rollout.integrations.providers.command import CommandAsked
from rollout.usecases.tick import Move
from tests.support.site import Site

PROGRAM = """\
import json, pathlib, sys
question = json.load(sys.stdin)
with open("asked.jsonl", "a") as asked:
    print(json.dumps(question), file=asked)
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
    return asking(tmp_path)


def asking(folder: Path, metric: str = ORDERS, *, failure_budget: int = 0) -> Site:
    site = Site.create(folder)
    root = site.repository.root
    plan = root / "policies/plans/demo.yaml"
    lines = plan.read_text().splitlines()
    (place,) = (number for number, line in enumerate(lines) if line.startswith("metrics:"))
    lines[place] = lines[place].replace("[", "[orders, ", 1)
    plan.write_text("\n".join([*lines, f"failure_budget: {failure_budget}"]) + "\n")
    assert "orders" in plan.read_text()
    (root / "policies/metrics/orders.yaml").write_text(metric)
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


def windows(site: Site) -> list[tuple[int, int]]:
    """What the shop was asked for of the candidate, one look after the other."""
    asked = [json.loads(line) for line in (site.folder / "asked.jsonl").read_text().splitlines()]
    return [(each["since"], each["until"]) for each in asked if each["served"] != each["stable"]]


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


@pytest.mark.parametrize("required", [True, False])
def test_what_a_silent_shop_could_not_say_is_asked_for_later_though_others_showed_harm_meanwhile(
    tmp_path: Path, required: bool
) -> None:
    """Within the failure budget the release goes on, so that harm which only the shop saw must not be lost."""
    site = asking(tmp_path, ORDERS + ("" if required else "required: false\n"), failure_budget=9)
    canary(site)
    site.answer(stable=30, candidate=3)
    site.tick_after(10)
    known = windows(site)[-1][1]
    tell(site, nothing={})
    for _ in range(2):
        site.answer(stable=400, candidate=60, bad=60)
        site.tick_after(10)
    last = [event for event in events(site) if isinstance(event, Looked)][-1]
    assert last.outcome is Outcome.FAIL
    assert set(last.waiting) == {"orders"}
    assert site.state.evidence["orders"].candidate == 400, "nothing of the shop since"
    tell(site, stable=GOOD, candidate=BAD)
    site.tick_after(10)
    assert windows(site)[-1] == (known, known + 30), "all of it, although the other metrics went on"
    assert site.state.evidence["orders"].candidate_bad >= BAD["bad"]
    assert site.state.waiting == {}
    site.tick_after(10)
    assert windows(site)[-1] == (known + 30, known + 40), "and is counted once"


def test_a_shop_that_is_taken_out_holds_the_release_by_name_and_one_that_is_put_back_loses_nothing(
    site: Site,
) -> None:
    """Also where it was the last one: the edges that the ledger has stay readable."""
    canary(site)
    site.answer(stable=300, candidate=30)
    site.tick_after(10)
    known, before, world = windows(site)[-1][1], site.state, site.world
    assert isinstance(world.metrics, MetricSources)
    alone = MetricSources(world.metrics._primary, {})
    site.world = replace(
        world, environment=world.environment.model_copy(update={"providers": {}}), metrics=alone
    )
    site.answer(stable=300, candidate=30)
    tick = site.tick_after(10)
    assert tick.move is Move.HELD
    assert (site.state.share, site.state.edge) == (before.share, before.edge)
    erred = [event for event in events(site) if isinstance(event, Erred)]
    assert "orders: this environment has no provider 'shop'" in erred[-1].reason
    site.world = world
    site.tick_after(10)
    since, until = windows(site)[-1]
    assert (since, until - since) == (known, 20), "the time between is asked for, and once"
