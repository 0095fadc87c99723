"""flagd's file: its form, hand edits, and what flagd's own evaluator makes of it."""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollout.core.flagcheck import Standing
from rollout.core.plan import Share
from rollout.errors import WorldChanged
from rollout.integrations.flagdfile import FlagdFile

pytest.importorskip("openfeature.contrib.tools.flagd", reason="extra `openfeature` is not installed")

KEY = "lora-support-bot"
GUARDED = {
    "if": [{"var": "targetingKey"}, {"fractional": [["stable", 50000], ["candidate", 50000]]}, "stable"]
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flags" / "flagd.json"


@pytest.fixture
def store(path: Path) -> FlagdFile:
    store = FlagdFile(path)
    store.create(KEY, by="ann")
    return store


def dial(store: FlagdFile, share: str) -> None:
    store.write(KEY, Share.parse(share), turn_on=True, expect_version=None, by="ann", comment="step")


def flag(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())["flags"][KEY]


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_bytes())
    change(document["flags"][KEY])
    path.write_text(json.dumps(document))


def evaluator(path: Path) -> Any:
    from openfeature.contrib.tools.flagd.core import FlagdCore

    core = FlagdCore()
    core.set_flags(path.read_text())
    return core


def slot(core: Any, user: str | None) -> str:
    from openfeature.evaluation_context import EvaluationContext

    return core.resolve_string_value(KEY, "code default", EvaluationContext(user)).value


def test_a_share_is_drawn_stable_first_and_everybody_else_is_stable(store: FlagdFile, path: Path) -> None:
    dial(store, "12.345%")
    written = flag(path)
    assert written["state"] == "ENABLED"
    assert written["variants"] == {"stable": "stable", "candidate": "candidate"}
    assert written["defaultVariant"] == "stable"
    assert written["targeting"] == {
        "if": [{"var": "targetingKey"}, {"fractional": [["stable", 87655], ["candidate", 12345]]}, "stable"]
    }
    assert {name: written["metadata"][name] for name in ("version", "by", "comment")} == {
        "version": 2,
        "by": "ann",
        "comment": "step",
    }


def test_the_ends_are_default_variants(store: FlagdFile, path: Path) -> None:
    dial(store, "50%")
    dial(store, "100%")
    assert (flag(path)["defaultVariant"], "targeting" in flag(path)) == ("candidate", False)
    dial(store, "0%")
    assert (flag(path)["defaultVariant"], "targeting" in flag(path)) == ("stable", False)


def test_off_gives_everybody_the_code_default(store: FlagdFile, path: Path) -> None:
    dial(store, "100%")
    assert slot(evaluator(path), "ann") == "candidate"
    store.take_back(KEY, by="bob", comment="")
    assert flag(path)["state"] == "DISABLED"
    assert slot(evaluator(path), "ann") == "code default"
    assert slot(evaluator(path), None) == "code default"


@pytest.mark.parametrize("user", [None, ""])
def test_without_a_key_flagd_gives_stable_below_the_whole_and_logs_nothing(
    store: FlagdFile, path: Path, user: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    dial(store, "99.999%")
    assert slot(evaluator(path), user) == "stable"
    dial(store, "100%")
    assert slot(evaluator(path), user) == "candidate"
    assert not caplog.records


def test_flagd_draws_users_to_the_thousandth_and_keeps_them_as_the_share_grows(
    store: FlagdFile, path: Path
) -> None:
    users = [f"user-{number}" for number in range(200_000)]
    cohorts = []
    for share in ("0.5%", "1%", "5%", "25%", "50%"):
        dial(store, share)
        core = evaluator(path)
        cohorts.append({user for user in users if slot(core, user) == "candidate"})
        fraction = Share.parse(share).fraction
        error = math.sqrt(len(users) * fraction * (1 - fraction))
        assert abs(len(cohorts[-1]) - len(users) * fraction) < 3 * error, share
    assert all(smaller < larger for smaller, larger in itertools.pairwise(cohorts))


def test_flagd_tells_a_thousandth_of_a_percent_from_none(store: FlagdFile, path: Path) -> None:
    users = [f"user-{number}" for number in range(200_000)]
    dial(store, "0.001%")
    core = evaluator(path)
    smallest = {user for user in users if slot(core, user) == "candidate"}
    dial(store, "0.002%")
    core = evaluator(path)
    assert len(smallest) < sum(slot(core, user) == "candidate" for user in users) < 20


def test_the_cohort_depends_on_the_flags_key_alone(store: FlagdFile) -> None:
    before = store.read(KEY)
    dial(store, "50%")
    after, other = store.read(KEY), store.create("lora-other", by="ann")
    assert before is not None
    assert after is not None
    assert before.cohort == after.cohort is not None
    assert other.cohort != after.cohort


def test_what_we_do_not_know_in_the_file_is_kept(store: FlagdFile, path: Path) -> None:
    document = json.loads(path.read_bytes())
    banner = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}
    document["flags"]["banner"] = banner
    document["$evaluators"] = {"staff": {"ends_with": [{"var": "email"}, "@example.com"]}}
    document["metadata"] = {"team": "search"}
    document["flags"][KEY]["metadata"]["ticket"] = "OPS-1"
    path.write_text(json.dumps(document))
    dial(store, "50%")
    after = json.loads(path.read_bytes())
    assert after["flags"]["banner"] == banner
    assert (after["$evaluators"], after["metadata"]) == (document["$evaluators"], document["metadata"])
    assert after["flags"][KEY]["metadata"]["ticket"] == "OPS-1"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"variants": {"stable": "candidate", "candidate": "stable"}}, "has the variants"),
        ({"variants": {"stable": "stable", "candidate": "candidate", "third": "x"}}, "has the variants"),
        ({"variants": ["stable", "candidate"]}, "has the variants"),
        ({"state": "enabled"}, "neither ENABLED nor DISABLED"),
        ({"state": True}, "neither ENABLED nor DISABLED"),
        ({"defaultVariant": "candidate"}, "default variant candidate, which all without a key would get"),
        ({"defaultVariant": None}, "default variant None, which is neither slot"),
        ({"defaultVariant": ["stable"]}, "which is neither slot"),
        ({"metadata": {"version": "7"}}, "has the version '7'"),
        ({"metadata": {"version": True}}, "has the version True"),
        ({"metadata": {"version": 10**400}}, "has a version above 9007199254740992"),
        ({"metadata": {"version": 3, "owner": None}}, "has metadata that are not texts"),
        ({"metadata": None}, "has metadata that are not texts"),
        ({"comment": "by hand"}, "has comment, for which flagd refuses the whole file"),
        ({"targeting": None}, "has targeting in front"),
        ({"targeting": {"if": [{"var": "beta"}, "candidate", "stable"]}}, "has targeting in front"),
        (
            {"targeting": {"if": [{"var": "email"}, *GUARDED["if"][1:]]}},
            "has a condition in front of its share",
        ),
        ({"targeting": {"if": [*GUARDED["if"][:2], "candidate"]}}, "has targeting in front"),
        ({"targeting": {"fractional": [["candidate", 50000], ["stable", 50000]]}}, "not list stable first"),
        (
            {"targeting": {"fractional": [{"var": "email"}, ["stable", 50000], ["candidate", 50000]]}},
            "another key to draw by",
        ),
        ({"targeting": {"fractional": [["stable", 50000], ["candidate", 5000]]}}, "do not sum to 100000"),
        ({"targeting": {"fractional": [["stable", -1], ["candidate", 100001]]}}, "do not sum to 100000"),
        ({"targeting": {"fractional": [["stable", True], ["candidate", 99999]]}}, "with a weight each"),
        ({"targeting": {"fractional": [["stable"], ["candidate"]]}}, "with a weight each"),
    ],
)
def test_a_hand_edit_is_named_never_overwritten_and_can_be_taken_back(
    store: FlagdFile, path: Path, change: dict[str, Any], sentence: str
) -> None:
    dial(store, "50%")
    edit(path, lambda flag: flag.update(change))
    before = path.read_bytes()
    with pytest.raises(WorldChanged, match=sentence):
        store.read(KEY)
    with pytest.raises(WorldChanged, match=sentence):
        store.preview(KEY, Share.FULL, turn_on=True)
    with pytest.raises(WorldChanged, match=sentence):
        dial(store, "100%")
    assert [(check.id, check.standing) for check in store.checks(KEY)] == [("sound", Standing.BLOCKED)]
    assert path.read_bytes() == before
    if "variants" in change:
        with pytest.raises(WorldChanged, match=sentence):
            store.take_back(KEY, by="bob", comment="")
    else:
        state = store.take_back(KEY, by="bob", comment="")
        assert (state.on, state.share) == (False, Share.ZERO)
        assert slot(evaluator(path), "ann") == "code default"


def test_a_fractional_as_people_write_it_is_read_as_its_share(store: FlagdFile, path: Path) -> None:
    dial(store, "50%")
    edit(path, lambda flag: flag.update(targeting={"fractional": [["stable", 75000], ["candidate", 25000]]}))
    state = store.read(KEY)
    assert state is not None
    assert state.share == Share.parse("25%")


def test_a_preview_shows_what_a_write_would_make_and_writes_nothing(store: FlagdFile, path: Path) -> None:
    before = path.read_bytes()
    seen = store.preview(KEY, Share.parse("5%"), turn_on=True)
    assert (seen.on, seen.share, seen.version) == (True, Share.parse("5%"), 2)
    assert path.read_bytes() == before
    dial(store, "5%")
    written = store.read(KEY)
    assert written is not None
    assert (written.on, written.share, written.version) == (True, Share.parse("5%"), 2)


def test_a_sound_flag_passes_its_checks_and_one_that_is_not_there_does_not(store: FlagdFile) -> None:
    dial(store, "5%")
    assert {check.standing for check in store.checks(KEY)} == {Standing.OK}
    assert [check.id for check in store.checks("lora-other")] == ["exists"]
    assert store.checks("lora-other")[0].standing is Standing.BLOCKED


def test_a_write_is_newer_than_the_file_before_it_whatever_the_clock_says(
    store: FlagdFile, path: Path
) -> None:
    ahead = time.time() + 86_400
    os.utime(path, (ahead, ahead))
    dial(store, "5%")
    first = path.stat().st_mtime
    assert first > ahead
    dial(store, "25%")
    assert path.stat().st_mtime > first
