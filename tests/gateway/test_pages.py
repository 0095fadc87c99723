"""The guarded pages of a real gateway: who may, what they do, and that what they do is in force at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.errors import (
    MetricsUnavailable,
    ServingUnavailable,
    Unavailable,
    Unreadable,
    Usage,
    WorldChanged,
)
from rollout.integrations.gateways import GatewayClient
from rollout.integrations.routesfile import RoutesFile
from rollout.wiring import engine_middleware, gateway_app
from tests.support.gateway import (
    CANDIDATE,
    FLAG,
    NAME,
    STABLE,
    World,
    environment,
    eventually,
    routes,
    running,
)
from tests.support.upstream import Behaviour, FakeUpstream, serving

TOKEN = "s3cret-of-the-gateway"
PAGES = [
    ("GET", "/rollout/hold"),
    ("POST", "/rollout/hold"),
    ("DELETE", f"/rollout/hold/{CANDIDATE}"),
    ("GET", "/rollout/routes"),
    ("PUT", "/rollout/routes"),
    ("GET", "/rollout/flags"),
    ("GET", "/rollout/records"),
    ("GET", "/rollout/edge"),
    ("POST", "/rollout/samples"),
    ("POST", "/rollout/exposure"),
]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("GATEWAY_TOKEN", TOKEN)
    gateways = [{"name": "g0", "url": "http://127.0.0.1:8000", "token_env": "GATEWAY_TOKEN"}]
    with running(tmp_path, gateways=gateways) as world:
        yield world


@pytest.fixture
def client(world: World) -> GatewayClient:
    return GatewayClient("g0", world.url, token=TOKEN, timeout_s=10)


def asked(world: World, method: str, path: str, **options: Any) -> httpx.Response:
    return world.client.request(method, path, headers={"authorization": f"Bearer {TOKEN}"}, **options)


def served(world: World, user: str = "ann") -> str:
    return world.ask(user).headers["x-rollout-adapter"]


def error(answer: httpx.Response) -> dict[str, Any]:
    """The error, which must have OpenAI's form."""
    body: dict[str, Any] = answer.json()["error"]
    assert set(body) == {"message", "type", "param", "code"}
    return body


# Who may


STRANGERS = [
    None,
    "",
    "Bearer",
    f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[:-1]}",
    f"Basic {TOKEN}",
    TOKEN,
    "Bearer é",
]


@pytest.mark.parametrize(("method", "path"), PAGES)
def test_nobody_without_the_token_gets_a_page_or_changes_anything(
    world: World, method: str, path: str
) -> None:
    for number, header in enumerate(STRANGERS, start=1):
        headers = {} if header is None else {b"authorization": header.encode()}
        body = {"served": CANDIDATE, "by": "x", "reason": "x"}
        answer = world.client.request(method, path, headers=headers, json=body)
        assert answer.status_code == 401, header
        assert error(answer)["code"] == "no_access"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.text
        status = world.status()
        assert (status["held"], status["routes_revision"], status["denied"]) == ([], 1, number)


def test_two_authorizations_are_none(world: World) -> None:
    headers = [("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer x")]
    assert world.client.get("/rollout/flags", headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("name", "taken"),
    [(None, ["token-a", "token-b"]), ("g1", ["token-b"]), ("g2", ["token-a", "token-b"])],
)
def test_a_gateway_takes_its_own_token_or_that_of_any_if_its_own_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None, taken: list[str]
) -> None:
    monkeypatch.setenv("A_TOKEN", "token-a")
    monkeypatch.setenv("B_TOKEN", "token-b")
    gateways = [
        {"name": f"g{number}", "url": f"http://127.0.0.1:800{number}", "token_env": variable}
        for number, variable in enumerate(("A_TOKEN", "B_TOKEN", "C_TOKEN"))
    ]
    RoutesFile(tmp_path / "routes.json", "test").update(lambda _: routes())
    document = environment("http://127.0.0.1:9", gateways=gateways)
    with serving(gateway_app(document, tmp_path, name=name)) as url:
        for token in ("token-a", "token-b", "token-c", "token-"):
            answer = httpx.get(f"{url}/rollout/flags", headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == (200 if token in taken else 401), token
            pin = {"x-rollout-pin": "candidate", "x-rollout-token": token}
            body = {"model": NAME, "messages": []}
            answer = httpx.post(f"{url}/v1/chat/completions", json=body, headers=pin)
            assert (answer.status_code == 403) is (token not in taken), token


@pytest.mark.parametrize(("method", "path"), PAGES)
def test_without_a_configured_token_the_pages_do_nothing_and_say_so(
    tmp_path: Path, method: str, path: str
) -> None:
    with running(tmp_path) as world:
        for header in ("Bearer", "Bearer x", "Bearer None"):
            answer = world.client.request(method, path, headers={"authorization": header}, json={})
            assert answer.status_code == 403
            assert "No token is configured" in error(answer)["message"]


def test_the_scheme_is_told_in_any_case(world: World) -> None:
    answer = world.client.get("/rollout/flags", headers={"authorization": f"bearer {TOKEN}"})
    assert answer.status_code == 200


def test_failed_attempts_are_counted_for_prometheus_too(world: World) -> None:
    for _ in range(3):
        world.client.get("/rollout/records")
    assert 'rollout_gateway_refused_total{status="401"} 3.0' in world.client.get("/rollout/metrics").text


def test_the_open_pages_stay_open(world: World) -> None:
    for path in ("/health", "/v1/models", "/rollout/status", "/rollout/metrics", "/metrics"):
        assert world.client.get(path).status_code == 200


def test_another_method_is_told_which_there_are(world: World) -> None:
    answer = asked(world, "DELETE", "/rollout/routes")
    assert answer.status_code == 405
    assert error(answer)["message"] == "/rollout/routes knows GET, PUT."


@pytest.mark.parametrize("path", ["/rollout", "/rollout/", "/rollout/nothing", "/rollout/routes/x"])
def test_other_paths_are_not_there(world: World, path: str) -> None:
    assert asked(world, "GET", path).status_code == 404


# Hold


def test_a_hold_sends_everyone_to_stable_before_it_is_answered(world: World, client: GatewayClient) -> None:
    world.dial("100%")
    assert served(world) == CANDIDATE
    assert client.hold(served=CANDIDATE, by="ann", reason="it swears") == CANDIDATE
    assert {served(world, f"user-{number}") for number in range(20)} == {STABLE}
    eventually(lambda: [row["flag_reason"] for row in world.rows()].count("HELD") == 20, within_s=30)
    assert client.held() == {CANDIDATE: {"by": "ann", "reason": "it swears"}}
    assert world.status()["held"] == [CANDIDATE]


def test_a_hold_outlives_the_gateway_and_reaches_its_neighbours(world: World, client: GatewayClient) -> None:
    client.hold(served=CANDIDATE, by="ann", reason="x")
    again = [{"name": "g0", "url": "http://127.0.0.1:8000", "token_env": "GATEWAY_TOKEN"}]
    with running(world.root, gateways=again) as other:
        other.dial("100%")
        assert served(other) == STABLE


@pytest.mark.parametrize("spoilt", ["cut", "empty", "folder", "other"])
def test_a_gateway_that_cannot_read_who_is_held_gives_nobody_a_candidate(
    world: World, client: GatewayClient, spoilt: str
) -> None:
    client.hold(served=CANDIDATE, by="ann", reason="x")
    path = world.root / "holds.json"
    content = path.read_bytes()
    path.unlink()
    if spoilt == "folder":
        path.mkdir()
    else:
        path.write_bytes({"cut": content[:40], "empty": b"", "other": b'{"held": []}'}[spoilt])
    with running(world.root) as again:
        again.dial("100%")
        assert served(again) == STABLE
        eventually(lambda: [row["flag_reason"] for row in again.rows()][-1:] == ["HELD"], within_s=30)
        assert "every candidate is held" in again.status()["holds_error"]
        assert "rollout_gateway_holds_unread 1.0" in again.client.get("/rollout/metrics").text
        path.rmdir() if spoilt == "folder" else path.unlink()
        path.write_bytes(content.replace(CANDIDATE.encode(), b"another"))
        eventually(lambda: again.status()["held"] == ["another"], within_s=30)
        assert again.status()["holds_error"] is None
        assert served(again) == CANDIDATE
        path.write_bytes(b"")  # what was read before stays in force
        eventually(lambda: again.status()["holds_error"] == "holds.json: is no list of holds: 1 flaws")
        assert served(again) == CANDIDATE


def test_no_list_of_holds_holds_nobody(world: World) -> None:
    world.dial("100%")
    assert served(world) == CANDIDATE
    assert world.status()["holds_error"] is None
    assert "rollout_gateway_holds_unread 0.0" in world.client.get("/rollout/metrics").text


def test_a_logical_name_holds_its_candidate(world: World, client: GatewayClient) -> None:
    world.dial("100%")
    assert client.hold(name=NAME, by="ann", reason="x") == CANDIDATE
    assert served(world) == STABLE


def test_holding_twice_is_holding(world: World, client: GatewayClient) -> None:
    for reason in ("one", "two"):
        client.hold(served=CANDIDATE, by="ann", reason=reason)
    assert client.held() == {CANDIDATE: {"by": "ann", "reason": "two"}}
    client.lift(CANDIDATE)
    world.dial("100%")
    assert served(world) == CANDIDATE


def test_what_is_not_held_cannot_be_lifted(client: GatewayClient) -> None:
    with pytest.raises(Unreadable, match=f"{CANDIDATE} is not held"):
        client.lift(CANDIDATE)


def test_names_with_a_slash_are_lifted_too(world: World, client: GatewayClient) -> None:
    answer = asked(world, "POST", "/rollout/hold", json={"served": "team/bot 1", "by": "ann", "reason": "x"})
    assert answer.json() == {"held": "team/bot 1", "by": "ann", "reason": "x", "candidate_of": []}
    client.lift("team/bot 1")
    assert client.held() == {}


def test_stable_itself_is_not_held(world: World, client: GatewayClient) -> None:
    with pytest.raises(WorldChanged, match=f"{STABLE} is what stable serves.*rollout rollback"):
        client.hold(served=STABLE, by="ann", reason="x")
    world.route(2, stable=CANDIDATE)  # while a release settles both slots name it
    with pytest.raises(WorldChanged, match=f"{CANDIDATE} is what stable serves"):
        client.hold(name=NAME, by="ann", reason="x")
    assert world.status()["held"] == []


def test_a_name_without_a_candidate_holds_nothing(world: World, client: GatewayClient) -> None:
    with pytest.raises(Unreadable, match="no route of that name"):
        client.hold(name="nobody", by="ann", reason="x")
    world.route(2, candidate=None)
    with pytest.raises(Unreadable, match="no candidate under that name"):
        client.hold(name=NAME, by="ann", reason="x")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"by": "ann", "reason": "x"}',
        b'{"served": "a", "name": "b", "by": "ann", "reason": "x"}',
        b'{"served": "a", "by": "ann"}',
        b'{"served": "", "by": "ann", "reason": "x"}',
        b'{"served": "a", "by": "ann", "reason": "two\\nlines"}',
        b'{"served": 1, "by": "ann", "reason": "x"}',
        b'{"served": "a", "by": "ann", "reason": "x", "for": "1h"}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_hold_that_is_not_understood_holds_nothing(world: World, body: bytes) -> None:
    answer = asked(world, "POST", "/rollout/hold", content=body)
    assert answer.status_code == 400
    assert error(answer)["code"] == "invalid_document"
    assert world.status()["held"] == []


def test_a_body_without_end_is_refused(world: World) -> None:
    answer = asked(world, "POST", "/rollout/hold", content=b" " * (5 * 1024 * 1024))
    assert answer.status_code == 413


def test_a_hold_that_cannot_be_written_is_in_force_and_says_so(world: World, client: GatewayClient) -> None:
    world.dial("100%")
    (world.root / ".holds.json.lock").mkdir()  # no lock can be had where a folder is
    answer = asked(world, "POST", "/rollout/hold", json={"served": CANDIDATE, "by": "ann", "reason": "x"})
    assert answer.status_code == 507
    assert "is held by this process from now on, but a restart forgets it" in error(answer)["message"]
    assert served(world) == STABLE
    with pytest.raises(ServingUnavailable, match="held by this process"):
        client.hold(served=CANDIDATE, by="ann", reason="x")
    with pytest.raises(Unavailable, match="cannot be locked for writing"):
        client.lift(CANDIDATE)
    assert served(world) == STABLE


def test_what_a_neighbour_holds_does_not_forget_what_could_not_be_written(
    world: World, client: GatewayClient
) -> None:
    lock = world.root / ".holds.json.lock"
    lock.mkdir()
    asked(world, "POST", "/rollout/hold", json={"served": CANDIDATE, "by": "ann", "reason": "x"})
    lock.rmdir()
    client.hold(served="another", by="bob", reason="y")
    assert sorted(client.held()) == ["another", CANDIDATE]
    kept = json.loads((world.root / "holds.json").read_bytes())["held"]
    assert sorted(kept) == ["another"]
    client.hold(served=CANDIDATE, by="ann", reason="x")
    kept = json.loads((world.root / "holds.json").read_bytes())["held"]
    assert sorted(kept) == ["another", CANDIDATE]


# Routes and flags


def test_the_routes_in_force_are_shown_whole(world: World, client: GatewayClient) -> None:
    assert client.routes() == routes(1)


def test_a_newer_document_is_in_force_and_on_disk_before_the_answer(
    world: World, client: GatewayClient
) -> None:
    world.dial("100%")
    for revision in range(2, 30):
        candidate = f"candidate-{revision}"
        client.put_routes(routes(revision, stable=candidate, candidate=candidate))
        assert served(world) == candidate
        assert RoutesFile(world.root / "routes.json", "test").read().revision == revision


def test_the_same_document_may_come_again(world: World, client: GatewayClient) -> None:
    assert client.put_routes(routes(1)) == routes(1)


def test_a_late_document_is_refused_with_the_revision_that_is_there(
    world: World, client: GatewayClient
) -> None:
    world.route(5)
    for revision in (4, 5):
        with pytest.raises(WorldChanged, match=f"at revision 5, so revision {revision} is too late"):
            client.put_routes(routes(revision, candidate=None))
    assert client.routes() == routes(5)


def test_routes_of_another_environment_are_refused(client: GatewayClient) -> None:
    other = routes(9).model_copy(update={"environment": "production"})
    with pytest.raises(Unreadable, match="routes of production do not belong into those of test"):
        client.put_routes(other)
    assert client.routes() == routes(1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"environment": "test", "revision": 2}',
        b'{"environment": "test", "revision": 2, "routes": {"x": {}}}',
        b'{"environment": "test", "revision": 1%s, "routes": {}}' % (b"0" * 400),
        b'{"environment": "test", "revision": 2, "routes": {"x": {"flag": "f", "stable": "s", '
        b'"min_flag_version": 1%s}}}' % (b"0" * 400),
    ],
)
def test_what_is_no_routes_document_changes_nothing(world: World, body: bytes) -> None:
    answer = asked(world, "PUT", "/rollout/routes", content=body)
    assert answer.status_code == 400
    assert world.status()["routes_revision"] == 1
    assert "rollout_gateway_routes_revision 1.0" in world.client.get("/rollout/metrics").text


def test_a_document_that_cannot_be_written_is_not_in_force(world: World, client: GatewayClient) -> None:
    (world.root / ".routes.json.tmp").mkdir()
    with pytest.raises(Unavailable, match=r"routes\.json cannot be written"):
        client.put_routes(routes(2, candidate=None))
    assert client.routes() == routes(1)


def test_flags_tell_versions_and_age(world: World) -> None:
    world.dial("10%")
    answer = asked(world, "GET", "/rollout/flags").json()
    assert answer["versions"] == world.status()["flag_versions"]
    assert set(answer["versions"]) == {FLAG}
    assert 0 <= answer["age_s"] < 60
    assert (answer["ready"], answer["error"]) == (True, None)


# The traffic log


def test_records_come_in_pages_and_never_with_texts(world: World, client: GatewayClient) -> None:
    for number in range(5):
        world.ask(f"user-{number}", messages=[{"role": "user", "content": "my secret"}])
    eventually(lambda: len(client.records(after=0, limit=100)) == 5)
    found: list[tuple[int, Any]] = []
    while page := client.records(after=found[-1][0] if found else 0, limit=2):
        assert len(page) <= 2
        found += page
    assert [number for number, _ in found] == sorted({number for number, _ in found})
    rows = world.rows()
    assert [record.request_id for _, record in found] == [row["request_id"] for row in rows]
    assert [record.latency_ms for _, record in found] == [row["latency_ms"] for row in rows]
    answer = asked(world, "GET", "/rollout/records")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert "my secret" not in answer.text
    assert "intent" not in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "after=-1",
        "limit=0",
        "limit=1001",
        "limit=x",
        "after=1&after=2",
        "limit=%00",
        "after=１",
        "x=1",
        "=",
        "a",
        "after=" + "9" * 30,
    ],
)
def test_a_query_that_is_not_understood_is_refused(world: World, query: str) -> None:
    answer = asked(world, "GET", f"/rollout/records?{query}")
    assert answer.status_code == 400
    assert error(answer)


def test_without_a_log_samples_are_unavailable_and_the_gateway_lives(
    world: World, client: GatewayClient
) -> None:
    for path in world.root.glob("traffic.sqlite*"):
        path.unlink()
    # The recorder may be making it anew at this very moment.
    with pytest.raises(MetricsUnavailable, match=r"there is no traffic log|has schema 0"):
        client.edge()
    assert served(world) == STABLE


# Inside an engine


def test_the_pages_are_there_inside_an_engine_too_and_its_own_paths_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_TOKEN", TOKEN)
    gateways = [{"name": "g0", "url": "http://127.0.0.1:8000", "token_env": "GATEWAY_TOKEN"}]
    engine = FakeUpstream({STABLE: Behaviour(), CANDIDATE: Behaviour()})
    RoutesFile(tmp_path / "routes.json", "test").update(lambda _: routes())
    document = environment("http://127.0.0.1:9", gateways=gateways)
    with serving(engine_middleware(engine, document, tmp_path)) as url:
        client = GatewayClient("g0", url, token=TOKEN)
        assert client.hold(name=NAME, by="ann", reason="x") == CANDIDATE
        assert client.routes() == routes(1)
        assert client.edge().endswith(":0")
        assert httpx.get(f"{url}/rollout/routes").status_code == 401
        names = [model["id"] for model in httpx.get(f"{url}/v1/models").json()["data"]]
        assert NAME not in names  # the list is the engine's own


# The client


def test_a_wrong_token_is_a_mistake_of_the_caller_and_is_shown_nowhere(world: World) -> None:
    client = GatewayClient("g0", world.url, token="wrong-secret")
    with pytest.raises(Usage, match="gateway g0 does not take our token") as caught:
        client.routes()
    assert "wrong-secret" not in f"{caught.value!r} {caught.value.advice} {client!r} {client._line!r}"


def test_what_is_no_gateway_is_unavailable(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        upstream = f"{world.url}/nowhere"
        client = GatewayClient("g0", upstream, token="t")
        for ask in (client.routes, client.edge, client.held, client.status):
            with pytest.raises(ServingUnavailable, match="gateway g0 answered 404"):
                ask()
