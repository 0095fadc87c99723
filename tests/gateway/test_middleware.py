"""The gateway inside an engine's own server, as vLLM's `--middleware` would load it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from ruamel.yaml import YAML

from rollout.errors import Usage
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.routesfile import RoutesFile
from rollout.integrations.trafficlog import TrafficLog
from rollout.middleware import AdapterRouter
from tests.support.gateway import CANDIDATE, FLAG, NAME, STABLE, environment, eventually, routes
from tests.support.upstream import Behaviour, FakeUpstream, serving


@pytest.fixture
def engine() -> FakeUpstream:
    return FakeUpstream({STABLE: Behaviour(), CANDIDATE: Behaviour()})


@pytest.fixture
def client(tmp_path: Path, engine: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    folder = tmp_path / "policies" / "environments"
    folder.mkdir(parents=True)
    document = environment("http://127.0.0.1:9").model_dump(mode="json", by_alias=True)
    with (folder / "test.yaml").open("w") as file:
        YAML(typ="safe", pure=True).dump(document, file)
    monkeypatch.setenv("ROLLOUT_ENVIRONMENT", "test")
    monkeypatch.setenv("ROLLOUT_ROOT", str(tmp_path))
    RoutesFile(tmp_path / "routes.json", "test").update(lambda _: routes(mirror="100%"))
    FlagFile(tmp_path / "flags.json").create(FLAG, by="test")
    with serving(AdapterRouter(engine)) as url, httpx.Client(base_url=url) as client:
        yield client


def test_logical_names_are_routed_and_recorded(
    client: httpx.Client, engine: FakeUpstream, tmp_path: Path
) -> None:
    answer = client.post("/v1/completions", json={"model": NAME, "prompt": "x"})
    assert answer.headers["x-rollout-adapter"] == STABLE
    assert engine.seen[0]["model"] == STABLE
    counts = eventually(lambda: TrafficLog(tmp_path / "traffic.sqlite").requests(NAME))
    assert counts[STABLE].total == 1


def test_copies_are_answered_by_the_engine_itself(
    client: httpx.Client, engine: FakeUpstream, tmp_path: Path
) -> None:
    client.post("/v1/completions", json={"model": NAME, "prompt": "x", "stream": True})
    eventually(lambda: [request["model"] for request in engine.seen] == [STABLE, CANDIDATE])
    log = TrafficLog(tmp_path / "traffic.sqlite")
    assert eventually(lambda: log.requests(NAME).get(CANDIDATE)).shadow == 1


def test_the_engines_own_requests_pass_untouched(
    client: httpx.Client, engine: FakeUpstream, tmp_path: Path
) -> None:
    body = b'{"model":  "support-bot-1.1.0-bbbbbbbbbbbb", "prompt": "probe"}'
    answer = client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert "x-rollout-adapter" not in answer.headers
    assert client.post("/v1/load_lora_adapter").status_code == 200
    assert client.get("/v1/models").status_code == 200
    assert engine.paths == ["/v1/completions", "/v1/load_lora_adapter"]
    assert engine.pages == ["/v1/models"]
    assert TrafficLog(tmp_path / "traffic.sqlite").requests(NAME) == {}


def test_a_request_without_a_model_never_reaches_the_base(client: httpx.Client, engine: FakeUpstream) -> None:
    assert client.post("/v1/completions", json={"prompt": "x"}).status_code == 400
    assert engine.paths == []


def test_status_and_counters_have_paths_of_their_own(client: httpx.Client) -> None:
    assert client.get("/rollout/status").json()["routes_revision"] == 1
    assert "rollout_gateway_routes_revision 1.0" in client.get("/rollout/metrics").text


def test_without_an_environment_the_engine_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROLLOUT_ENVIRONMENT", raising=False)
    with pytest.raises(Usage, match="ROLLOUT_ENVIRONMENT must name the environment"):
        AdapterRouter(FakeUpstream())


def test_an_engine_that_answers_from_its_base_is_recorded_as_such(
    client: httpx.Client, engine: FakeUpstream, tmp_path: Path
) -> None:
    engine.raw = engine.whole("/v1/completions", "base", "billing")
    answer = client.post("/v1/completions", json={"model": NAME, "prompt": "x"})
    assert answer.content == engine.raw
    counts = eventually(lambda: TrafficLog(tmp_path / "traffic.sqlite").requests(NAME).get(STABLE))
    assert (counts.total, counts.failed) == (1, 1)
    assert 'class="wrong_model"} 1.0' in client.get("/rollout/metrics").text
