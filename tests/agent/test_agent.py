"""`rollout agent` as a process, and what a tick elsewhere does through it."""

from __future__ import annotations

import resource
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.agent.app import AgentApp
from rollout.agent.delivered import Delivered
from rollout.agent.forward import Forward
from rollout.agent.keeper import Keeper, Limits
from rollout.bearer import Bearer
from rollout.core.manifest import AdapterManifest
from rollout.core.routes import Routes
from rollout.errors import LoadRefused, ServingUnavailable, Unavailable, Unreadable, Usage
from rollout.integrations.gateways import AgentShelf
from rollout.integrations.shelf import AdapterShelf
from rollout.integrations.vllm.replica import Replica
from rollout.ports import Message
from rollout.wiring.delivery import _Around
from rollout.wiring.worlds import _replicas, _shelf
from tests.support.commands import rollout
from tests.support.delivery import TOKEN, VARIABLE, Place, agent_process, place
from tests.support.gateway import environment, eventually
from tests.support.upstream import serving

CHAT = [Message(role="user", content="a prompt of more than thirty bytes, please")]
GUARDED = [
    ("GET", "/rollout/adapters"),
    ("POST", "/rollout/adapters"),
    ("GET", "/v1/models"),
    ("POST", "/v1/load_lora_adapter"),
    ("POST", "/v1/unload_lora_adapter"),
    ("POST", "/v1/chat/completions"),
    ("GET", "/version"),
]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path / "site") as here:
        yield here


@pytest.fixture
def agent(here: Place) -> Iterator[str]:
    with agent_process(here, drain_s=0.0) as (_, url):
        yield url


def shelf_of(*agents: str, token: str | None = TOKEN) -> AgentShelf:
    return AgentShelf({f"r{number}": (url, token) for number, url in enumerate(agents)})


def asked(agent: str, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {TOKEN}"}
    return httpx.request(method, agent + path, headers=headers, timeout=10, **options)


def ready(agent: str) -> bool:
    answer = httpx.get(f"{agent}/ready")
    assert answer.json()["ready"] is (answer.status_code == 200)
    return answer.status_code == 200


def routed(here: Place, agent: str, version: str = "1.0.0") -> AdapterManifest:
    """An adapter that was delivered and that the routes name."""
    manifest = here.adapter(version)
    shelf_of(agent).lay_down(manifest)
    here.route(manifest.served_name)
    return manifest


# Ready


def test_it_is_ready_once_the_server_has_all_that_the_routes_name(here: Place, agent: str) -> None:
    assert not ready(agent)
    manifest = here.adapter("1.0.0")
    here.route(manifest.served_name)
    answer = httpx.get(f"{agent}/ready")
    assert (answer.status_code, answer.json()["missing"]) == (503, [manifest.served_name])
    shelf_of(agent).lay_down(manifest)
    assert ready(agent)


def test_a_restarted_server_has_its_adapters_before_it_is_ready(here: Place, agent: str) -> None:
    manifest = routed(here, agent)
    for _ in range(3):
        here.server.adapters.clear()
        eventually(lambda: ready(agent))
        assert set(here.server.adapters) == {manifest.served_name}


def test_without_its_server_it_is_not_ready_and_says_why(here: Place, agent: str) -> None:
    routed(here, agent)
    here.server.key = "not the agent's"
    answer = httpx.get(f"{agent}/ready")
    assert answer.status_code == 503
    assert "replica r0 answered 401" in answer.json()["missing"][0]


def test_killed_and_started_again_it_knows_what_it_was_given(here: Place) -> None:
    with agent_process(here) as (process, url):
        manifest = routed(here, url)
        process.send_signal(signal.SIGKILL)
        process.wait()
    here.server.adapters.clear()
    with agent_process(here) as (_, url):
        eventually(lambda: ready(url))
    assert here.server.loads == [manifest.served_name] * 2


def test_it_ends_in_order(here: Place) -> None:
    with agent_process(here) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_an_adapter_that_cannot_be_laid_down_again_keeps_no_other_away_and_ends_nothing(
    here: Place, agent: str
) -> None:
    one, two = routed(here, agent), here.adapter("1.1.0")
    folder = shelf_of(agent).lay_down(two)
    here.route(one.served_name, two.served_name)
    folder.chmod(0o755)
    shutil.rmtree(folder)
    folder.write_text("a file")
    here.server.adapters.clear()
    eventually(lambda: set(here.server.adapters) == {one.served_name})
    eventually(
        lambda: f"{two.served_name} cannot be laid down" in str(httpx.get(f"{agent}/ready").json()["why"])
    )
    folder.unlink()
    eventually(lambda: ready(agent))
    here.server.adapters.clear()
    eventually(lambda: ready(agent))


def test_a_full_disk_is_told_to_the_tick_and_passes(here: Place) -> None:
    with agent_process(here) as (process, url):
        manifest = here.adapter("1.0.0")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
        with pytest.raises(Unavailable, match=r"cannot be laid down in .*: File too large"):
            shelf_of(url).lay_down(manifest)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert shelf_of(url).lay_down(manifest) == here.shelf / manifest.served_name


class Surprising(_Around):
    """The world around a server, with a flaw that can be mended."""

    flawed = True

    def routes(self) -> Routes:
        if self.flawed:
            raise ZeroDivisionError
        return super().routes()


def test_a_surprise_is_told_and_logged_and_the_next_pass_is_made(
    here: Place, caplog: pytest.LogCaptureFixture
) -> None:
    around = Surprising(here.environment, here.root)
    (replica,) = here.environment.replicas
    delivered, shelf = Delivered(here.shelf), AdapterShelf(here.shelf, locate=lambda _: here.root)
    limits = Limits(base="base", slots=2, drain_s=0.0)
    server = Replica("r0", replica.url)
    keeper = Keeper(server, shelf, delivered, around, limits, now=time.monotonic)
    here.route("base")
    app = AgentApp(keeper, delivered, Forward("r0", replica.url, token=None), Bearer(TOKEN))
    with serving(app.application()) as url:
        for number in range(1, 4):  # pass after pass
            eventually(lambda number=number: caplog.text.count("\nZeroDivisionError") >= number)  # type: ignore[misc]
        answer = httpx.get(f"{url}/ready")
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert "the agent met what it does not expect (ZeroDivisionError)" in answer.json()["missing"][0]
        body = {"lora_name": "x"}
        answer = asked(url, "POST", "/v1/unload_lora_adapter", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "bug")
        around.flawed = False
        eventually(lambda: asked(url, "GET", "/rollout/adapters").json()["missing"] == [])
        assert ready(url)


# A tick elsewhere


def test_a_replica_through_its_agent_is_a_replica(here: Place, agent: str) -> None:
    manifest = here.adapter("1.0.0")
    here.route("base")
    folder = shelf_of(agent).lay_down(manifest)
    assert folder == here.shelf / manifest.served_name == shelf_of(agent).folder(manifest.served_name)
    replica = Replica("r0", agent, token=TOKEN)
    replica.load(manifest.served_name, folder)
    assert {model.name: model.root for model in replica.models()} == {
        "base": "/models/base",
        manifest.served_name: str(folder),
    }
    bare, adapted = (replica.logprobs(model, CHAT, max_tokens=3) for model in ("base", manifest.served_name))
    assert bare != adapted
    assert here.server.asked[0]["messages"] == [{"role": "user", "content": CHAT[0].content}]
    replica.unload(manifest.served_name)
    assert here.server.adapters == {}
    replica.load(manifest.served_name, folder)
    assert here.server.adapters == {manifest.served_name: str(folder)}


def test_the_servers_own_key_is_the_agents_business(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_KEY", "key-of-the-server")
    here.server.key = "key-of-the-server"
    (replica,) = here.environment.replicas
    keyed = replica.model_copy(update={"token_env": "SERVER_KEY"})
    here.environment = here.environment.model_copy(update={"replicas": (keyed,)})
    with agent_process(here) as (_, url):
        assert [model.name for model in Replica("r0", url, token=TOKEN).models()] == ["base"]


def test_the_refusals_of_agent_and_server_are_ours_again(here: Place, agent: str) -> None:
    here.server.refuses = "LoRA rank 32 is greater than max_lora_rank 16."
    with pytest.raises(LoadRefused, match=r"agent of r0 answered 400.*LoRA rank 32 is greater"):
        shelf_of(agent).lay_down(here.adapter("1.0.0"))
    manifest = here.adapter("1.1.0")
    (here.root / "adapters/1.1.0/README.md").unlink()
    with pytest.raises(Unreadable, match=r"README\.md in adapters/1\.1\.0 is not there"):
        shelf_of(agent).lay_down(manifest)
    here.server.key = "another"
    with pytest.raises(ServingUnavailable):
        shelf_of(agent).lay_down(here.adapter("1.2.0"))


def test_a_load_of_anything_else_is_refused_and_never_reaches_the_server(here: Place, agent: str) -> None:
    manifest = here.adapter("1.0.0")
    here.route("base")
    folder = shelf_of(agent).lay_down(manifest)
    asked(agent, "POST", "/v1/unload_lora_adapter", json={"lora_name": manifest.served_name})
    for name, path in (
        ("x", "/etc"),
        ("x", str(folder)),
        (manifest.served_name, "/etc"),
        (manifest.served_name, f"{folder}/../../adapters/1.0.0"),
        ("../x", str(here.shelf.parent / "x")),
    ):
        answer = asked(agent, "POST", "/v1/load_lora_adapter", json={"lora_name": name, "lora_path": path})
        assert answer.status_code == 400, name
        assert answer.json()["error"]["message"]
    body = {"lora_name": manifest.served_name, "lora_path": str(folder), "load_inplace": True}
    answer = asked(agent, "POST", "/v1/load_lora_adapter", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_document")
    assert here.server.adapters == {}


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"name": "x"}', b"[" * 100_000, b" " * 300_000])
def test_what_is_no_manifest_is_not_delivered(here: Place, agent: str, body: bytes) -> None:
    answer = asked(agent, "POST", "/rollout/adapters", content=body)
    assert answer.status_code in (400, 413)
    assert not list(here.shelf.glob("*"))


def test_an_address_that_no_policy_admits_is_not_fetched(here: Place, agent: str) -> None:
    manifest = here.adapter("1.0.0")
    for uri in ("https://127.0.0.1:9/a", "file:///etc", "../outside", "/etc"):
        artifact = manifest.artifact.model_copy(update={"uri": uri})
        with pytest.raises(Unreadable):
            shelf_of(agent).lay_down(manifest.model_copy(update={"artifact": artifact}))


# Who may


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_nobody_without_the_token_gets_anything(here: Place, agent: str, method: str, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
        answer = httpx.request(method, agent + path, headers=headers, json={})
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "no_access"
    assert here.server.asked == []


@pytest.mark.parametrize(
    "path", ["/adapters", "/invocations", "/v1/completions", "/tokenize", "/metrics", "/docs", "/"]
)
def test_nothing_else_of_the_server_can_be_reached(agent: str, path: str) -> None:
    for method in ("GET", "POST"):
        assert asked(agent, method, path).status_code == 404


def test_health_is_open_and_the_servers(here: Place, agent: str) -> None:
    assert httpx.get(f"{agent}/health").status_code == 200
    here.server.healthy = False
    assert httpx.get(f"{agent}/health").status_code == 503


def test_it_does_not_start_without_a_token(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with agent_process(here):
        pass  # its environment document lies there now
    monkeypatch.delenv(VARIABLE, raising=False)
    ended = rollout("agent", "-e", "test", "--root", str(here.root), "--port", "0")
    assert ended.status == 2
    assert "the agent of r0 has no token" in ended.err


def test_a_wrong_token_of_ours_is_shown_nowhere(agent: str, here: Place) -> None:
    with pytest.raises(Usage, match="agent of r0 does not take our token") as caught:
        shelf_of(agent, token="wrong-secret").lay_down(here.adapter("1.0.0"))
    assert "wrong-secret" not in repr(caught.value) + caught.value.advice


# Several agents


def test_an_agent_that_is_away_does_not_keep_the_others_from_their_adapters(here: Place, agent: str) -> None:
    manifest = here.adapter("1.0.0")
    assert shelf_of("http://127.0.0.1:9", agent).lay_down(manifest) == here.shelf / manifest.served_name
    with pytest.raises(ServingUnavailable, match="agent of r0 did not answer"):
        shelf_of("http://127.0.0.1:9").lay_down(manifest)


def test_one_name_means_one_path_on_all_machines(here: Place, agent: str, tmp_path: Path) -> None:
    with place(tmp_path / "other") as other, agent_process(other) as (_, second):
        manifest = here.adapter("1.0.0")
        other.adapter("1.0.0")
        with pytest.raises(Unreadable, match="lay adapters down in different folders"):
            shelf_of(agent, second).lay_down(manifest)
        with pytest.raises(Unreadable, match="lay adapters down in different folders"):
            shelf_of(agent, second).folder(manifest.served_name)


def test_an_environment_has_agents_everywhere_or_nowhere(tmp_path: Path) -> None:
    def built(*agents: str | None) -> Any:
        replicas = [
            {"name": f"r{number}", "url": "http://127.0.0.1:8", **({"agent": url} if url else {})}
            for number, url in enumerate(agents)
        ]
        return environment(replicas=replicas)

    assert isinstance(_shelf(built("http://127.0.0.1:9", "http://127.0.0.1:9"), tmp_path), AgentShelf)
    assert not isinstance(_shelf(built(None, None), tmp_path), AgentShelf)
    with pytest.raises(Usage, match="r1 of test have no agent"):
        _shelf(built("http://127.0.0.1:9", None), tmp_path)


def test_ticks_go_through_the_agent_where_there_is_one(
    here: Place, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, TOKEN)
    (replica,) = here.environment.replicas
    document = here.environment.model_copy(
        update={"replicas": (replica.model_copy(update={"agent": agent}),)}
    )
    manifest = here.adapter("1.0.0")
    folder = _shelf(document, here.root).lay_down(manifest)
    (serving,) = _replicas(document)
    assert str(folder) in [model.root for model in serving.models()]


def test_the_command_says_which_agent_is_meant(here: Place) -> None:
    command = ["agent", "-e", "test", "--root", str(here.root), "--port", "0"]
    with agent_process(here):
        pass
    ended = rollout(*command, "--replica", "r7")
    assert (ended.status, "names no agent of a replica 'r7'" in ended.err) == (2, True)
