"""What counts as a proof that an adapter is on a replica: order, warm-up, path, effect, and a base that stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from rollout.core.decide import Coverage
from rollout.core.manifest import AdapterManifest
from rollout.demo.scratch import NAME
from rollout.errors import LoadRefused, ServingUnavailable
from rollout.ports import Message, ServedModel, TokenLogprobs, World
from rollout.report import sights
from rollout.usecases.coverage import cover
from rollout.usecases.release import find_desire, read_policy
from rollout.usecases.survey import survey
from tests.support.commands import in_site
from tests.support.site import Site


@dataclass
class Listener:
    """A replica in memory that writes down what it is asked, and answers as `said` tells."""

    name: str = "r0"
    adapters: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    said: Callable[[Listener, str], TokenLogprobs] = field(default=lambda _, model: usual(model))
    messages: list[str] = field(default_factory=list)

    def models(self) -> Sequence[ServedModel]:
        base = ServedModel(name="base", root=None, parent=None)
        return [
            base,
            *(ServedModel(name=name, root=path, parent="base") for name, path in self.adapters.items()),
        ]

    def load(self, served_name: str, folder: Path) -> None:
        self.asked.append(("load", served_name))
        self.adapters[served_name] = str(folder)

    def unload(self, served_name: str) -> None:
        self.adapters.pop(served_name, None)

    def logprobs(self, model: str, messages: Sequence[Message], *, max_tokens: int) -> TokenLogprobs:
        self.asked.append(("ask" if max_tokens > 1 else "warm up", model))
        self.messages.append(messages[0].content)
        return self.said(self, model)


def usual(model: str, shift: float = 0.5) -> TokenLogprobs:
    down = 0.0 if model == "base" else shift
    return TokenLogprobs(tokens=("a", "b"), logprobs=(-0.1 - down, -0.2 - down))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site.create(tmp_path_factory.mktemp("site") / "site")


def proven(site: Site, *replicas: Listener) -> tuple[Coverage, AdapterManifest]:
    """Cover with these replicas."""
    world: World = replace(site.world, replicas=replicas)
    desire = find_desire(world, NAME)
    assert desire is not None
    manifest = desire.manifest.value
    policy = read_policy(world, manifest, desire.policy_commit)
    return cover(world, [manifest], prove=manifest, golden=policy.golden), manifest


def test_the_order_is_base_load_warm_up_and_then_the_probes(site: Site) -> None:
    replica = Listener()
    coverage, manifest = proven(site, replica)
    assert coverage.complete
    served = manifest.served_name
    assert replica.asked == [
        ("warm up", "base"),
        *[("ask", "base")] * 3,
        ("load", served),
        ("warm up", served),
        *[("ask", "base")] * 6,
        *[("ask", served)] * 3,
        *[("ask", "base")] * 3,
    ]


def test_a_warm_up_is_at_least_31_tokens_for_any_tokenizer(site: Site) -> None:
    replica = Listener()
    proven(site, replica)
    assert len(replica.messages[0].split()) >= 31


def test_an_adapter_that_is_there_is_not_loaded_again_and_proven_all_the_same(site: Site) -> None:
    replica = Listener()
    proven(site, replica)
    replica.asked.clear()
    coverage, manifest = proven(site, replica)
    assert coverage.complete
    assert ("load", manifest.served_name) not in replica.asked
    assert ("ask", manifest.served_name) in replica.asked


@pytest.mark.parametrize("effect", [0.0, 0.009])
def test_an_adapter_that_answers_like_its_base_is_not_there(site: Site, effect: float) -> None:
    coverage, _ = proven(site, Listener(said=lambda _, model: usual(model, effect)))
    assert not coverage.complete
    assert "answers like the base model" in coverage.complaint


def test_a_base_that_answers_otherwise_since_the_load_stops_a_release(site: Site) -> None:
    def spoiled(replica: Listener, model: str) -> TokenLogprobs:
        return usual("x", 0.3) if model == "base" and replica.adapters else usual(model, 0.9)

    coverage, manifest = proven(site, Listener(said=spoiled))
    (missing,) = coverage.missing
    assert f"r0: the base model answers otherwise since {manifest.served_name} is there (0.3 nats" in missing
    assert "restart the replica" in missing


def test_a_base_that_is_spoiled_by_the_first_use_is_seen_too(site: Site) -> None:
    def poisoned(replica: Listener, model: str) -> TokenLogprobs:
        used = any(kind == "ask" and asked != "base" for kind, asked in replica.asked)
        return usual("x", 0.2) if model == "base" and used else usual(model)

    coverage, _ = proven(site, Listener(said=poisoned))
    assert "the base model answers otherwise" in coverage.complaint


def test_two_tokens_that_are_as_likely_may_take_turns(site: Site) -> None:
    turns = iter(range(1000))

    def tied(_: Listener, model: str) -> TokenLogprobs:
        if model != "base":
            return usual(model)
        # Only what comes after the probes of the noise: the drift compares up to the fork, and its odds.
        last = "c" if next(turns) >= 10 else "b"
        return TokenLogprobs(tokens=("a", last), logprobs=(-0.1, -0.2))

    coverage, _ = proven(site, Listener(said=tied))
    assert coverage.complete, coverage.complaint


def test_values_that_are_not_finite_are_a_refusal_and_not_a_retry(site: Site) -> None:
    def broken(_: Listener, model: str) -> TokenLogprobs:
        if model != "base":
            raise LoadRefused("replica r0 answers with values that are not finite")
        return usual(model)

    with pytest.raises(LoadRefused, match="not finite"):
        proven(site, Listener(said=broken))


def test_a_path_that_is_not_the_digests_is_missing(site: Site) -> None:
    replica = Listener()
    _, manifest = proven(site, replica)
    replica.adapters[manifest.served_name] = "/elsewhere/" + manifest.served_name
    coverage, _ = proven(site, replica)
    assert f"r0: serves {manifest.served_name} from /elsewhere/" in coverage.complaint


def test_a_replica_that_does_not_answer_is_missing_and_the_others_are_proven(site: Site) -> None:
    def dead(_: Listener, __: str) -> TokenLogprobs:
        raise ServingUnavailable("replica r1 did not answer")

    well = Listener()
    coverage, manifest = proven(site, Listener(name="r1", said=dead), well)
    assert coverage.missing == ("replica r1 did not answer",)
    assert manifest.served_name in well.adapters


# rollout coverage


def test_a_survey_tells_of_every_replica_and_changes_nothing(site: Site) -> None:
    well, bare, moved = Listener(), Listener(name="r1"), Listener(name="r2")
    _, manifest = proven(site, well)
    served = manifest.served_name
    moved.adapters[served] = "/elsewhere"
    well.asked.clear()
    found = survey(replace(site.world, replicas=(well, bare, moved)), NAME)
    assert [(sight.replica, sight.slot, sight.served) for sight in found] == [
        (name, "stable", served) for name in ("r0", "r1", "r2")
    ]
    assert [sight.complaint for sight in found[:2]] == [None, f"does not list {served}"]
    assert found[2].complaint == f"serves {served} from /elsewhere, not from {well.adapters[served]}"
    assert "load" not in {kind for each in (well, bare, moved) for kind, _ in each.asked}
    text = sights.as_text(NAME, "demo", found)
    rows = [line.split()[:4] for line in text.splitlines()]
    assert ["r0", "stable", served, "yes"] in rows
    assert ["r1", "stable", served, "no"] in rows
    document = json.loads(sights.as_json(NAME, "demo", found))
    assert [each["in_place"] for each in document["replicas"]] == [True, False, False]
    assert document["replicas"][0]["effect"] == pytest.approx(0.5)
    assert document["replicas"][1]["effect"] is None


def test_the_command_ends_with_1_where_a_server_is_away(site: Site) -> None:
    ended = in_site(site, "coverage")
    assert ended.status == 1
    assert "r0: replica r0 did not answer" in ended.out
    ended = in_site(site, "coverage", name="unknown")
    assert (ended.status, "the ledger knows no version" in ended.out) == (1, True)
