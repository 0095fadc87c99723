"""A release over LaunchDarkly: the real REST client, the real SDK in the gateway, the real ticks between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from rollout.core.environment import Environment
from rollout.core.lifecycle import Phase, RolloutState, fold
from rollout.demo.scratch import ENVIRONMENT, NAME
from rollout.errors import WorldChanged
from rollout.integrations.documents import render
from rollout.ports import World
from rollout.usecases.adopt import adopt
from rollout.usecases.advance import advance
from rollout.usecases.rollback import PhaseDone
from rollout.usecases.rollback import rollback as take_back
from rollout.usecases.tick import Move, Tick
from rollout.wiring import build_world, gateway_app, load_environment
from tests.support.commands import rollout
from tests.support.gateway import eventually
from tests.support.launchdarkly import Speaker, speaking
from tests.support.site import SIGNATURE, Site
from tests.support.upstream import Behaviour, FakeUpstream, serving

pytestmark = pytest.mark.e2e

TOKEN, VARIABLE = "a-gateway-token-of-a-test", "GATEWAY_TOKEN"
WELL = Behaviour(text='{"intent": "refund", "priority": "low"}')


@dataclass
class Live:
    """A repository whose flags are at LaunchDarkly, and a gateway that streams them."""

    site: Site
    world: World
    speaker: Speaker
    gateway: str
    upstream: FakeUpstream
    key: str

    def tick(self, seconds: float = 4.0) -> Tick:
        self.site.clock.sleep(seconds)
        return advance(self.world, NAME, signature=SIGNATURE, gatekeeper=lambda *_: None)

    def propose(self, candidate: Behaviour = WELL) -> str:
        """A next version in git, evaluated; the upstream answers for both."""
        stable = self.site.served
        served = self.site.propose("1.1.0")
        self.upstream.models = {stable: WELL, served: candidate}
        return served

    def walk_to(self, share: str) -> Tick:
        for _ in range(40):
            tick = self.tick()
            if str(tick.after.share) == share:
                return tick
            self.ask(400)
        raise AssertionError(f"never came to {share}: {tick.move} {tick.reason}")

    def ask(self, users: int) -> list[str]:
        """Which adapter answered each of so many users; recorded when this returns."""
        before = rows(self.world.metrics.edge())
        with httpx.Client(base_url=self.gateway, timeout=10) as client:
            served = [
                client.post(
                    "/v1/completions",
                    json={"model": NAME, "prompt": "x"},
                    headers={"x-user-id": f"user-{number}"},
                ).headers["x-rollout-adapter"]
                for number in range(users)
            ]
        eventually(lambda: rows(self.world.metrics.edge()) >= before + users)
        return served

    @property
    def state(self) -> RolloutState:
        return fold(self.world.ledger.read(NAME))

    @property
    def flag(self) -> tuple[bool, str]:
        state = self.world.flags.read(self.key)
        assert state is not None
        return state.on, str(state.share)


def rows(edge: str) -> int:
    return int(edge.rpartition(":")[2])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("prepared") / "site"
    folder.mkdir()
    return Site.create(folder)


@pytest.fixture
def live(prepared: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    site = prepared.copy(tmp_path / "site")
    (site.repository.state / "flags.json").unlink()
    root, upstream = site.repository.root, FakeUpstream()
    upstream.models = {site.served: WELL}
    with speaking(tmp_path) as speaker, serving(upstream) as inference:
        for variable, value in {**speaker.variables, VARIABLE: TOKEN}.items():
            monkeypatch.setenv(variable, value)
        document = with_changes(
            load_environment(ENVIRONMENT, root),
            flags=speaker.flags.model_dump(mode="json"),
            replicas=[{"name": "r0", "url": inference}],
            gateways=[{"name": "g0", "url": "http://127.0.0.1:8000", "token_env": VARIABLE}],
        )
        with serving(gateway_app(document, root)) as gateway:
            gateways = [{"name": "g0", "url": gateway, "token_env": VARIABLE}]
            path = root / "policies" / "environments" / f"{ENVIRONMENT}.yaml"
            changed = with_changes(document, gateways=gateways)
            path.write_bytes(render(changed.model_dump(mode="json", by_alias=True)))
            built = build_world(root, ENVIRONMENT)
            world = replace(built, clock=site.clock, replicas=(site.replica,))
            adopt(world, NAME, signature=SIGNATURE)
            yield Live(site, world, speaker, gateway, upstream, world.environment.flag_key(NAME))


def with_changes(environment: Environment, **changes: object) -> Environment:
    return Environment.model_validate({**environment.model_dump(mode="json", by_alias=True), **changes})


def test_a_release_walks_to_the_whole_by_one_write_a_step(live: Live) -> None:
    candidate = live.propose()
    live.walk_to("100%")
    assert set(live.ask(20)) == {candidate}
    patches = [one for one in live.speaker.writes if one.method == "PATCH"]
    steps = [event.event for event in live.world.ledger.read(NAME) if event.event.kind == "shifted"]
    assert [answer.status for answer in patches] == [200] * len(steps)
    comments = [one["comment"] for one in audit(live.speaker, live.key)]
    commit = live.state.candidate and live.state.candidate.commit[:12]
    assert any(f"step {len(steps)}" in comment and f"commit {commit}" in comment for comment in comments)
    assert live.tick().move in (Move.HELD, Move.PROMOTED)


def audit(speaker: Speaker, key: str) -> list[dict[str, str]]:
    spec = f"proj/{speaker.project}:env/{speaker.environment}:flag/{key}"
    return list(speaker.ask("GET", "/auditlog", params={"spec": spec, "limit": 20}).json()["items"])


def test_harm_is_taken_back_by_one_patch_that_is_off_and_stable(live: Live) -> None:
    live.propose(Behaviour(text="no answer in the format"))
    for _ in range(40):
        tick = live.tick()
        if tick.rollback is not None:
            break
        live.ask(400)
    assert tick.rollback is not None, tick.reason
    assert tick.rollback.complete, [phase for phase in tick.rollback.phases if not phase.ok]
    assert live.flag == (False, "0%")
    assert live.state.phase is Phase.TAKEN_BACK


@pytest.mark.parametrize("fault", ["timeout-before", "503"])
def test_a_rollback_without_launchdarkly_is_safe_at_once_and_writes_the_flag_later(
    live: Live, fault: str
) -> None:
    candidate = live.propose()
    live.walk_to("50%")
    assert candidate in live.ask(20)
    live.speaker.fault(fault, on="any", seconds=60.0)
    safe_before: list[str] = []
    served_then: set[str] = set()

    def see(phase: PhaseDone) -> None:
        safe_before.append(phase.phase)
        if phase.phase == "gateways":
            assert phase.ok, phase.detail
            served_then.update(live.ask(100))

    report = take_back(live.world, NAME, reason="worse", signature=SIGNATURE, on_phase=see)
    assert safe_before[:2] == ["gateways", "flag"], "nobody waits for a flag service that is away"
    assert candidate not in served_then
    assert report.safe
    assert not report.complete
    assert live.state.phase is Phase.TAKEN_BACK
    live.speaker.no_faults()
    assert live.flag == (True, "50%"), "the flag still says so"
    finished = live.tick()
    assert (finished.move, finished.reason) == (Move.ROLLED_BACK, "finished the rollback")
    assert live.flag == (False, "0%")
    assert candidate not in live.ask(20)


def test_a_step_that_must_be_approved_waits_and_is_applied_once_somebody_has_approved_it(live: Live) -> None:
    live.propose()
    assert live.tick().move is Move.BEGUN
    require_approval(live.speaker)
    for _ in range(20):
        live.ask(400)
        waiting = live.tick()
        if "approv" in waiting.reason:
            break
    assert (waiting.move, live.flag) == (Move.HELD, (False, "0%")), waiting.reason
    again = live.tick()
    assert again.move is Move.HELD
    requests = asked(live)
    path = f"{approvals(live)}/{requests[0]['_id']}"
    assert len(requests) == 1, "asking again asks nobody twice"
    said = live.speaker.ask(
        "POST", f"{path}/reviews", token=live.speaker.reviewer_token, json={"kind": "approve"}
    )
    assert said.is_success, said.text
    live.ask(50)
    applied = live.tick()
    assert applied.move is Move.ADVANCED, applied.reason
    assert live.flag == (True, str(applied.after.share))


def require_approval(speaker: Speaker) -> None:
    path = f"/projects/{speaker.project}/environments/{speaker.environment}"
    operations = [{"op": "replace", "path": "/approvalSettings/required", "value": True}]
    answer = speaker.ask("PATCH", path, json=operations)
    assert answer.is_success, answer.text


def approvals(live: Live) -> str:
    speaker = live.speaker
    return (
        f"/projects/{speaker.project}/flags/{live.key}/environments/{speaker.environment}/approval-requests"
    )


def asked(live: Live) -> list[dict[str, str]]:
    return list(live.speaker.ask("GET", approvals(live)).json()["items"])


def test_a_rollback_needs_no_approval(live: Live) -> None:
    live.propose()
    live.walk_to("10%")
    require_approval(live.speaker)
    report = take_back(live.world, NAME, reason="worse", signature=SIGNATURE)
    assert report.complete, [phase for phase in report.phases if not phase.ok]
    assert live.flag == (False, "0%")


def test_a_hand_that_turns_up_halts_and_one_that_turns_down_is_taken_over(live: Live) -> None:
    live.propose()
    live.walk_to("10%")
    live.speaker.serve(live.key, 90_000)
    halted = live.tick()
    assert halted.move is Move.HALTED
    assert "turned up" in halted.reason
    live.speaker.serve(live.key, 1_000)
    over = live.tick()
    assert (over.move, str(over.after.share)) == (Move.HELD, "1%")
    assert "taken over: the flag was turned down" in over.reason


def test_an_archived_flag_lets_nothing_begin(live: Live) -> None:
    live.propose()
    live.speaker.patch(live.key, {"kind": "archiveFlag"})
    with pytest.raises(WorldChanged, match="is archived: gateways serve stable for it"):
        live.tick()
    assert live.state.candidate is None


def test_a_doctor_names_every_check_and_no_secret(live: Live) -> None:
    root = str(live.site.repository.root)
    ended = rollout("flag", "doctor", NAME, "-e", ENVIRONMENT, "--root", root)
    assert ended.status == 0, ended.out + ended.err
    assert "preview" in ended.out
    for secret in (live.speaker.token, live.speaker.rollback_token, live.speaker.sdk_key):
        assert secret not in ended.out + ended.err
