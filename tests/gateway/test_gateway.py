"""The gateway over real sockets: who is served by what, and what is left in the log."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rollout.wiring import gateway_app
from tests.support.gateway import CANDIDATE, NAME, STABLE, World, environment, eventually, running
from tests.support.upstream import Behaviour, FakeUpstream, serving

USERS = [f"user-{number}" for number in range(60)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running(tmp_path) as world:
        yield world


def served(world: World, user: str | None = None) -> str:
    answer = world.ask(user)
    assert answer.status_code == 200
    return answer.headers["x-rollout-adapter"]


def test_no_flag_file_means_stable(world: World) -> None:
    answer = world.ask("ann")
    assert answer.headers["x-rollout-adapter"] == STABLE
    assert answer.headers["x-rollout-slot"] == "stable"
    assert world.rows()[0]["flag_reason"] == "CLIENT_NOT_READY"


def test_share_zero_never_serves_the_candidate(world: World) -> None:
    world.dial("0%")
    assert {served(world, user) for user in USERS} == {STABLE}


def test_the_whole_serves_the_candidate_to_everyone_keyed_or_not(world: World) -> None:
    world.dial("100%")
    assert {served(world, user) for user in USERS[:10]} == {CANDIDATE}
    assert served(world) == CANDIDATE


def test_unkeyed_requests_stay_on_stable_below_the_whole(world: World) -> None:
    world.dial("99.999%")
    assert {served(world) for _ in range(10)} == {STABLE}
    assert {row["keyed"] for row in world.rows()} == {0}


def test_a_user_stays_with_one_adapter_and_stays_in_as_the_share_grows(world: World) -> None:
    cohorts = []
    for share in ("25%", "50%"):
        world.dial(share)
        once = {user for user in USERS if served(world, user) == CANDIDATE}
        assert once == {user for user in USERS if served(world, user) == CANDIDATE}
        cohorts.append(once)
    assert set() < cohorts[0] < cohorts[1]


def test_the_body_user_is_the_key_where_no_header_is(world: World) -> None:
    world.dial("50%")
    for user in USERS[:12]:
        body = {"model": NAME, "prompt": "x", "user": user}
        by_body = world.client.post("/v1/completions", json=body).headers["x-rollout-adapter"]
        assert by_body == served(world, user)


def test_keys_are_recorded_hashed_only(world: World) -> None:
    world.ask("ann@example.org")
    row = world.rows()[0]
    assert row["keyed"] == 1
    assert row["key_hash"]
    assert b"ann@example" not in b"".join(path.read_bytes() for path in world.root.glob("traffic.sqlite*"))


def test_a_candidate_with_older_flag_data_is_not_exposed(world: World) -> None:
    world.dial("100%")
    version = world.status()["flag_versions"]["lora-support-bot"]
    world.route(2, min_flag_version=version + 1)
    assert served(world, "ann") == STABLE
    assert world.rows()[-1]["flag_reason"] == "STALE_FLAG"


def test_a_route_without_candidate_serves_stable_at_any_share(world: World) -> None:
    world.dial("100%")
    world.route(2, candidate=None)
    assert served(world, "ann") == STABLE
    assert world.rows()[-1]["flag_reason"] == "NO_CANDIDATE"


def test_taking_back_reaches_the_next_requests(world: World) -> None:
    world.dial("100%")
    version = world.flags.take_back("lora-support-bot", by="test", comment="").version
    eventually(lambda: world.status()["flag_versions"]["lora-support-bot"] == version)
    assert {served(world, user) for user in USERS[:10]} == {STABLE}


def test_an_answer_passes_byte_for_byte(world: World) -> None:
    answer = world.ask("ann")
    assert answer.content == world.upstream.whole("/v1/chat/completions", STABLE, '{"intent": "billing"}')
    row = world.rows()[0]
    assert (row["status"], row["format_valid"], row["completion_tokens"]) == (200, 1, 21)
    assert row["output_chars"] == 21


def test_the_request_passes_with_another_model_and_nothing_else_changed(world: World) -> None:
    world.ask("ann", temperature=0.25, metadata={"ü": [1, None, "😀"]})
    request = world.upstream.seen[0]
    assert request == {
        "model": STABLE,
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.25,
        "metadata": {"ü": [1, None, "😀"]},
    }


def test_two_model_keys_leave_no_doubt_for_the_server(world: World) -> None:
    body = b'{"model": "support-bot-1.1.0-bbbbbbbbbbbb", "prompt": "x", "model": "support-bot"}'
    headers = {"content-type": "application/json"}
    answer = world.client.post("/v1/completions", content=body, headers=headers)
    assert answer.headers["x-rollout-adapter"] == STABLE
    assert world.upstream.seen == [{"model": STABLE, "prompt": "x"}]


def test_what_the_client_said_of_its_own_bytes_is_not_said_of_ours(world: World) -> None:
    headers = {
        "content-type": "application/json; charset=latin-1",
        "content-encoding": "gzip",
        "connection": "content-type, content-length, x-mine",
        "x-mine": "1",
    }
    answer = world.client.post("/v1/completions?a=1#b", json={"model": NAME, "prompt": "x"}, headers=headers)
    assert answer.status_code == 200
    seen = world.upstream.headers[0]
    assert seen["content-type"] == "application/json"
    assert seen["content-length"] == str(len(f'{{"model":"{STABLE}","prompt":"x"}}'))
    assert not {"content-encoding", "x-mine"} & seen.keys()


def test_a_number_sign_in_the_query_is_no_failure_of_the_adapter(world: World) -> None:
    host, _, port = world.url.removeprefix("http://").partition(":")
    body = b'{"model": "%s", "prompt": "x"}' % NAME.encode()
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(
            b"POST /v1/completions?a=#b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )
        assert connection.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"
    assert world.rows()[0]["error"] is None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "body", [b"{}", b'{"detail": "no"}', b'{"choices": []}', b'{"message": "try later", "code": 1}']
)
def test_a_success_that_holds_no_answer_is_an_error(world: World, body: bytes, stream: bool) -> None:
    world.route(2, response_schema=None)
    world.upstream.raw = b"data: " + body + b"\n\ndata: [DONE]\n\n" if stream else body
    assert world.ask("ann", stream=stream).status_code == 200
    assert world.rows()[0]["error"] == "the answer holds no choice"


def test_headers_that_name_adapters_are_the_gateways_alone(world: World) -> None:
    headers = {
        "x-amzn-sagemaker-adapter-identifier": CANDIDATE,
        "authorization": "Bearer t",
        "te": "trailers",
    }
    world.client.post("/v1/completions", json={"model": NAME, "prompt": "x"}, headers=headers)
    seen = world.upstream.headers[0]
    assert seen["authorization"] == "Bearer t"
    assert "x-amzn-sagemaker-adapter-identifier" not in seen
    assert "te" not in seen


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_stream_passes_byte_for_byte(world: World, path: str) -> None:
    body = {"model": NAME, "prompt": "x", "messages": [], "stream": True}
    with world.client.stream("POST", path, json=body) as answer:
        content = b"".join(answer.iter_raw())
    assert content == b"".join(world.upstream.events(path, STABLE, '{"intent": "billing"}'))
    row = world.rows()[0]
    assert (row["status"], row["error"], row["format_valid"]) == (200, None, 1)


def test_a_stream_is_not_held_back(world: World) -> None:
    world.upstream.models[STABLE] = Behaviour(token_delay_s=0.02)
    with world.client.stream("POST", "/v1/completions", json={"model": NAME, "stream": True}) as answer:
        chunks = answer.iter_raw()
        first = next(chunks)
        assert world.upstream.busy == 1, "the server was still speaking when the first bytes came"
        assert first.count(b"data:") < 10
        for _ in chunks:
            pass
    row = world.rows()[0]
    assert row["first_byte_ms"] < row["latency_ms"] / 2


def test_a_malformed_answer_is_recorded_as_such(world: World) -> None:
    for text in ("not json", '{"intent": 3}', '{"intent": NaN}', "[1]", ""):
        world.upstream.models[STABLE] = Behaviour(text=text)
        assert world.ask("ann").status_code == 200
        assert world.ask("ann", stream=True).status_code == 200
    assert [row["format_valid"] for row in world.rows()] == [0] * 10


def test_free_text_has_no_format_to_break(world: World) -> None:
    world.route(2, response_schema=None)
    world.ask("ann")
    assert world.rows()[0]["format_valid"] is None


def test_an_unusable_schema_does_not_hold_up_the_routes(world: World) -> None:
    world.route(2, response_schema={"type": "nonsense"}, candidate=None)
    world.ask("ann")
    assert world.rows()[0]["format_valid"] is None
    assert world.status()["routes_error"] == "the response schema of support-bot cannot be used"


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_the_candidates_failures_are_its_own(world: World, status: int) -> None:
    world.dial("100%")
    world.upstream.models[CANDIDATE] = Behaviour(status=status)
    answer = world.ask("ann")
    retried = status in (500, 503)
    assert answer.status_code == (200 if retried else status), "stable is asked where the server failed"
    row = world.rows()[0]
    assert (row["served"], row["status"], row["format_valid"]) == (CANDIDATE, status, None)


def test_an_engine_cannot_claim_that_the_client_left(world: World) -> None:
    world.upstream.models[STABLE] = Behaviour(status=499)
    assert world.ask("ann").status_code == 499
    row = world.rows()[0]
    assert (row["status"], row["error"]) == (499, "the engine says that its client left")


def test_a_status_that_does_not_exist_is_no_answer(world: World) -> None:
    world.upstream.models[STABLE] = Behaviour(status=599)
    assert world.ask("ann").status_code == 599
    with (
        _socket_server(b"HTTP/1.1 799 Odd\r\ncontent-length: 0\r\n\r\n") as url,
        _in_front_of(url, world) as client,
    ):
        assert client.post("/v1/completions", json={"model": NAME}).status_code == 502
    # Two gateways write into one log, in no order.
    assert {(row["status"], row["error"]) for row in world.rows(2)} == {
        (599, None),
        (0, "no replica answered: 799 is no status of HTTP"),
    }


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", "no replica answered: it closed the connection"),
        (b"\x00\xff garbage\r\n\r\n", "no replica answered: it does not speak HTTP"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n123456",
            "no replica answered: it does not speak HTTP",
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12", "the answer broke off"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>", "the answer is not JSON"),
    ],
    ids=["nothing", "garbage", "two lengths", "half", "html"],
)
def test_a_server_that_talks_nonsense_is_an_error(world: World, said: bytes, error: str) -> None:
    with (
        _socket_server(said) as url,
        _in_front_of(url, world) as client,
        contextlib.suppress(httpx.RemoteProtocolError),
    ):
        client.post("/v1/completions", json={"model": NAME})
    assert world.rows()[-1]["error"] == error


@contextlib.contextmanager
def _socket_server(said: bytes) -> Iterator[str]:
    """Reads a request and says the same to everyone."""

    class Talker(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(said)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Talker) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextlib.contextmanager
def _in_front_of(url: str, world: World) -> Iterator[httpx.Client]:
    """A second gateway over the same files, with another server behind it."""
    with (
        serving(gateway_app(environment(url), world.root)) as gateway,
        httpx.Client(base_url=gateway) as client,
    ):
        yield client


def test_an_adapter_that_is_not_loaded_is_its_own_failure(world: World) -> None:
    world.dial("100%")
    del world.upstream.models[CANDIDATE]
    assert world.ask("ann").headers["x-rollout-adapter"] == STABLE
    failed, answered = world.rows()
    assert world.log.requests(NAME)[CANDIDATE].failed == 1
    assert (answered["served"], answered["retry_of"]) == (STABLE, failed["request_id"])


def test_values_that_are_not_finite_are_an_error_and_not_the_clients(world: World) -> None:
    world.upstream.models[STABLE] = Behaviour(
        status=400, text="Out of range float values are not JSON compliant"
    )
    world.ask("ann")
    assert world.rows()[0]["error"] == "the adapter's values are not finite"


def test_a_stream_that_breaks_off_is_an_error_for_client_and_log(world: World) -> None:
    world.upstream.models[STABLE] = Behaviour(break_after=3)
    with (
        pytest.raises(httpx.RemoteProtocolError),
        world.client.stream("POST", "/v1/completions", json={"model": NAME, "stream": True}) as answer,
    ):
        for _ in answer.iter_raw():
            pass
    row = world.rows()[0]
    assert (row["status"], row["error"], row["format_valid"]) == (200, "the answer broke off", None)


def test_a_client_that_leaves_ends_the_request_upstream(world: World) -> None:
    world.upstream.models[STABLE] = Behaviour(token_delay_s=0.05)
    with world.client.stream("POST", "/v1/completions", json={"model": NAME, "stream": True}) as answer:
        next(answer.iter_raw())
    eventually(lambda: world.upstream.left == 1)
    eventually(lambda: world.status()["in_flight"][STABLE] == 0)
    row = world.rows()[0]
    assert (row["status"], row["error"], row["format_valid"]) == (499, None, None)


def test_a_client_that_leaves_before_the_answer_is_no_failure(world: World) -> None:
    world.upstream.models[STABLE] = Behaviour(delay_s=5)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{world.url}/v1/completions", json={"model": NAME}, timeout=0.2)
    eventually(lambda: world.upstream.left == 1)
    assert world.rows()[0]["status"] == 499


def test_a_client_that_hangs_up_after_the_last_event_has_its_answer(world: World) -> None:
    world.upstream.models[STABLE] = Behaviour(linger_s=5)
    with world.client.stream("POST", "/v1/completions", json={"model": NAME, "stream": True}) as answer:
        for line in answer.iter_lines():
            if line == "data: [DONE]":
                break
    eventually(lambda: world.upstream.left == 1)
    row = world.rows()[0]
    assert (row["status"], row["error"], row["format_valid"]) == (200, None, 1)


def test_routes_that_do_not_parse_leave_the_last_good_ones(world: World) -> None:
    (world.root / "routes.json").write_text("{")
    eventually(lambda: world.status()["routes_error"])
    assert served(world, "ann") == STABLE
    assert world.status()["routes_revision"] == 1


def test_status_says_when_each_adapter_was_last_routed(world: World) -> None:
    world.ask("ann")
    row = world.rows()[0]
    status = world.status()
    assert status["last_routed"] == {STABLE: row["routed_at"]}
    assert status["in_flight"] == {STABLE: 0}
    assert world.log.last_routed(NAME, STABLE) == row["routed_at"]
    assert world.log.last_routed(NAME, CANDIDATE) is None


def test_metrics_name_the_adapter_and_the_reason(world: World) -> None:
    world.dial("100%")
    world.ask("ann")
    world.client.get("/nowhere")
    eventually(world.rows)
    text = world.client.get("/metrics").text
    assert f'rollout_gateway_requests_total{{name="support-bot",served="{CANDIDATE}",shadow="0"' in text
    assert 'reason="FALLTHROUGH",slot="candidate"} 1.0' in text
    assert 'rollout_gateway_flag_version{flag="lora-support-bot"} 2.0' in text
    assert "rollout_gateway_routes_revision 1.0" in text
    assert 'rollout_gateway_refused_total{status="404"} 1.0' in text


def test_a_replica_that_is_down_is_not_noticed_by_users(tmp_path: Path) -> None:
    with running(tmp_path, replicas=("http://127.0.0.1:9",)) as world:
        assert [world.ask("ann").status_code for _ in range(6)] == [200] * 6
        assert [row["error"] for row in world.rows()] == [None] * 6


def test_users_notice_nothing_while_one_replica_of_several_is_up(tmp_path: Path) -> None:
    down = tuple(f"http://127.0.0.1:{port}" for port in (9, 10, 11))
    with running(tmp_path, replicas=down) as world:
        assert [world.ask("ann").status_code for _ in range(6)] == [200] * 6
        assert [row["error"] for row in world.rows()] == [None] * 6


def test_a_replica_that_was_started_anew_without_its_adapters_is_not_noticed(tmp_path: Path) -> None:
    fresh = FakeUpstream(lists=False)
    with serving(fresh) as url, running(tmp_path, replicas=(url, "http://127.0.0.1:9")) as world:
        assert [world.ask("ann").status_code for _ in range(6)] == [200] * 6
        assert [row["status"] for row in world.rows()] == [200] * 6
        assert fresh.paths, "it was asked and said 404"


def test_an_adapter_that_no_replica_has_is_still_not_found(tmp_path: Path) -> None:
    with serving(FakeUpstream()) as url, running(tmp_path, replicas=(url,)) as world:
        world.upstream.models.clear()
        assert world.ask("ann").status_code == 404


def test_no_replica_at_all_is_an_answer_that_never_came(world: World, tmp_path: Path) -> None:
    with serving(gateway_app(environment("http://127.0.0.1:9"), tmp_path)) as url:
        answer = httpx.post(f"{url}/v1/completions", json={"model": NAME})
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_unavailable"
    row = world.rows()[0]
    assert row["status"] == 0
    assert row["error"] == "no replica answered: it could not be reached"
