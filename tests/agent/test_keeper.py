"""What an agent lays down, loads and unloads, over a real server, real files and real routes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from rollout.agent.delivered import Delivered
from rollout.agent.keeper import Keeper, Limits
from rollout.core.manifest import AdapterManifest
from rollout.errors import LoadRefused, ServingUnavailable, Unavailable, Unreadable
from rollout.integrations.shelf import AdapterShelf
from rollout.integrations.vllm.replica import Replica
from rollout.wiring import locate_artifact
from rollout.wiring.delivery import _Around
from tests.support.adapters import MODULES, good_tensors, key, tensor
from tests.support.delivery import Place, place
from tests.support.gateway import routes
from tests.support.kill import die_at, points_of
from tests.support.remote import TOKEN as GATEWAY_TOKEN
from tests.support.remote import pages_client

DRAIN_S = 60.0


@dataclass
class Watch:
    """A clock that moves when it is told to."""

    time: float = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path / "site") as here:
        yield here


def keeper_of(here: Place, now: Watch | None = None) -> Keeper:
    """An agent that has just been started."""
    server = here.environment.server
    (replica,) = here.environment.replicas
    return Keeper(
        Replica("r0", replica.url, timeout=5),
        AdapterShelf(here.shelf, locate=lambda artifact: locate_artifact(here.root, artifact, None)),
        Delivered(here.shelf),
        _Around(here.environment, here.root),
        Limits(base=server.base, slots=server.max_loras, drain_s=DRAIN_S),
        now=now or Watch(),
    )


# Delivering


def test_a_delivery_is_verified_read_only_remembered_and_loaded_from_its_own_folder(here: Place) -> None:
    manifest = here.adapter("1.0.0")
    folder = keeper_of(here).deliver(manifest)
    assert folder == here.shelf / manifest.served_name
    assert here.server.adapters == {manifest.served_name: str(folder)}
    assert {path.name for path in folder.iterdir()} == set(manifest.artifact.files)
    for path in (folder, *folder.iterdir()):
        assert path.stat().st_mode & 0o222 == 0, path
    assert Delivered(here.shelf).find(manifest.served_name) == manifest


def test_delivering_again_changes_nothing(here: Place) -> None:
    keeper, manifest = keeper_of(here), here.adapter("1.0.0")
    keeper.deliver(manifest)
    keeper.deliver(manifest)
    keeper_of(here).deliver(manifest)
    assert here.server.loads == [manifest.served_name]


def test_bytes_that_are_not_the_manifests_are_not_laid_down(here: Place) -> None:
    manifest = here.adapter("1.0.0")
    (here.root / "adapters/1.0.0/README.md").write_text("something else")
    with pytest.raises(
        Unreadable, match=r"README\.md in adapters/1\.0\.0 is not there or has another sha256"
    ):
        keeper_of(here).deliver(manifest)
    assert (here.server.adapters, Delivered(here.shelf).names) == ({}, ())
    assert not (here.shelf / manifest.served_name).exists()


def test_bytes_that_changed_on_the_shelf_are_never_loaded(here: Place) -> None:
    manifest = here.adapter("1.0.0")
    keeper = keeper_of(here)
    weights = keeper.deliver(manifest) / "adapter_model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    here.server.adapters.clear()
    here.route(manifest.served_name)
    (missing,) = keeper.keep()
    assert "has sha256" in missing
    with pytest.raises(Unreadable, match="has sha256"):
        keeper.load(manifest.served_name)
    with pytest.raises(Unreadable, match="has sha256"):
        keeper.deliver(manifest)
    assert here.server.adapters == {}


@pytest.mark.parametrize(
    ("value", "shape", "why"),
    [
        (float("nan"), (8, 2), "not finite"),
        (float("inf"), (8, 2), "not finite"),
        (0.5, (6, 2), "do not have the shape of the base"),
    ],
)
def test_what_would_spoil_a_server_is_not_given_to_it(
    here: Place, value: float, shape: tuple[int, int], why: str
) -> None:
    tensors = good_tensors() | {key(MODULES[0], "B"): tensor(np.full(shape, value))}
    manifest = here.adapter("1.0.0", tensors)
    for _ in range(2):  # what was refused once is not believed the second time
        with pytest.raises(LoadRefused, match=why):
            keeper_of(here).deliver(manifest)
        assert not (here.shelf / manifest.served_name).exists()
    assert here.server.adapters == {}
    here.route(manifest.served_name)
    assert keeper_of(here).keep() == (
        f"{manifest.served_name}: {manifest.served_name} was never delivered here",
    )


def test_what_somebody_else_laid_down_is_not_taken_away_by_a_refusal(here: Place) -> None:
    tensors = good_tensors() | {key(MODULES[0], "B"): tensor(np.full((8, 2), float("nan")))}
    manifest = here.adapter("1.0.0", tensors)
    shelf = AdapterShelf(here.shelf, locate=lambda artifact: locate_artifact(here.root, artifact, None))
    folder = shelf.lay_down(manifest)
    with pytest.raises(LoadRefused, match="not finite"):
        keeper_of(here).deliver(manifest)
    assert {path.name for path in folder.iterdir()} == set(manifest.artifact.files)


def test_a_refusal_of_the_server_is_final_and_carries_its_reason(here: Place) -> None:
    here.server.refuses = "LoRA rank 32 is greater than max_lora_rank 16."
    with pytest.raises(LoadRefused, match="LoRA rank 32 is greater than max_lora_rank 16"):
        keeper_of(here).deliver(here.adapter("1.0.0"))


def test_a_name_that_the_server_has_from_elsewhere_is_not_taken_for_ours(here: Place) -> None:
    manifest = here.adapter("1.0.0")
    here.server.adapters[manifest.served_name] = "/somewhere/else"
    with pytest.raises(LoadRefused, match=r"serves .* from another folder: /somewhere/else"):
        keeper_of(here).deliver(manifest)
    here.route(manifest.served_name)
    assert keeper_of(here).missing() == (manifest.served_name,)


# Keeping


def test_a_restarted_server_gets_back_what_the_routes_name_and_nothing_else(here: Place) -> None:
    keeper = keeper_of(here)
    one, two, three = (here.adapter(version) for version in ("1.0.0", "1.1.0", "1.2.0"))
    for manifest in (one, two, three):
        keeper.deliver(manifest)
    here.route(one.served_name, two.served_name)
    here.server.adapters.clear()
    assert keeper.missing() == tuple(sorted((one.served_name, two.served_name)))
    assert keeper.keep() == ()
    assert set(here.server.adapters) == {one.served_name, two.served_name}
    assert keeper.missing() == ()


def test_a_restarted_agent_knows_what_it_was_given(here: Place) -> None:
    manifest = here.adapter("1.0.0")
    keeper_of(here).deliver(manifest)
    here.server.adapters.clear()
    here.route(manifest.served_name)
    assert keeper_of(here).keep() == ()
    assert set(here.server.adapters) == {manifest.served_name}


def test_the_base_needs_no_delivery(here: Place) -> None:
    here.route("base")
    assert keeper_of(here).keep() == ()
    assert keeper_of(here).missing() == ()


def test_one_that_was_never_delivered_is_missing_and_keeps_no_other_away(here: Place) -> None:
    manifest = here.adapter("1.0.0")
    keeper = keeper_of(here)
    keeper.deliver(manifest)
    here.server.adapters.clear()
    here.route("unknown-1.0.0-aaaaaaaaaaaa", manifest.served_name)
    (missing,) = keeper.keep()
    assert missing == "unknown-1.0.0-aaaaaaaaaaaa: unknown-1.0.0-aaaaaaaaaaaa was never delivered here"
    assert set(here.server.adapters) == {manifest.served_name}


def test_without_any_routes_nothing_is_ready_and_nothing_is_unloaded(here: Place) -> None:
    now = Watch()
    keeper = keeper_of(here, now)
    manifest = here.adapter("1.0.0")
    keeper.deliver(manifest)
    for _ in range(2):
        now.time += 10 * DRAIN_S
        with pytest.raises(Unavailable, match="there are no routes yet"):
            keeper.keep()
    assert set(here.server.adapters) == {manifest.served_name}


@pytest.mark.parametrize("content", [None, "", "{", '{"environment": "other", "revision": 9, "routes": {}}'])
def test_routes_that_cannot_be_read_any_more_leave_the_last_good_ones(
    here: Place, content: str | None
) -> None:
    now = Watch()
    keeper, manifest = keeper_of(here, now), here.adapter("1.0.0")
    keeper.deliver(manifest)
    here.route(manifest.served_name)
    assert keeper.keep() == ()
    path = here.root / "routes.json"
    path.unlink() if content is None else path.write_text(content)
    now.time += 10 * DRAIN_S
    assert keeper.keep() == ()
    assert set(here.server.adapters) == {manifest.served_name}


def test_a_server_that_does_not_answer_is_unavailable_and_not_empty(here: Place) -> None:
    here.route("base")
    keeper = keeper_of(here)
    here.server.key = "now it asks for one"
    with pytest.raises(ServingUnavailable):
        keeper.missing()
    with pytest.raises(ServingUnavailable):
        keeper.keep()


# Unloading


def loaded_and_unrouted(here: Place, now: Watch) -> tuple[Keeper, AdapterManifest]:
    """An adapter that the routes named a moment ago."""
    keeper, old, new = keeper_of(here, now), here.adapter("1.0.0"), here.adapter("1.1.0")
    keeper.deliver(old)
    keeper.deliver(new)
    here.route(old.served_name, new.served_name)
    keeper.keep()
    here.route(new.served_name)
    keeper.keep()
    return keeper, old


def test_what_no_route_names_is_unloaded_after_the_drain_and_its_folder_stays(here: Place) -> None:
    now = Watch()
    keeper, old = loaded_and_unrouted(here, now)
    now.time += DRAIN_S - 1
    keeper.keep()
    assert old.served_name in here.server.adapters
    now.time += 1
    keeper.keep()
    assert old.served_name not in here.server.adapters
    # A server may read a folder again as long as it lives.
    assert (here.shelf / old.served_name / "adapter_model.safetensors").is_file()


def test_an_adapter_with_a_request_under_way_stays(here: Place) -> None:
    now = Watch()
    keeper, old = loaded_and_unrouted(here, now)
    here.server.in_flight = {old.served_name: 1}
    now.time += 10 * DRAIN_S
    keeper.keep()
    assert old.served_name in here.server.adapters
    here.server.in_flight = {}
    keeper.keep()
    assert old.served_name not in here.server.adapters


def test_while_a_gateway_cannot_tell_nothing_is_unloaded(here: Place) -> None:
    now = Watch()
    keeper, old = loaded_and_unrouted(here, now)
    here.server.can_tell = False
    now.time += 10 * DRAIN_S
    keeper.keep()
    assert old.served_name in here.server.adapters


def test_what_was_just_delivered_waits_for_its_route(here: Place) -> None:
    now = Watch()
    keeper, candidate = keeper_of(here, now), here.adapter("1.1.0")
    here.route("base")
    now.time += 10 * DRAIN_S
    keeper.deliver(candidate)
    keeper.keep()
    assert candidate.served_name in here.server.adapters
    now.time += DRAIN_S
    keeper.keep()
    assert candidate.served_name not in here.server.adapters


def test_what_somebody_else_loaded_is_left_alone(here: Place) -> None:
    now = Watch()
    keeper = keeper_of(here, now)
    here.route("base")
    here.server.adapters["theirs"] = "/their/folder"
    for _ in range(2):
        keeper.keep()
        now.time += 10 * DRAIN_S
    assert "theirs" in here.server.adapters
    with pytest.raises(LoadRefused, match="theirs was not loaded from here"):
        keeper.unload("theirs")


def test_what_the_routes_name_is_not_unloaded_by_anybody(here: Place) -> None:
    keeper, manifest = keeper_of(here), here.adapter("1.0.0")
    keeper.deliver(manifest)
    here.route(manifest.served_name)
    with pytest.raises(LoadRefused, match="the routes name"):
        keeper.unload(manifest.served_name)
    here.route("base")
    keeper.unload(manifest.served_name)
    assert here.server.adapters == {}


def test_never_more_than_the_slots_and_the_longest_unwanted_goes_first(here: Place) -> None:
    now = Watch()
    keeper = keeper_of(here, now)
    manifests = [here.adapter(f"1.{number}.0") for number in range(5)]
    here.route(manifests[0].served_name)
    for manifest in manifests[:4]:
        now.time += 1
        keeper.deliver(manifest)
    assert set(here.server.adapters) == {manifests[number].served_name for number in (0, 2, 3)}
    here.server.in_flight = {manifests[number].served_name: 1 for number in (2, 3)}
    with pytest.raises(LoadRefused, match="all 3 slots of r0 are taken"):
        keeper.deliver(manifests[4])
    assert len(here.server.adapters) == 3


# Dying


def test_an_agent_that_dies_at_any_moment_of_a_delivery_ends_where_it_should(tmp_path: Path) -> None:
    with place(tmp_path / "site") as here:
        manifest = here.adapter("1.0.0")
        served = manifest.served_name
        for path in (here.root / "adapters/1.0.0").iterdir():
            path.chmod(0o644)

        def deliver() -> None:
            keeper_of(here).deliver(manifest)

        points = points_of(deliver)
        assert {"os.rename", "os.chmod", "fsync"} <= {point.split()[0] for point in points}
        for number in range(len(points)):
            forget(here)
            here.route("base")
            die_at(number, deliver)
            begun = dict(here.server.adapters)
            # What a server lists is whole and verified at every moment, and an agent that starts again ends there.
            assert set(begun) <= {served}
            if begun:
                assert Delivered(here.shelf).names == (served,), points[number]
            again = keeper_of(here)
            again.keep()
            deliver()
            assert here.server.adapters == {served: str(here.shelf / served)}, points[number]
            here.route(served)
            here.server.adapters.clear()
            assert keeper_of(here).keep() == (), points[number]
            assert {path.name for path in (here.shelf / served).iterdir()} == set(manifest.artifact.files)


def forget(here: Place) -> None:
    """As if nothing had ever been delivered."""
    for path in here.shelf.rglob("*") if here.shelf.is_dir() else ():
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(here.shelf, ignore_errors=True)
    (here.root / "routes.json").unlink(missing_ok=True)
    here.server.adapters.clear()
    here.server.loads.clear()


def test_a_manifest_that_was_damaged_or_renamed_is_not_believed(here: Place) -> None:
    one, two = here.adapter("1.0.0"), here.adapter("1.1.0")
    keeper = keeper_of(here)
    keeper.deliver(one)
    keeper.deliver(two)
    kept = {name: here.shelf / f"{name}.manifest.json" for name in (one.served_name, two.served_name)}
    kept[two.served_name].replace(kept[one.served_name])
    assert Delivered(here.shelf).names == ()
    kept[one.served_name].write_bytes(b"{")
    here.route(one.served_name)
    here.server.adapters.clear()
    (missing,) = keeper_of(here).keep()
    assert "was never delivered here" in missing
    keeper_of(here).deliver(one)
    assert set(here.server.adapters) == {one.served_name}


def test_routes_of_the_gateways_are_followed_too(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, client = here.adapter("1.0.0"), pages_client(here.root / "other")
    monkeypatch.setenv("GATEWAY_TOKEN", GATEWAY_TOKEN)
    gateways = [{"name": "g0", "url": client.url, "token_env": "GATEWAY_TOKEN"}]
    document = here.environment.model_dump(mode="json", by_alias=True)
    remote = type(here.environment).model_validate({**document, "gateways": gateways, "reach": "gateways"})
    keeper = keeper_of(Place(here.root, here.server, remote))
    keeper.deliver(manifest)
    with pytest.raises(Unavailable, match="there are no routes yet"):
        keeper.keep()
    client.put_routes(routes(1, stable=manifest.served_name, candidate=None))
    here.server.adapters.clear()
    assert keeper.keep() == ()
    assert set(here.server.adapters) == {manifest.served_name}
