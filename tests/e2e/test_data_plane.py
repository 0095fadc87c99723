"""The data plane on a real vLLM: the middleware inside it, and the stand-alone gateway in front of it.

2,000 requests of 200 users go either way. What users saw, what the traffic log holds and what Prometheus is told
must be one and the same.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from rollout.core.metric import Comparison, Stage
from rollout.core.plan import Share
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.routesfile import RoutesFile
from rollout.integrations.trafficlog import TrafficLog
from rollout.integrations.vllm.replica import Replica
from tests.gateway.test_gateway_process import process
from tests.support.gateway import CANDIDATE, FLAG, NAME, STABLE, environment, eventually, routes
from tests.support.models import write_family
from tests.support.vllms import NEEDS_VLLM, vllm_serve

pytestmark = [pytest.mark.model, pytest.mark.e2e, *NEEDS_VLLM]

USERS, ROUNDS, SHARE = 200, 10, 0.25
AT_ONCE = 16
_STAMPS = re.compile(rb'"(created|created_at)": ?[0-9]+')


@dataclass(frozen=True)
class Way:
    """One way into the data plane: its URL, and the folder of its flag, routes and log."""

    url: str
    root: Path

    @property
    def log(self) -> TrafficLog:
        return TrafficLog(self.root / "traffic.sqlite")


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Way]]:
    """A vLLM with the middleware inside, given two adapters while it runs, and a gateway before it."""
    inside, before = tmp_path_factory.mktemp("inside"), tmp_path_factory.mktemp("before")
    with _server(inside, tmp_path_factory) as url, process(before, url) as (_, gateway_url):
        ways = {"middleware": Way(url, inside), "gateway": Way(gateway_url, before)}
        for way in ways.values():
            _dial(way)
        yield ways


@contextmanager
def _server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    family = write_family(tmp_path_factory.mktemp("family"))
    folder = root / "policies" / "environments"
    folder.mkdir(parents=True)
    document = environment("http://127.0.0.1:9").model_dump(mode="json", by_alias=True)
    with (folder / "test.yaml").open("w") as file:
        YAML(typ="safe", pure=True).dump(document, file)
    RoutesFile(root / "routes.json", "test").update(lambda _: routes(response_schema=None))
    FlagFile(root / "flags.json").create(FLAG, by="test")
    options = ["--max-model-len", "256", "--middleware", "rollout.middleware.AdapterRouter"]
    log = tmp_path_factory.mktemp("log") / "vllm.log"
    with vllm_serve(family.base, log, *options, ROLLOUT_ENVIRONMENT="test", ROLLOUT_ROOT=str(root)) as url:
        replica = Replica("r0", url, timeout=60)
        replica.load(STABLE, family.good)
        replica.load(CANDIDATE, family.other)
        yield url


def _dial(way: Way) -> None:
    RoutesFile(way.root / "routes.json", "test").update(lambda _: routes(2, response_schema=None))
    share = Share(int(SHARE * 100_000))
    flag = FlagFile(way.root / "flags.json").write(
        FLAG, share, turn_on=True, expect_version=None, by="test", comment=""
    )

    def heard() -> bool:
        status = httpx.get(f"{way.url}/rollout/status").json()
        return status["routes_revision"] == 2 and status["flag_versions"].get(FLAG) == flag.version

    eventually(heard)


def body(number: int, model: str = NAME) -> dict[str, Any]:
    """A short greedy request; every other one is streamed."""
    text = f"request number {number} of a test, please answer"
    asked: dict[str, Any] = {"model": model, "max_tokens": 4, "temperature": 0}
    if number % 2:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    if number % 4 < 2:
        return {**asked, "prompt": text}
    return {**asked, "messages": [{"role": "user", "content": text}]}


def path(asked: dict[str, Any]) -> str:
    return "/v1/chat/completions" if "messages" in asked else "/v1/completions"


async def crowd(way: Way) -> dict[str, list[str]]:
    """Ask for every user in turn, some at once; the answer is which version answered whom."""
    answered: dict[str, list[str]] = {f"user-{number}": [] for number in range(USERS)}
    free = asyncio.Semaphore(AT_ONCE)

    async def ask(session: aiohttp.ClientSession, user: str, number: int) -> None:
        asked = body(number)
        async with (
            free,
            session.post(way.url + path(asked), json=asked, headers={"x-user-id": user}) as answer,
        ):
            content = await answer.read()
            assert answer.status == 200, content
            assert not asked.get("stream") or content.endswith(b"data: [DONE]\n\n")
            answered[user].append(answer.headers["x-rollout-adapter"])

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as session:
        for turn in range(ROUNDS):
            await asyncio.gather(
                *(ask(session, user, turn * USERS + place) for place, user in enumerate(answered))
            )
    return answered


@pytest.mark.parametrize("name", ["middleware", "gateway"])
def test_two_thousand_requests_are_split_kept_and_counted(ways: dict[str, Way], name: str) -> None:
    way = ways[name]
    answered = asyncio.run(crowd(way))
    assert {len(set(versions)) for versions in answered.values()} == {1}, "a user stays on one version"
    on_candidate = sum(versions[0] == CANDIDATE for versions in answered.values())
    spread = math.sqrt(USERS * SHARE * (1 - SHARE))
    assert abs(on_candidate - USERS * SHARE) < 4 * spread, "a share of users, within binomial bounds"
    seen = Counter(version for versions in answered.values() for version in versions)
    total = USERS * ROUNDS
    eventually(lambda: sum(counts.total for counts in way.log.requests(NAME).values()) == total, within_s=30)
    logged = way.log.requests(NAME)
    assert {served: counts.total for served, counts in logged.items()} == dict(seen)
    assert all(counts.failed == counts.client_left == 0 for counts in logged.values())
    assert _metrics(way) == dict(seen), "every series agrees with the log, to the request"


def _metrics(way: Way) -> dict[str, int]:
    """Requests by served version, as Prometheus would read them."""
    exposition = httpx.get(f"{way.url}/rollout/metrics").text
    counted: Counter[str] = Counter()
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == "rollout_gateway_requests_total" and sample.labels["shadow"] == "0":
                assert sample.labels["status"] == "2xx"
                counted[sample.labels["served"]] += int(sample.value)
    return dict(counted)


@pytest.mark.parametrize("name", ["middleware", "gateway"])
@pytest.mark.parametrize("number", range(8))
def test_an_answer_is_the_one_that_the_server_gives_itself(
    ways: dict[str, Way], name: str, number: int
) -> None:
    asked = body(number)
    headers = {"x-user-id": f"user-{number}", "x-request-id": f"the-same-{number}"}

    def ask(url: str, model: str) -> httpx.Response:
        return httpx.post(url + path(asked), json={**asked, "model": model}, headers=headers, timeout=60)

    def told_alike() -> bool:
        routed = ask(ways[name].url, NAME)
        direct = ask(ways["middleware"].url, routed.headers["x-rollout-adapter"])
        assert "x-rollout-adapter" not in direct.headers, "a served name reaches the server untouched"
        assert routed.headers["content-type"] == direct.headers["content-type"]
        return _STAMPS.sub(b"", routed.content) == _STAMPS.sub(b"", direct.content)

    # A busy engine puts two tokens into one event now and then, of whoever asks.
    eventually(told_alike, within_s=60)


def test_what_servers_leave_open_is_closed_at_the_gateway(ways: dict[str, Way]) -> None:
    url = ways["gateway"].url
    for method, where in (
        ("POST", "/adapters"),
        ("DELETE", f"/adapters/{STABLE}"),
        ("POST", "/invocations"),
        ("POST", "/tokenize"),
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/unload_lora_adapter"),
        ("GET", "/version"),
        ("GET", "/openapi.json"),
    ):
        answer = httpx.request(method, url + where, json={"name": "x", "src": "/tmp", "model": NAME})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), where
    no_model = httpx.post(f"{url}/v1/completions", json={"prompt": "x"})
    assert no_model.status_code == 400, "a server would answer from its base"


def test_a_client_that_leaves_ends_the_work_of_the_server(ways: dict[str, Way]) -> None:
    for way in ways.values():
        asked = {"model": NAME, "prompt": "count and never stop", "stream": True, "max_tokens": 200}
        with httpx.stream(
            "POST", f"{way.url}/v1/completions", json={**asked, "ignore_eos": True}, timeout=60
        ) as answer:
            next(answer.iter_raw())
        eventually(lambda: _running(ways["middleware"].url) == 0, within_s=30)


def _running(url: str) -> float:
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text):
        for sample in family.samples:
            if sample.name == "vllm:num_requests_running":
                return sample.value
    raise AssertionError("the server does not say how many requests are running")


@pytest.mark.parametrize("name", ["middleware", "gateway"])
def test_copies_are_answered_by_the_candidate_and_users_by_stable(ways: dict[str, Way], name: str) -> None:
    way = ways[name]
    share = FlagFile(way.root / "flags.json").take_back(FLAG, by="test", comment="")
    RoutesFile(way.root / "routes.json", "test").update(
        lambda _: routes(3, response_schema=None, mirror="100%")
    )

    def heard() -> bool:
        status = httpx.get(f"{way.url}/rollout/status").json()
        return status["routes_revision"] == 3 and status["flag_versions"].get(FLAG) == share.version

    eventually(heard)
    comparison = Comparison(name=NAME, stable=STABLE, candidate=CANDIDATE, stage=Stage.SHADOW)
    for number in range(20):
        answer = httpx.post(way.url + path(body(number)), json=body(number), timeout=60)
        assert answer.headers["x-rollout-adapter"] == STABLE
    eventually(lambda: len(list(way.log.pairs(comparison, since=0, limit=100))) == 20, within_s=30)
    for pair in way.log.pairs(comparison, since=0, limit=100):
        assert (pair.stable.served, pair.candidate.served) == (STABLE, CANDIDATE)
        assert (pair.candidate.status, pair.candidate.error, pair.candidate.streamed) == (200, None, False)
        assert (pair.candidate.prompt_tokens or 0) > 0, "what copies cost is known"
