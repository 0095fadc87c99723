"""What a real gateway served, and whether it is what its flag says: asked as a tick asks it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from rollout.core.exposure import Exposure
from rollout.core.flag import Slot
from rollout.core.metric import Comparison, Stage
from rollout.core.plan import Plan, Share
from rollout.integrations.evaluator import FlagFileReader
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.gateways import GatewayClient, GatewayMetrics
from rollout.integrations.trafficlog import TrafficLog
from rollout.ports import World as Outside
from rollout.usecases.exposed import exposed
from rollout.wiring import build_world
from tests.support.gateway import CANDIDATE, FLAG, NAME, STABLE, eventually, process
from tests.support.upstream import Behaviour, FakeUpstream, serving

pytestmark = pytest.mark.e2e

SHARE = Share.parse("50%")
COMPARISON = Comparison(name=NAME, stable=STABLE, candidate=CANDIDATE, stage=Stage.CANARY)
TOKEN = "s3cret-of-the-gateway"
PLAN = Plan.model_validate(
    {
        "schema": "adapter-rollout/plan/v1",
        "name": "quick",
        "steps": [
            {"share": "50%", "bake": "1s", "min_samples": 1},
            {"share": "100%", "bake": "1s", "min_samples": 1},
        ],
        "deadline": "1h",
        "metrics": ["errors"],
    }
)


@dataclass
class Step:
    """A gateway process at one step of 50 %, and where the step began."""

    root: Path
    url: str
    since: str
    flag_version: int
    outside: Outside

    def ask(self, user: str | None) -> str:
        """One request; the answer is the version that served it."""
        headers = {"x-user-id": user} if user else {}
        body = {"model": NAME, "prompt": "hi"}
        answer = httpx.post(f"{self.url}/v1/completions", json=body, headers=headers)
        assert answer.status_code == 200
        return answer.headers["x-rollout-adapter"]

    def exposed(self, requests: int) -> tuple[Exposure | None, str | None]:
        """What is known once so many requests are recorded, over the log and over the gateway's pages alike."""
        log = TrafficLog(self.root / "traffic.sqlite")
        eventually(lambda: len(log.records(after=0, limit=9999)) == requests)
        asked = {"since": self.since, "until": log.edge(), "flag_version": self.flag_version}
        found = exposed(self.outside, COMPARISON, **asked, share=SHARE, plan=PLAN)  # type: ignore[arg-type]
        pages = GatewayMetrics([GatewayClient("g0", self.url, token=TOKEN)])
        assert pages.exposure(COMPARISON, **asked) == found[0]  # type: ignore[arg-type]
        return found


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Step]:
    monkeypatch.setenv("GATEWAY_TOKEN", TOKEN)
    gateways = [{"name": "g0", "url": "http://127.0.0.1:9", "token_env": "GATEWAY_TOKEN"}]
    upstream = FakeUpstream({STABLE: Behaviour(), CANDIDATE: Behaviour()})
    with serving(upstream) as behind, process(tmp_path, behind, gateways=gateways) as gateway:
        flag = FlagFile(tmp_path / "flags.json").write(
            FLAG, SHARE, turn_on=True, expect_version=None, by="test", comment=""
        )
        client = GatewayClient("g0", gateway.url)
        eventually(lambda: client.status().flag_versions.get(FLAG) == flag.version)
        since = TrafficLog(tmp_path / "traffic.sqlite").edge()
        yield Step(tmp_path, gateway.url, since, flag.version, build_world(tmp_path, "test"))


def users_of(root: Path, slot: Slot, count: int) -> list[str]:
    """So many users whom the flag gives this slot."""
    reader = FlagFileReader(root / "flags.json")
    try:
        every = (f"user-{number}" for number in range(count * 10))
        return [user for user in every if reader.slot(FLAG, user).slot is slot][:count]
    finally:
        reader.close()


def test_users_as_they_come_get_the_share_that_the_flag_says(step: Step) -> None:
    served = [step.ask(f"user-{number}") for number in range(120)]
    exposure, complaint = step.exposed(120)
    assert exposure == Exposure(
        stable_users=served.count(STABLE),
        candidate_users=served.count(CANDIDATE),
        both=0,
        keyed=120,
        unkeyed=0,
    )
    assert complaint is None


@pytest.mark.parametrize(("slot", "told"), [(Slot.STABLE, "0%"), (Slot.CANDIDATE, "100%")])
def test_a_crowd_that_is_given_one_version_alone_is_a_mismatch(step: Step, slot: Slot, told: str) -> None:
    """As if the flag were about users of another kind: they would all get the first version it names."""
    crowd = users_of(step.root, slot, 40)
    served = {step.ask(user) for user in crowd}
    assert len(served) == 1
    exposure, complaint = step.exposed(40)
    assert exposure is not None
    assert exposure.users == 40
    assert complaint is not None
    assert complaint.startswith(f"the candidate served {told} of users ({exposure.on_candidate} of 40)")
    assert "where the flag says 50%" in complaint


def test_users_whom_a_held_candidate_leaves_to_stable_are_a_mismatch(step: Step) -> None:
    crowd = users_of(step.root, Slot.CANDIDATE, 30)
    GatewayClient("g0", step.url, token=TOKEN).hold(by="ann", reason="a look", served=CANDIDATE)
    assert {step.ask(user) for user in crowd} == {STABLE}
    _, complaint = step.exposed(30)
    assert complaint is not None
    assert complaint.startswith("the candidate served 0% of users (0 of 30)")


def test_a_candidate_that_is_held_half_way_leaves_users_who_saw_both(step: Step) -> None:
    crowd = users_of(step.root, Slot.CANDIDATE, 10) + users_of(step.root, Slot.STABLE, 10)
    client = GatewayClient("g0", step.url, token=TOKEN)
    for user in crowd:
        step.ask(user)
    client.hold(by="ann", reason="a look", served=CANDIDATE)
    for user in crowd:
        step.ask(user)
    exposure, complaint = step.exposed(40)
    assert exposure == Exposure(stable_users=10, candidate_users=0, both=10, keyed=40, unkeyed=0)
    assert complaint == "10 of the candidate's 10 users were served by stable too, above the tolerated 1%"


def test_requests_without_a_key_beyond_the_limit_are_a_complaint(step: Step) -> None:
    for number in range(30):
        step.ask(f"user-{number}")
        if number % 3 == 0:
            assert step.ask(None) == STABLE
    _, complaint = step.exposed(40)
    assert complaint == "25% of requests (10 of 40) had no key, above the plan's 20%"


def test_a_log_that_is_gone_is_a_complaint_and_no_error(step: Step) -> None:
    step.ask("ann")
    until = TrafficLog(step.root / "traffic.sqlite").edge()
    (step.root / "traffic.sqlite").unlink()
    exposure, complaint = exposed(
        step.outside,
        COMPARISON,
        since=step.since,
        until=until,
        flag_version=step.flag_version,
        share=SHARE,
        plan=PLAN,
    )
    assert exposure is None
    assert complaint is not None
    assert complaint.startswith("nobody knows who was served: there is no traffic log at ")
