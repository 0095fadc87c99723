"""`rollout routes`: what stands, and the same for other gateways, with what they lose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rollout.core.plan import Share
from rollout.core.routes import Route, Routes
from rollout.gateway.holds import Hold, Holds
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.routesfile import RoutesFile
from tests.support.commands import Ended, rollout
from tests.support.gateway import CANDIDATE, STABLE, environment

GOLDEN = Path(__file__).parents[1] / "golden" / "routes"
OPTIONS = {
    "inference-model-rewrite": ["--pool", "llama-pool", "--namespace", "serving"],
    "envoy-ai-gateway": ["--gateway", "edge", "--backend", "vllm", "--namespace", "serving"],
    "litellm": [],
}
BOT, OTHER = "support-bot", "billing-bot"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two logical names: one in a canary at 12.5 %, one without a candidate."""
    folder = tmp_path / "policies" / "environments"
    folder.mkdir(parents=True)
    replicas = [
        {"name": "r0", "url": "http://10.0.0.1:8000", "token_env": "VLLM_KEY"},
        {"name": "r1", "url": "http://10.0.0.2:8000"},
    ]
    with (folder / "test.yaml").open("w") as file:
        document = environment(replicas=replicas).model_dump(mode="json", by_alias=True)
        YAML(typ="safe", pure=True).dump(document, file)
    write(tmp_path)
    flags = FlagFile(tmp_path / "flags.json")
    flags.create("f", by="test")
    dial(tmp_path, "12.5%")
    return tmp_path


def write(root: Path, **changes: Any) -> None:
    route = Route(**{"flag": "f", "stable": STABLE, "candidate": CANDIDATE, **changes})
    other = Route(flag="g", stable="base")
    RoutesFile(root / "routes.json", "test").update(
        lambda present: Routes(
            environment="test", revision=present.revision + 7, routes={BOT: route, OTHER: other}
        )
    )


def dial(root: Path, share: str) -> None:
    flags = FlagFile(root / "flags.json")
    flags.write("f", Share.parse(share), turn_on=True, expect_version=None, by="test", comment="")


def rendered(root: Path, form: str, *more: str) -> Ended:
    return rollout(
        "routes", "render", "-e", "test", "--root", str(root), "--format", form, *OPTIONS[form], *more
    )


def documents(ended: Ended) -> list[dict[str, Any]]:
    assert ended.status == 0, ended.err
    return list(YAML(typ="safe", pure=True).load_all(ended.out))


def targets(root: Path, form: str) -> dict[str, int]:
    """Served name -> weight of the one logical name, whatever the form."""
    found = documents(rendered(root, form))
    if form == "litellm":
        entries = [each["litellm_params"] for each in found[0]["model_list"] if each["model_name"] == BOT]
        return {each["model"].removeprefix("hosted_vllm/"): each["weight"] for each in entries}
    (document,) = [each for each in found if each["metadata"]["name"] == BOT]
    (rule,) = document["spec"]["rules"]
    if form == "envoy-ai-gateway":
        return {each["modelNameOverride"]: each["weight"] for each in rule["backendRefs"]}
    return {each["modelRewrite"]: each["weight"] for each in rule["targets"]}


@pytest.mark.parametrize("form", OPTIONS)
def test_a_rendered_file_is_what_it_was(root: Path, form: str) -> None:
    assert rendered(root, form).out == (GOLDEN / f"{form}.yaml").read_text()


@pytest.mark.parametrize("form", OPTIONS)
def test_the_share_is_exact(root: Path, form: str) -> None:
    assert targets(root, form) == {STABLE: 87_500, CANDIDATE: 12_500}
    dial(root, "0.001%")
    assert targets(root, form) == {STABLE: 99_999, CANDIDATE: 1}


@pytest.mark.parametrize("form", OPTIONS)
def test_whoever_gets_nothing_is_left_out(root: Path, form: str) -> None:
    dial(root, "0%")
    assert targets(root, form) == {STABLE: 100_000}
    dial(root, "100%")
    assert targets(root, form) == {CANDIDATE: 100_000}


@pytest.mark.parametrize("form", OPTIONS)
def test_a_flag_that_speaks_of_an_older_candidate_gives_nobody_the_new_one(root: Path, form: str) -> None:
    write(root, min_flag_version=99)
    assert targets(root, form) == {STABLE: 100_000}


@pytest.mark.parametrize("form", OPTIONS)
def test_a_held_candidate_gets_nothing(root: Path, form: str) -> None:
    Holds(root / "holds.json").add(CANDIDATE, Hold(by="ann", reason="x"))
    assert targets(root, form) == {STABLE: 100_000}
    assert "(the candidate is held)" in rendered(root, form).out


@pytest.mark.parametrize("form", OPTIONS)
def test_a_flag_that_is_off_or_not_there_is_stable(root: Path, form: str) -> None:
    FlagFile(root / "flags.json").take_back("f", by="test", comment="")
    assert targets(root, form) == {STABLE: 100_000}
    (root / "flags.json").unlink()
    assert targets(root, form) == {STABLE: 100_000}


@pytest.mark.parametrize("form", OPTIONS)
def test_while_a_release_settles_the_one_version_gets_all(root: Path, form: str) -> None:
    write(root, stable=CANDIDATE)
    assert targets(root, form) == {CANDIDATE: 100_000}


@pytest.mark.parametrize("form", OPTIONS)
def test_what_is_lost_stands_in_the_file_and_on_the_screen(root: Path, form: str) -> None:
    ended = rendered(root, form)
    for place in (ended.out, ended.err):
        for lost in (
            "not kept with one version",
            "nothing is mirrored",
            "stale-flag guard is gone",
            "100 ms",
            "no samples",
        ):
            assert lost in place
    comments = [line for line in ended.out.splitlines() if line.startswith("#")]
    assert all(not line.startswith("#") for line in ended.out.splitlines()[len(comments) :])
    assert "from routes revision 7" in comments[0]


def test_the_older_group_is_written_where_it_is_asked_for(root: Path) -> None:
    found = documents(rendered(root, "inference-model-rewrite", "--group", "inference.networking.x-k8s.io"))
    assert {each["apiVersion"] for each in found} == {"inference.networking.x-k8s.io/v1alpha2"}


def test_no_key_is_written_into_a_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_KEY", "key-that-is-secret")
    ended = rendered(root, "litellm")
    assert "key-that-is-secret" not in ended.out + ended.err
    assert "os.environ/VLLM_KEY" in ended.out


@pytest.mark.parametrize(
    ("form", "missing"), [("inference-model-rewrite", "--pool"), ("envoy-ai-gateway", "--gateway")]
)
def test_what_a_form_needs_is_asked_for(root: Path, form: str, missing: str) -> None:
    ended = rollout("routes", "render", "-e", "test", "--root", str(root), "--format", form)
    assert (ended.status, ended.out) == (2, "")
    assert f"needs {missing}" in ended.err


def test_routes_that_cannot_be_read_render_nothing(root: Path) -> None:
    (root / "routes.json").write_text("{")
    ended = rendered(root, "litellm")
    assert (ended.status, ended.out) == (3, "")


def test_the_routes_are_shown_with_what_the_flag_makes_of_them(root: Path) -> None:
    shown = rollout("routes", "show", "-e", "test", "--root", str(root))
    assert shown.status == 0
    assert "test: routes revision 7" in shown.out
    assert f"candidate  {CANDIDATE}\n    share      12.5% (flag version 2)" in shown.out
    assert "share      0% (there is no candidate)" in shown.out
    data = json.loads(rollout("routes", "show", "-e", "test", "--root", str(root), "--json").out)
    assert data["routes"][BOT]["targets"] == {STABLE: 87_500, CANDIDATE: 12_500}
    assert data["routes"][OTHER]["targets"] == {"base": 100_000}
