"""Recorded questions asked again: at their times, of both, and never put off."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import Any

import pytest

from rollout.core.metric import ErrorClass, NotCopied
from rollout.core.shadow.echo import Echoes, Pace
from rollout.core.shadow.question import Question
from rollout.gateway.replaying import Replay
from rollout.gateway.routes import RouteTable
from tests.support.gateway import CANDIDATE, NAME, STABLE, routes
from tests.support.upstream import Behaviour, FakeUpstream

PACE = Pace(speed=1.0, max_in_flight=100, timeout_s=5.0, stream=True, seed=1)


def question(number: int, **changes: Any) -> Question:
    body = {"model": "old", "messages": [{"role": "user", "content": f"question {number}"}], **changes}
    return Question(id=f"q{number}", path="/v1/chat/completions", body=json.dumps(body).encode(), at=None)


def replay(
    app: Any,
    due: list[tuple[float, Question]],
    *,
    pace: Pace = PACE,
    stop_after: float | None = None,
) -> Echoes:
    """Ask `app`; `stop_after` seconds somebody presses ^C."""
    table = RouteTable()
    table.accept(routes())
    live = table.find(NAME)
    assert live is not None

    async def scenario() -> Echoes:
        stop = asyncio.Event()
        if stop_after is not None:
            asyncio.get_running_loop().call_later(stop_after, stop.set)
        asked = Replay(app, live, headers=[(b"authorization", b"Bearer t")], pace=pace)
        return await asked.run(due, stop, lambda *_: None)

    return asyncio.run(scenario())


def both(**behaviour: Any) -> FakeUpstream:
    return FakeUpstream({STABLE: Behaviour(**behaviour), CANDIDATE: Behaviour(**behaviour)})


def test_every_question_is_asked_of_both_and_pairs_are_told_by_its_name() -> None:
    upstream = both()
    echoes = replay(upstream, [(0.0, question(n)) for n in range(10)])
    assert Counter(request["model"] for request in upstream.seen) == {STABLE: 10, CANDIDATE: 10}
    assert sorted(pair.stable.request_id for pair in echoes.pairs) == sorted(f"q{n}" for n in range(10))
    for pair in echoes.pairs:
        assert (pair.stable.served, pair.candidate.served) == (STABLE, CANDIDATE)
        assert pair.candidate.pair == pair.stable.request_id
        assert (pair.stable.format_valid, pair.candidate.format_valid) == (True, True)
        assert pair.stable_texts is not None
        assert pair.stable_texts.answer == Behaviour().text


def test_questions_go_out_at_their_times_however_slow_the_answers_are() -> None:
    """An upstream that takes ten times as long as the distance of two questions is asked them all at once."""
    arrived: list[tuple[float, str]] = []
    upstream = both(delay_s=0.5)
    most = 0

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        nonlocal most
        arrived.append((asyncio.get_running_loop().time(), scope["path"]))
        most = max(most, upstream.busy)
        await upstream(scope, receive, send)

    echoes = replay(watched, [(n * 0.05, question(n)) for n in range(8)])
    assert len(echoes.pairs) == 8
    # Had each waited for the one before, no two questions would ever have been under way.
    assert most >= 6
    first = arrived[0][0]
    for place, (at, _) in enumerate(arrived):
        assert at - first >= (place // 2) * 0.05 - 0.01, "none goes out before its time"


def test_speed_shortens_the_distances() -> None:
    due = [(n * 10.0, question(n)) for n in range(3)]
    fast = Pace(speed=1000.0, max_in_flight=100, timeout_s=5.0, stream=False, seed=1)
    echoes = replay(both(), due, pace=fast)
    assert len(echoes.pairs) == 3
    assert echoes.seconds < 10.0, "at its own speed it would have taken twenty seconds"


def test_what_is_due_while_too_many_are_under_way_is_not_sent_and_counted() -> None:
    narrow = Pace(speed=1.0, max_in_flight=2, timeout_s=5.0, stream=True, seed=1)
    upstream = both(delay_s=1.0)
    echoes = replay(upstream, [(0.0, question(n)) for n in range(10)], pace=narrow)
    assert (len(echoes.pairs), echoes.not_sent) == (2, 8)
    assert len(upstream.seen) == 4


def test_the_order_of_the_two_is_random_and_the_same_for_a_seed() -> None:
    def order() -> list[str]:
        asked: list[str] = []
        upstream = both()

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            asked.append(scope["rollout.served"])
            await upstream(scope, receive, send)

        replay(watched, [(n * 0.01, question(n)) for n in range(30)])
        return asked[::2]

    firsts = order()
    assert {STABLE, CANDIDATE} == set(firsts)
    assert 5 <= firsts.count(STABLE) <= 25
    assert order() == firsts


def test_nothing_with_effects_is_asked_again_and_tools_are_left_out() -> None:
    upstream = both()
    tools = [{"type": "function", "function": {"name": "pay"}}]
    echoes = replay(
        upstream,
        [
            (0.0, question(1, store=True)),
            (0.0, question(2, tools=tools, tool_choice="required")),
            (0.0, question(3, tools=tools, stream=False)),
            (0.0, Question(id="q4", path="/v1/completions", body=b"{", at=None)),
        ],
    )
    assert dict(echoes.skipped) == {NotCopied.EFFECTS: 1, NotCopied.TOOLS: 1, NotCopied.UNREADABLE: 1}
    assert [pair.stable.request_id for pair in echoes.pairs] == ["q3"]
    for request, headers in zip(upstream.seen, upstream.headers, strict=True):
        assert set(request) == {"model", "messages", "stream", "stream_options"}
        assert (headers["x-rollout-shadow"], headers["authorization"]) == ("1", "Bearer t")


def test_how_late_each_request_was_is_measured() -> None:
    async def blocking(scope: Any, receive: Any, send: Any) -> None:
        time.sleep(0.2)  # a machine that is too busy to be on time
        await upstream(scope, receive, send)

    upstream = both()
    echoes = replay(blocking, [(n * 0.05, question(n)) for n in range(4)])
    told = echoes.account(4, PACE, ["here"]).lateness
    assert len(echoes.late_ms) == 8
    assert told is not None
    assert told.largest_ms >= 150


def test_a_stopped_replay_gives_what_it_has_and_says_so() -> None:
    upstream = both(delay_s=0.0)
    upstream.models[CANDIDATE] = Behaviour(delay_s=30)
    due = [(0.0, question(1)), (60.0, question(2))]
    echoes = replay(upstream, due, stop_after=0.5)
    assert echoes.stopped
    assert (len(echoes.pairs), echoes.unfinished) == (0, 1)
    assert echoes.account(2, PACE, ["here"]).sent == 1


@pytest.mark.parametrize(
    ("candidate", "why"),
    [
        (Behaviour(delay_s=30), ErrorClass.TIMEOUT),
        (Behaviour(break_after=2), ErrorClass.BROKEN_OFF),
        (Behaviour(status=500), None),
        (None, ErrorClass.UNREACHABLE),
    ],
)
def test_a_candidate_that_fails_is_recorded_as_the_gateway_would(
    candidate: Behaviour | None, why: ErrorClass | None
) -> None:
    upstream = both()
    if candidate is None:
        del upstream.models[CANDIDATE]
    else:
        upstream.models[CANDIDATE] = candidate
    hasty = Pace(speed=1.0, max_in_flight=9, timeout_s=3.0, stream=True, seed=1)
    (pair,) = replay(upstream, [(0.0, question(1))], pace=hasty).pairs
    assert (pair.stable.status, pair.stable.error) == (200, None)
    assert pair.candidate.error_class == why
    assert pair.candidate.status != 200 or pair.candidate.error is not None
    assert pair.candidate_texts is None


def test_users_are_told_apart_and_not_named() -> None:
    due = [(0.0, question(n, user="ann" if n < 2 else "bob")) for n in range(3)]
    hashes = [
        pair.stable.key_hash for pair in sorted(replay(both(), due).pairs, key=lambda p: p.stable.request_id)
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert "ann" not in hashes
