"""The demo proves what it says, and would not say it if it were not so: tampered remains make its claims false."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import rollout.demo.show as show
from rollout.cli import run
from rollout.core.plan import Share
from rollout.demo.claims import check_claims
from rollout.demo.journey import Journey
from rollout.demo.scratch import ENVIRONMENT, MANIFEST, NAME, ScratchRepository
from rollout.errors import LedgerConflict
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.routesfile import RoutesFile

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.timeout(1200)]


@dataclasses.dataclass
class Demo:
    """A demo that has been run: its exit status, what it printed, and what is left of it."""

    status: int
    output: str
    journey: Journey


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    kept: list[Journey] = []

    class Kept(Journey):
        def __init__(self, folder: Path, *, seed: int) -> None:
            super().__init__(folder, seed=seed)
            kept.append(self)

    folder, output = tmp_path_factory.mktemp("demo"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setattr(show, "Journey", Kept)
        status = run(["demo", "--folder", str(folder)])
    return Demo(status=status, output=output.getvalue(), journey=kept[0])


@pytest.fixture
def remains(demo: Demo, tmp_path: Path) -> Journey:
    """A copy of what the demo left, to be tampered with."""
    old, new = demo.journey.repository.folder, tmp_path / "demo"
    shutil.copytree(old, new, symlinks=True)
    for name in (f"repo/policies/environments/{ENVIRONMENT}.yaml", "repo/.git/config"):
        path = new / name
        path.write_text(path.read_text().replace(str(old), str(new)))
    journey = copy.copy(demo.journey)
    journey.repository = ScratchRepository(new)
    journey.facts = copy.deepcopy(demo.journey.facts)
    assert journey.crowd is not None
    journey.crowd = copy.copy(journey.crowd)
    journey.crowd.tally = copy.deepcopy(journey.crowd.tally)
    return journey


def false_claims(journey: Journey) -> str:
    return "\n".join(claim.text for claim in check_claims(journey) if not claim.holds)


def test_the_demo_ends_well_and_says_that_every_claim_holds(demo: Demo) -> None:
    claims = check_claims(demo.journey)
    assert demo.status == 0, demo.output
    assert f"all {len(claims)} claims hold" in demo.output.strip().splitlines()[-1]
    assert len(claims) >= 14


def test_the_copied_remains_are_as_true_as_the_real_ones(remains: Journey) -> None:
    assert false_claims(remains) == ""


def turn_the_flag_on(journey: Journey) -> None:
    flags = FlagFile(journey.repository.state / "flags.json")
    (key,) = json.loads((journey.repository.state / "flags.json").read_text())["flags"]
    flags.write(key, Share.parse("10%"), turn_on=True, expect_version=None, by="eve", comment="")


def put_the_candidate_back_into_the_routes(journey: Journey) -> None:
    def change(routes: Any) -> Any:
        route = routes.routes[NAME].model_copy(update={"candidate": journey.facts.served["1.4.0"]})
        return routes.model_copy(update={"revision": routes.revision + 1, "routes": {NAME: route}})

    RoutesFile(journey.repository.state / "routes.json", ENVIRONMENT).update(change)


def forget_the_last_entry(journey: Journey) -> None:
    ledger = ledger_of(journey)
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:-1]))


def ledger_of(journey: Journey) -> Path:
    return journey.repository.state / "ledger" / ENVIRONMENT / f"{NAME}.jsonl"


def in_the_log(statement: str) -> Callable[[Journey], None]:
    def tamper(journey: Journey) -> None:
        with closing(sqlite3.connect(journey.repository.state / "traffic.sqlite")) as log, log:
            log.execute(
                statement, {"late": journey.facts.served["1.4.0"], "bad": journey.facts.served["1.2.0"]}
            )

    return tamper


def lose_an_answer(journey: Journey) -> None:
    assert journey.crowd is not None
    journey.crowd.tally.failures.append("ReadTimeout")


def change_the_manifest_behind_everybody(journey: Journey) -> None:
    manifest = journey.repository.root / MANIFEST
    manifest.write_bytes(manifest.read_bytes().replace(b'version: "1.1.0"', b'version: "1.3.0"'))
    journey.repository.git("commit", "-qam", "quietly")
    journey.repository.git("push", "-q", "origin", "main")


_LAST = "(SELECT max(id) FROM requests WHERE shadow = 0 AND served = :late)"


@pytest.mark.parametrize(
    ("tamper", "claims"),
    [
        (turn_the_flag_on, ["the flag is off and stable", "LaunchDarkly's SDK gives stable"]),
        (put_the_candidate_back_into_the_routes, ["ledger, routes, gateways, servers and git name the same"]),
        (forget_the_last_entry, ["the ledger is whole"]),
        (
            in_the_log(f"UPDATE requests SET routed_at = routed_at + 60 WHERE id = {_LAST}"),
            ["the last request to 1.4.0 was routed at most 1 s"],
        ),
        (
            in_the_log(f"UPDATE requests SET served = :bad WHERE id = {_LAST}"),
            ["1.2.0 was stopped before it began"],
        ),
        (
            in_the_log("DELETE FROM requests WHERE id = (SELECT min(id) FROM requests WHERE shadow = 0)"),
            ["the gateway's log has one row for each request"],
        ),
        (lose_an_answer, ["no request was lost"]),
        (
            change_the_manifest_behind_everybody,
            ["ledger, routes, gateways, servers and git", "byte for byte"],
        ),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_tampered_remains_make_the_claims_false(
    remains: Journey, tamper: Callable[[Journey], None], claims: list[str]
) -> None:
    tamper(remains)
    found = false_claims(remains)
    for claim in claims:
        assert claim in found


def test_a_user_who_went_back_and_forth_is_seen(remains: Journey) -> None:
    with closing(sqlite3.connect(remains.repository.state / "traffic.sqlite")) as log, log:
        log.execute("UPDATE requests SET key_hash = 'one user' WHERE shadow = 0")
    assert "no user made the same change of version twice" in false_claims(remains)


def test_a_changed_entry_of_the_ledger_is_no_claim_but_an_error(remains: Journey) -> None:
    ledger = ledger_of(remains)
    ledger.write_text(ledger.read_text().replace("the support desk asked for it", "nobody asked for it", 1))
    with pytest.raises(LedgerConflict, match="the chain is broken"):
        check_claims(remains)
