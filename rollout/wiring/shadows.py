"""What a comparison over traffic is made with: the log, an encoder, and replicas to ask again."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.bearer import token_from
from rollout.errors import ServingUnavailable, Usage

if TYPE_CHECKING:
    from rollout.core.environment import Environment
    from rollout.core.metric import NotCopied
    from rollout.core.shadow.echo import Echoes, Pace
    from rollout.core.shadow.question import Question
    from rollout.gateway.routes import LiveRoute
    from rollout.gateway.upstream import Address
    from rollout.ports import ShadowTraffic
    from rollout.usecases.bout import Bout
    from rollout.usecases.shadow import Means

Progress = Callable[[str, int, int], None]
_ENDINGS = signal.SIGINT, signal.SIGTERM
_READING_S = 30.0
"""Patience with a gateway that reads its log."""
TOKEN = "ROLLOUT_ENGINE_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable with the bearer token of servers that are named on the command line."""


def shadow_traffic(environment: Environment, root: Path, *, edge: str | None = None) -> ShadowTraffic:
    """The traffic log of an environment, or what its gateways tell of theirs behind the `edge` of a release."""
    from rollout.core.environment import Reach
    from rollout.integrations.gateways.shadowed import GatewayShadow
    from rollout.integrations.trafficlog.shadowed import ShadowLog
    from rollout.wiring.worlds import gateway_clients

    if environment.reach is Reach.GATEWAYS:
        return GatewayShadow(gateway_clients(environment, timeout_s=_READING_S), edge)
    return ShadowLog(root / environment.metrics.path, edge)


def shadow_means(root: Path, bout: Bout, command: str, progress: Progress) -> Means:
    """The suite's encoder compares meanings, where it names one."""
    from rollout import __version__
    from rollout.core.panel import Panel
    from rollout.integrations.clock import SystemClock
    from rollout.usecases.shadow import Means
    from rollout.wiring.panel import build_panel

    encoder = build_panel(root, Panel(similarity=bout.golden.suite.panel.similarity))
    return Means(
        clock=SystemClock(),
        tool=__version__,
        command=command,
        similarity=next(iter(encoder), None),
        progress=progress,
    )


def replay_targets(environment: Environment, urls: Sequence[str]) -> list[Address]:
    """The servers that are asked: those named, or the environment's replicas."""
    from rollout.gateway.upstream import Address
    from rollout.integrations.openai import server_root

    if urls:
        token = token_from(TOKEN)
        return [Address(name=f"server-{n}", url=server_root(url), token=token) for n, url in enumerate(urls)]
    return [
        Address(name=replica.name, url=replica.url, token=token_from(replica.token_env))
        for replica in environment.replicas
    ]


def skipped_questions(questions: Sequence[Question]) -> dict[NotCopied, int]:
    """How many of them will not be asked again, by why."""
    from rollout.gateway.replaying import why_skipped

    return dict(Counter(why for question in questions if (why := why_skipped(question)) is not None))


def replay(
    bout: Bout,
    due: Sequence[tuple[float, Question]],
    targets: Sequence[Address],
    pace: Pace,
    progress: Progress,
) -> Echoes:
    """Ask again, until the end or a signal to end. Raises ServingUnavailable unless every server has both adapters."""
    import asyncio

    tokens = {target.token for target in targets}
    if len(tokens) > 1:
        raise Usage("the servers need different tokens", advice="Ask them one by one: --against URL.")
    for target in targets:
        _require_served(target, (bout.comparison.stable, bout.comparison.candidate))
    return asyncio.run(_replay(bout, due, targets, tokens.pop(), pace, progress))


async def _replay(
    bout: Bout,
    due: Sequence[tuple[float, Question]],
    targets: Sequence[Address],
    token: str | None,
    pace: Pace,
    progress: Progress,
) -> Echoes:
    import asyncio

    from rollout.gateway.replaying import Replay
    from rollout.gateway.upstream import Pool, Upstream

    upstream = Upstream(Pool(targets), read_timeout_s=pace.timeout_s)
    headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in _ENDINGS:
        loop.add_signal_handler(each, stop.set)
    try:
        return await Replay(upstream, _route(bout), headers=headers, pace=pace).run(due, stop, progress)
    finally:
        for each in _ENDINGS:
            loop.remove_signal_handler(each)
        await upstream.close()


def _route(bout: Bout) -> LiveRoute:
    from rollout.core.routes import Route, Routes
    from rollout.gateway.routes import RouteTable

    name, of = bout.subject.name, bout.comparison
    route = Route(
        flag=name, stable=of.stable, candidate=of.candidate, response_schema=bout.golden.response_schema
    )
    table = RouteTable()
    table.accept(Routes(environment=bout.subject.environment, revision=0, routes={name: route}))
    live = table.find(name)
    assert live is not None
    return live


def _require_served(target: Address, names: Sequence[str]) -> None:
    from rollout.integrations.vllm.replica import Replica

    listed = {model.name for model in Replica(target.name, target.url, token=target.token).models()}
    if absent := [name for name in names if name not in listed]:
        raise ServingUnavailable(
            f"{target.name} ({target.url}) does not serve {' or '.join(absent)}",
            advice="Load the adapters there first; `rollout advance NAME -e ENV` does so for a release.",
        )
