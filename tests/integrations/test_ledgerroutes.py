"""The routes that are published on the ledger branch: in the commit that leads to them, and nothing but that."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.core.lifecycle import RolloutState, fold
from rollout.core.plan import Share
from rollout.core.routes import Route, Routes, route_of
from rollout.integrations.git import GitRepository
from rollout.integrations.ledger import BranchLedger
from tests.core.factories import evaluated, started
from tests.support.ledgers import BRANCH, Place, anchor_of, git, said, write

PATH = "routes/prod.json"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, "branch")


def route(name: str, state: RolloutState) -> Route:
    return route_of(state, flag=f"lora-{name}", base="base", mirror=Share.ZERO, response_schema=None)


def opened(place: Place, machine: str = "a") -> BranchLedger:
    root = place.machine(machine)
    return BranchLedger(
        GitRepository(root), root, "prod",
        branch=BRANCH, remote="origin", folder=place.folder / f"leases-{machine}", route_of=route,
    )  # fmt: skip


def published(place: Place, commit: str = BRANCH) -> Routes:
    return Routes.model_validate_json(git(place.origin, "show", f"{commit}:{PATH}"), strict=True)


def changed(place: Place) -> list[str]:
    """By the newest commit."""
    return git(place.origin, "show", "--format=", "--name-only", BRANCH).decode().split()


def release(ledger: BranchLedger, name: str = "bot") -> None:
    """One is stable, and another begins."""
    write(ledger, "ann", name=name)
    for event in (evaluated(), started()):
        named = event.model_copy(update={"name": name})
        ledger.append(name, named, after=ledger.read(name)[-1].hash)


def test_an_event_and_the_routes_that_it_leads_to_are_one_commit(place: Place) -> None:
    ledger = opened(place)
    write(ledger, "ann")
    assert PATH in changed(place)
    stable = fold(ledger.read("bot")).stable
    assert stable is not None
    found = published(place)
    assert (found.environment, found.revision) == ("prod", 1)
    assert (found.routes["bot"].stable, found.routes["bot"].candidate) == (stable.served_name, None)
    ledger.append("bot", evaluated(), after=ledger.read("bot")[-1].hash)
    assert PATH not in changed(place), "what changes no route leaves them alone"
    ledger.append("bot", started(), after=ledger.read("bot")[-1].hash)
    assert PATH in changed(place)
    state = fold(opened(place, "b").read("bot"))
    assert published(place).routes == {"bot": route("bot", state)}
    assert published(place).revision == 2
    assert tuple(opened(place, "b").strays()) == ()


def test_every_commit_says_what_the_ledgers_say_in_it(place: Place) -> None:
    release(opened(place), "bot")
    release(opened(place, "b"), "cat")
    ledger = opened(place)
    write(ledger, "ann", name="dog")
    ledger.anchor("dog", anchor_of(ledger, "dog"), after=ledger.read("dog")[-1].hash)
    found = published(place).routes
    assert sorted(found) == ["bot", "cat", "dog"]
    assert found == {name: route(name, fold(ledger.read(name))) for name in found}
    assert tuple(opened(place, "b").strays()) == ()


@pytest.mark.parametrize("harm", ["gone", "no routes", "another environment's"])
def test_routes_that_are_not_there_are_derived_anew_from_all_ledgers(place: Place, harm: str) -> None:
    """As on a branch of an older version, at its next event that leads anywhere."""
    release(opened(place), "bot")
    contents = {"gone": None, "no routes": b"{}", "another environment's": b""}
    content = contents[harm]
    if harm.startswith("another"):
        content = (
            published(place)
            .model_copy(update={"environment": "staging"})
            .model_dump_json(by_alias=True)
            .encode()
        )
    replaced(place, content)
    assert tuple(opened(place).strays()) == (() if harm == "gone" else (PATH,))
    write(opened(place), "ann", name="cat")
    assert sorted(published(place).routes) == ["bot", "cat"]
    assert tuple(opened(place).strays()) == ()


def test_routes_that_say_something_else_than_the_ledgers_are_told_of(place: Place) -> None:
    release(opened(place), "bot")
    found = published(place)
    eve = found.routes["bot"].model_copy(update={"stable": "eve-1.0.0"})
    replaced(place, found.model_copy(update={"routes": {"bot": eve}}).model_dump_json(by_alias=True).encode())
    assert tuple(opened(place).strays()) == (PATH,)
    replaced(place, b"{}", path="routes/notes.txt")
    assert tuple(opened(place).strays()) == ("routes/notes.txt", PATH)


def test_a_history_that_leads_nowhere_is_kept_and_its_route_left_as_it_was(place: Place) -> None:
    ledger = opened(place)
    write(ledger, "ann")
    before = published(place)
    for _ in range(2):
        ledger.append("bot", started(), after=ledger.read("bot")[-1].hash)
    ledger.append("bot", said("and on"), after=ledger.read("bot")[-1].hash)
    assert len(ledger.read("bot")) == 4
    assert published(place).routes["bot"].stable == before.routes["bot"].stable


def replaced(place: Place, content: bytes | None, *, path: str = PATH) -> None:
    root = place.machine("eve")
    git(root, "fetch", "-q", "origin")
    git(root, "read-tree", f"origin/{BRANCH}")
    record = f"0 {'0' * 40}\t{path}"
    if content is not None:
        record = (
            f"100644 {git(root, 'hash-object', '-w', '--stdin', content=content).decode().strip()}\t{path}"
        )
    git(root, "update-index", "--index-info", content=f"{record}\n".encode())
    tree = git(root, "write-tree").decode().strip()
    commit = git(root, "commit-tree", tree, "-p", f"origin/{BRANCH}", "-m", "by hand").decode().strip()
    git(root, "push", "-q", "origin", f"{commit}:refs/heads/{BRANCH}")
