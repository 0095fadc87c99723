"""The flag file: its form, and hand edits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollout.core.plan import Share
from rollout.errors import WorldChanged
from rollout.integrations.flagfile import FlagFile

KEY = "lora-support-bot"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flags" / "test.json"


@pytest.fixture
def store(path: Path) -> FlagFile:
    store = FlagFile(path)
    store.create(KEY, by="ann")
    return store


def dial(store: FlagFile, share: str) -> None:
    store.write(KEY, Share.parse(share), turn_on=True, expect_version=None, by="ann", comment="")


def flag(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())["flags"][KEY]


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_bytes())
    change(document["flags"][KEY])
    path.write_text(json.dumps(document))


def test_the_flag_is_in_launchdarklys_model_with_stable_first(store: FlagFile, path: Path) -> None:
    dial(store, "12.345%")
    written = flag(path)
    assert written["variations"] == ["stable", "candidate"]
    assert written["offVariation"] == 0
    assert written["fallthrough"] == {
        "rollout": {
            "contextKind": "user",
            "variations": [{"variation": 0, "weight": 87655}, {"variation": 1, "weight": 12345}],
        }
    }


def test_the_ends_are_plain_variations(store: FlagFile, path: Path) -> None:
    dial(store, "100%")
    assert flag(path)["fallthrough"] == {"variation": 1}
    dial(store, "0%")
    assert flag(path)["fallthrough"] == {"variation": 0}


def test_the_salt_is_a_flags_own_and_never_changes(store: FlagFile, path: Path) -> None:
    salt = flag(path)["salt"]
    dial(store, "50%")
    store.take_back(KEY, by="ann", comment="")
    dial(store, "5%")
    store.create("lora-other", by="ann")
    assert flag(path)["salt"] == salt
    assert json.loads(path.read_bytes())["flags"]["lora-other"]["salt"] != salt


def test_what_we_do_not_know_in_the_file_is_kept(store: FlagFile, path: Path) -> None:
    document = json.loads(path.read_bytes())
    document["segments"]["testers"] = {"key": "testers", "version": 1, "included": ["ann"]}
    document["flags"]["someone-elses"] = {"key": "someone-elses", "version": 4, "variations": [1, 2]}
    path.write_text(json.dumps(document))
    dial(store, "50%")
    after = json.loads(path.read_bytes())
    assert after["segments"] == document["segments"]
    assert after["flags"]["someone-elses"] == document["flags"]["someone-elses"]


ROLLOUT = {
    "contextKind": "user",
    "variations": [{"variation": 0, "weight": 50000}, {"variation": 1, "weight": 50000}],
}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"variations": ["candidate", "stable"]}, r"has the variations \['candidate', 'stable'\]"),
        ({"variations": ["stable", "candidate", "third"]}, "has the variations"),
        ({"offVariation": 1}, r"off variation 1, not 0 \(stable\)"),
        ({"offVariation": None}, "off variation None"),
        ({"version": "7"}, "has the version '7'"),
        ({"version": True}, "has the version True"),
        ({"version": 10**400}, "has a version above 9007199254740992"),
        ({"on": "true"}, "neither on nor off"),
        ({"key": "other"}, "calls itself 'other'"),
        ({"rules": [{"clauses": [], "variation": 1}]}, "has rules in front"),
        ({"targets": [{"values": ["ann"], "variation": 0}]}, "has targets in front"),
        ({"targets": [{"values": ["ann"], "variation": True}]}, "has targets in front"),
        ({"targets": [{"values": ["ann", 7], "variation": 1}]}, "has targets in front"),
        ({"targets": [{"values": [""], "variation": 1}]}, "has targets in front"),
        ({"targets": {"values": ["ann"], "variation": 1}}, "has targets that are not a list"),
        (
            {"contextTargets": [{"contextKind": "org", "values": ["ann"], "variation": 1}]},
            "has targets in front",
        ),
        ({"prerequisites": [{"key": "x", "variation": 1}]}, "has prerequisites in front"),
        ({"fallthrough": {}}, "neither one variation nor a rollout"),
        ({"fallthrough": {"variation": 2}}, "variation 2, which is neither slot"),
        ({"fallthrough": {"variation": True}}, "neither one variation nor a rollout"),
        ({"fallthrough": {"variation": 1, "rollout": ROLLOUT}}, "neither one variation nor a rollout"),
        (
            {"fallthrough": {"rollout": {**ROLLOUT, "variations": ROLLOUT["variations"][::-1]}}},
            "does not list stable first",
        ),
        ({"fallthrough": {"rollout": {**ROLLOUT, "contextKind": "tenant"}}}, "contexts of kind 'tenant'"),
        ({"fallthrough": {"rollout": {**ROLLOUT, "bucketBy": "country"}}}, "bucketBy.*draw the users anew"),
        ({"fallthrough": {"rollout": {**ROLLOUT, "seed": 7}}}, "seed.*draw the users anew"),
        (
            {
                "fallthrough": {
                    "rollout": {
                        "variations": [{"variation": 0, "weight": 50000}, {"variation": 1, "weight": 5000}]
                    }
                }
            },
            "weights 50000 and 5000, which do not sum to 100000",
        ),
        (
            {
                "fallthrough": {
                    "rollout": {
                        "variations": [{"variation": 0, "weight": -1}, {"variation": 1, "weight": 100001}]
                    }
                }
            },
            "do not sum",
        ),
    ],
)
def test_a_hand_edit_is_named_never_overwritten_and_can_be_taken_back(
    store: FlagFile, path: Path, change: dict[str, Any], sentence: str
) -> None:
    dial(store, "50%")
    edit(path, lambda flag: flag.update(change))
    before = path.read_bytes()
    with pytest.raises(WorldChanged, match=sentence):
        store.read(KEY)
    with pytest.raises(WorldChanged, match=sentence):
        dial(store, "100%")
    assert path.read_bytes() == before
    if "variations" in change:
        with pytest.raises(WorldChanged, match=sentence):
            store.take_back(KEY, by="bob", comment="")
    else:
        state = store.take_back(KEY, by="bob", comment="")
        assert (state.on, state.share) == (False, Share.ZERO)
        assert flag(path)["fallthrough"] == {"variation": 0}


def test_rules_left_by_hand_stand_in_the_way_of_the_next_turn_on(store: FlagFile, path: Path) -> None:
    edit(path, lambda flag: flag.update(rules=[{"clauses": [], "variation": 1}]))
    store.take_back(KEY, by="bob", comment="")
    state = store.read(KEY)
    assert state is not None
    assert not state.on, "an off flag ignores its rules, so it can be read"
    with pytest.raises(WorldChanged, match="has rules in front"):
        dial(store, "5%")
