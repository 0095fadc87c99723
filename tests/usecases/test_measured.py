"""Plans that could not be judged are said so in the pull request, with file and line, and block nobody else."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from rollout.core.document import Problem
from rollout.integrations.cel import evaluator
from rollout.report import findings
from rollout.usecases.measured import lacking, metric_problems
from rollout.usecases.upkeep import policy_problems
from rollout.usecases.validate import validate
from rollout.wiring import build_checks, working_folder
from tests.support.adapters import write_repository

ORDERS = """\
schema: adapter-rollout/metric/v1
id: orders
title: Lost orders
kind: rate
source:
  provider: shop
  ask: /kpi?of={served}&from={since}&to={until}
  total: /total
  bad: /lost
direction: lower_is_better
max_abs: 0.01
max_rate: 0.5
min_samples: 10
on_missing: inconclusive
stages: [canary, bake]
"""
SHOP = 'providers:\n  shop: {kind: http, url: "https://kpi.example.com"}\n'
SQL = "providers:\n  shop: {kind: sql, url_env: SHOP_URL}\n"
COMMAND = "providers:\n  shop: {kind: command, command: [./kpi]}\n"
PROMETHEUS = 'providers:\n  shop: {kind: prometheus, url: "http://prometheus:9090"}\n'
ASK = (
    "SELECT count(*) AS total, sum(lost) AS lost FROM orders WHERE a = :served AND b > :since AND b <= :until"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository whose plan names a metric of the shop, which its only environment has."""
    root = write_repository(tmp_path / "repository")
    _append(root / "policies/environments/demo.yaml", SHOP)
    (root / "policies/metrics/orders.yaml").write_text(ORDERS)
    edit(root, "policies/plans/default.yaml", "metrics: [error_rate]", "metrics: [error_rate, orders]")
    return root


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def edit(root: Path, file: str, old: str, new: str) -> None:
    path = root / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def told(problem: Problem) -> str:
    return f"{problem.source}:{problem.place.line} {problem.message}"


def problems(root: Path, *environments: str) -> list[str]:
    return [told(problem) for problem in metric_problems(working_folder(root), environments)]


def site(root: Path, name: str, *, stage: str = "production", providers: str = "") -> None:
    text = (root / "policies/environments/demo.yaml").read_text().split("providers:")[0]
    text = text.replace("name: demo", f"name: {name}").replace("stage: development", f"stage: {stage}")
    (root / f"policies/environments/{name}.yaml").write_text(text + providers)


def test_what_is_in_order_has_no_problem(root: Path) -> None:
    assert problems(root) == []


def test_a_metric_of_a_plan_that_there_is_not_is_named_where_the_plan_names_it(root: Path) -> None:
    edit(root, "policies/plans/default.yaml", "error_rate, orders", "error_rate, order")
    line = _line(root, "policies/plans/default.yaml", "metrics:")
    assert problems(root) == [
        f"policies/plans/default.yaml:{line} there is no metric of that name; there are: error_rate, orders"
    ]


def test_validate_says_it_and_blocks(root: Path) -> None:
    edit(root, "policies/plans/default.yaml", "error_rate, orders", "error_rate, order")
    validation = validate(build_checks(root, base=None))
    assert ["there is no metric of that name" in problem.message for problem in validation.problems] == [True]
    assert findings.exit_status(validation) != 0


def test_a_provider_that_no_environment_has_is_an_error_at_its_name(root: Path) -> None:
    edit(root, "policies/metrics/orders.yaml", "provider: shop", "provider: shpo")
    assert problems(root) == [
        "policies/metrics/orders.yaml:6 the environment demo has no provider 'shpo'; it has: shop"
    ]


def test_each_environment_where_users_are_must_have_it(root: Path) -> None:
    site(root, "europe")
    site(root, "asia", providers=SHOP)
    site(root, "staging", stage="staging")
    assert [each.split(" ", 1)[1] for each in problems(root)] == [
        "the environment europe has no provider 'shop'; it has: none",
        "the environment staging has no provider 'shop'; it has: none",
    ]


def test_one_for_development_blocks_nobody_unless_it_is_asked_about(root: Path) -> None:
    site(root, "laptop", stage="development")
    assert problems(root) == []
    assert [each.split(" ", 1)[1] for each in problems(root, "laptop")] == [
        "the environment laptop has no provider 'shop'; it has: none"
    ]


FLAGD = "flags:\n  kind: flagd\n  path: .rollout/flagd.json\n"


def with_a_ring(root: Path) -> int:
    first = "{ring: [tenant-pilot], bake: 1h, min_samples: 20, requires: no_harm}"
    edit(root, "policies/plans/default.yaml", "steps:\n", f"steps:\n  - {first}\n")
    return _line(root, "policies/plans/default.yaml", "steps:") + 1


def test_a_ring_where_nobody_can_tell_who_was_named_is_an_error_at_its_line(root: Path) -> None:
    line = with_a_ring(root)
    assert problems(root) == []
    site(root, "europe", providers=SHOP)
    text = (root / "policies/environments/europe.yaml").read_text()
    flags = text[text.index("flags:") : text.index("metrics:")]
    (root / "policies/environments/europe.yaml").write_text(text.replace(flags, FLAGD))
    assert problems(root) == [
        f"policies/plans/default.yaml:{line} the environment europe reads its flags through OpenFeature, which does"
        " not say who was named and who was drawn: a ring needs flags of kind file or launchdarkly"
    ]


def test_a_metric_that_no_plan_names_asks_nothing_of_environments_that_lack_its_provider(root: Path) -> None:
    edit(root, "policies/plans/default.yaml", "error_rate, orders", "error_rate")
    site(root, "europe")
    assert problems(root) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "why"),
    [
        ("  ask: /kpi?of={served}&from={since}&to={until}\n", "", 5, "a provider of kind http needs `ask`"),
        ("  bad: /lost\n", "", 5, "a metric of kind rate needs `bad`"),
        ("  bad: /lost\n", "  bad: lost\n", 9, "'lost' is no JSON pointer"),
        ("  bad: /lost\n", "  bad: /lost\n  values: /ms\n", 10, "`values` does not belong to kind rate"),
        ("{served}", "{server}", 7, "there is no placeholder {server}; there are: {name}, {served}"),
        ("of={served}", "of=x", 7, "lacks {served}: both arms would be the same"),
        ("from={since}", "from=0", 7, "lacks {since}: looks would count things twice"),
        ("{until}", "{until", 7, "there is no placeholder {"),
        ("{until}", "{}", 7, "there is no placeholder {}"),
        ("ask: /kpi", "ask: kpi", 7, "a path begins with /"),
        ("ask: /kpi", "ask: https://evil.example/kpi", 7, "a path begins with /"),
        ("ask: /kpi", "ask: /../kpi", 7, "no part of a path is `.` or `..`"),
        ("ask: /kpi", "ask: /%2e%2e/kpi", 7, "no part of a path is `.` or `..`"),
        ("stages:", "per: unit_minute\nstages:", 15, "a provider counts what it is asked to count"),
    ],
)
def test_a_query_of_a_service_that_lacks_something_says_so_at_its_line(
    root: Path, old: str, new: str, line: int, why: str
) -> None:
    edit(root, "policies/metrics/orders.yaml", old, new)
    assert any(each.startswith(f"policies/metrics/orders.yaml:{line} {why}") for each in problems(root)), (
        problems(root)
    )


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (None, "a provider of kind sql needs `ask`: one SELECT"),
        (ASK.replace(":served", ":who"), "there is no placeholder :who"),
        (ASK.replace("a = :served", "true"), "lacks :served: both arms would be the same"),
        (ASK.replace(":served", "'{served}'"), "{served} is not filled in here: bind it as :served"),
        (ASK.replace(":served", "':served'"), "lacks :served"),
        (f"{ASK}; DROP TABLE orders", "is not one SELECT"),
        (f"DELETE FROM orders -- {ASK}", "is not one SELECT"),
        (f"COPY ({ASK}) TO 'x.csv'", "is not one SELECT"),
    ],
)  # fmt: skip
def test_a_statement_that_lacks_something_says_so(root: Path, ask: str | None, why: str) -> None:
    edit(root, "policies/environments/demo.yaml", SHOP, SQL)
    new = "" if ask is None else f'  ask: "{ask}"\n'
    edit(root, "policies/metrics/orders.yaml", "  ask: /kpi?of={served}&from={since}&to={until}\n", new)
    edit(root, "policies/metrics/orders.yaml", "total: /total\n  bad: /lost", "total: total\n  bad: lost")
    assert any(f" {why}" in each for each in problems(root)), problems(root)


@pytest.mark.parametrize(
    "ask",
    [
        ASK,
        f"({ASK})",
        f"{ASK};",
        f"-- orders\n{ASK}",
        f"WITH x AS (SELECT 1) {ASK}",
        ASK.replace("sum(lost)", "sum(lost::int + '12:30 :no'::int)"),
    ],
)
def test_a_statement_in_order_has_no_problem(root: Path, ask: str) -> None:
    edit(root, "policies/environments/demo.yaml", SHOP, SQL)
    indented = ask.replace("\n", "\n    ")
    edit(
        root,
        "policies/metrics/orders.yaml",
        "ask: /kpi?of={served}&from={since}&to={until}",
        f"ask: |\n    {indented}",
    )
    edit(root, "policies/metrics/orders.yaml", "total: /total\n  bad: /lost", "total: total\n  bad: lost")
    assert problems(root) == []


def test_a_program_needs_pointers_and_no_question(root: Path) -> None:
    edit(root, "policies/environments/demo.yaml", SHOP, COMMAND)
    edit(root, "policies/metrics/orders.yaml", "  ask: /kpi?of={served}&from={since}&to={until}\n", "")
    assert problems(root) == []
    edit(root, "policies/metrics/orders.yaml", "bad: /lost", "bad: lost")
    assert problems(root) == ["policies/metrics/orders.yaml:8 'lost' is no JSON pointer: it begins with /"]


def test_a_prometheus_is_asked_about_an_arm_by_selectors(root: Path) -> None:
    edit(root, "policies/environments/demo.yaml", SHOP, PROMETHEUS)
    edit(root, "policies/metrics/orders.yaml", "bad: /lost", "bad: 'lost{adapter=\"{serve}\"}'")
    assert [each.split(" ", 1)[1] for each in problems(root)] == [
        "a Prometheus is asked for `total` and `bad`, or `values`: leave it out",
        "lacks {served}: both arms would be the same",
        "there is no placeholder {serve}",
        "lacks {served}: both arms would be the same",
    ]


def test_pairs_are_in_shadow_only(root: Path) -> None:
    text = (
        ORDERS.replace("kind: rate", "kind: score")
        .replace("lower_is", "higher_is")
        .replace("max_rate: 0.5\n", "")
    )
    text = text.replace("  total: /total\n  bad: /lost", "  values: /theirs, /ours")
    (root / "policies/metrics/orders.yaml").write_text(text)
    assert any("two names are pairs, which are in shadow only" in each for each in problems(root))
    (root / "policies/metrics/orders.yaml").write_text(text.replace("[canary, bake]", "[shadow]"))
    assert problems(root) == []


def test_a_stage_that_nothing_required_judges_could_never_be_passed(root: Path) -> None:
    """Zero checks are never a pass: the plan is refused before a release can come to that stage."""
    edit(root, "policies/metrics/error_rate.yaml", "max_rate: 0.02\n", "")
    edit(root, "policies/plans/default.yaml", "error_rate, orders", "error_rate")
    line = _line(root, "policies/plans/default.yaml", "metrics:")
    assert problems(root) == [
        f"policies/plans/default.yaml:{line} none of them is required and judges the stage bake, "
        "where it needs `max_rate` or `max_ms`: it could never be passed"
    ]
    edit(
        root,
        "policies/metrics/error_rate.yaml",
        "stages: [shadow, canary, bake]",
        "stages: [shadow]\nrequired: false",
    )
    assert len(problems(root)) == 2


def test_a_metric_that_cannot_be_read_is_said_with_its_line_and_nothing_else_is_made_up(root: Path) -> None:
    edit(root, "policies/metrics/orders.yaml", "kind: rate", "kind: ratio")
    found = problems(root)
    assert any(each.startswith("policies/metrics/orders.yaml:4 ") for each in found)


def test_a_metric_in_another_ones_file_is_said(root: Path) -> None:
    edit(root, "policies/metrics/orders.yaml", "id: orders", "id: sales")
    assert any(
        "policies/metrics/orders.yaml: its id is 'sales', not 'orders'" in each for each in problems(root)
    )


def test_a_change_of_policies_is_told_and_one_of_a_manifest_is_not_bothered(
    root: Path, tmp_path: Path
) -> None:
    base = write_repository(tmp_path / "base")
    edit(root, "policies/plans/default.yaml", "error_rate, orders", "error_rate, order")
    head, before = working_folder(root), working_folder(base)
    plan = PurePosixPath("policies/plans/default.yaml")
    told_of = policy_problems(head, before, frozenset({plan}), evaluator)
    assert any("there is no metric of that name" in problem.message for problem in told_of)
    manifest = PurePosixPath("manifests/support/support-bot.yaml")
    assert policy_problems(head, before, frozenset({manifest}), evaluator) == []


def test_what_an_environment_lacks_is_said_in_words(root: Path) -> None:
    workspace = working_folder(root)
    specs = [metric.value for metric in workspace.metrics(["error_rate", "orders"])]
    environment = workspace.environment("demo").value
    assert lacking(specs, environment) == ()
    assert lacking(specs, environment.model_copy(update={"providers": {}})) == (
        "orders: the environment demo has no provider 'shop'; it has: none",
    )


def _line(root: Path, file: str, start: str) -> int:
    lines = (root / file).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.startswith(start))
