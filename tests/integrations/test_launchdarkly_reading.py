"""What the REST API shows, in the model of the SDKs; what a change looks like in each form; how long to wait."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.flagmodel import UnsoundFlagError, fallthrough, read_dial
from rollout.core.plan import Share
from rollout.integrations.launchdarkly.authors import UNKNOWN, author_of, signed
from rollout.integrations.launchdarkly.change import Change
from rollout.integrations.launchdarkly.pace import backoff_s, reset_s
from rollout.integrations.launchdarkly.reading import RemoteFlag, remote_flag

KEY = "lora-support-bot"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def answer(**here: Any) -> dict[str, Any]:
    """A flag on at 5 %, as the REST API shows it; `here` changes what the environment says."""
    variations = [
        {"variation": 0, "weight": 95_000, "_untracked": False},
        {"variation": 1, "weight": 5_000},
    ]
    configuration = {
        "on": True,
        "archived": False,
        "salt": "s",
        "sel": "x",
        "version": 7,
        "targets": [{"values": [], "variation": 0}],
        "contextTargets": [],
        "rules": [],
        "fallthrough": {"rollout": {"variations": variations, "bucketBy": None, "contextKind": "user"}},
        "offVariation": 0,
        "prerequisites": [],
    }
    return {
        "key": KEY,
        "_version": 3,
        "archived": False,
        "tags": [],
        "variations": [{"_id": "a", "value": "stable"}, {"_id": "b", "value": "candidate"}],
        "environments": {"production": {**configuration, **here}, "test": {"on": True}},
    }


def read(**here: Any) -> RemoteFlag:
    return remote_flag("production", answer(**here))


def test_an_answer_is_the_dial_that_an_sdk_would_see() -> None:
    dial = read_dial(KEY, read().model)
    assert (dial.version, dial.on, dial.share) == (7, True, Share.parse("5%"))
    assert read().variation_ids == ("a", "b")


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"seed": 7}, "seed"),
        ({"experimentAllocation": {"type": "measuredRollout"}}, "experimentAllocation"),
        ({"bucketBy": "email"}, "bucketBy"),
        ({"contextKind": "tenant"}, "kind 'tenant'"),
    ],
)
def test_a_rollout_that_draws_other_users_is_refused(part: dict[str, Any], reason: str) -> None:
    rollout = {**answer()["environments"]["production"]["fallthrough"]["rollout"], **part}
    with pytest.raises(UnsoundFlagError, match=reason):
        read_dial(KEY, read(fallthrough={"rollout": rollout}).model)


@pytest.mark.parametrize("part", ["targets", "contextTargets", "rules", "prerequisites"])
def test_what_stands_in_front_is_kept(part: str) -> None:
    with pytest.raises(UnsoundFlagError, match="targets" if part == "contextTargets" else part):
        read_dial(KEY, read(**{part: [{"values": ["u1"], "variation": 0}]}).model)


def test_whom_the_flag_names_for_the_candidate_is_read_as_a_ring_whatever_else_is_listed_empty() -> None:
    ours, empty = (
        {"values": ["u1", "u2"], "variation": 1, "contextKind": "user"},
        {"values": [], "variation": 0},
    )
    shown = read(
        targets=[ours, empty], contextTargets=[empty | {"contextKind": "org"}, ours | {"values": []}]
    )
    assert read_dial(KEY, shown.model).ring == {"u1", "u2"}


@pytest.mark.parametrize("part", ["on", "version", "fallthrough", "offVariation"])
def test_what_is_missing_is_never_made_up(part: str) -> None:
    with pytest.raises(UnsoundFlagError):
        read_dial(KEY, read(**{part: None}).model)


def test_an_environment_that_is_not_shown_is_unsound() -> None:
    with pytest.raises(UnsoundFlagError, match="not shown in the environment staging"):
        remote_flag("staging", answer())


@pytest.mark.parametrize("value", [True, 1, "false", {}])
def test_any_mark_but_false_is_archived(value: object) -> None:
    assert read(archived=value).archived
    assert not read(archived=None).archived


@given(JSON)
def test_nothing_but_unsound_comes_of_strange_answers(body: Any) -> None:
    with suppress(UnsoundFlagError):
        remote_flag("production", body)


@given(st.sampled_from(sorted(answer()["environments"]["production"])), JSON)
def test_nothing_but_unsound_comes_of_strange_parts(part: str, value: Any) -> None:
    with suppress(UnsoundFlagError):
        read_dial(KEY, read(**{part: value}).model)


@given(st.integers(0, 100_000))
def test_both_forms_of_a_change_lead_to_the_same_share(thousandths: int) -> None:
    change = Change(share=Share(thousandths), turns_on=False)
    (instruction,) = change.instructions(("a", "b"))
    assert isinstance(instruction, dict)
    weights = instruction.get("rolloutWeights")
    served = {"a": 0, "b": 100_000}.get(str(instruction.get("variationId")))
    assert thousandths == (served if weights is None else weights["b"])  # type: ignore[index, call-overload]
    assert weights is None or sum(weights.values()) == 100_000  # type: ignore[union-attr, arg-type]
    *_, last = change.operations("production", 7)
    assert isinstance(last, dict)
    assert last["value"] == fallthrough(Share(thousandths))


def test_turning_on_comes_in_the_same_patch_and_first() -> None:
    change = Change(share=Share.parse("5%"), turns_on=True)
    first, second = change.instructions(("a", "b"))
    assert first == {"kind": "turnFlagOn"}
    assert isinstance(second, dict)
    assert second["kind"] == "updateFallthroughVariationOrRollout"
    test, *_ = change.operations("production", 7)
    assert test == {"op": "test", "path": "/environments/production/version", "value": 7}


@given(st.text(max_size=300), st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1, max_size=50))
def test_whoever_signed_is_read_back(comment: str, by: str) -> None:
    note = signed(comment, by)
    assert "\n" not in note
    assert author_of({"comment": note}) == by


@pytest.mark.parametrize(
    ("entry", "who"),
    [
        ({"comment": "by hand", "member": {"email": "eve@example.org"}}, "eve@example.org"),
        ({"comment": "", "token": {"name": "terraform"}}, "terraform"),
        ({"comment": None, "member": {"email": 7}}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_others_are_named_by_the_audit_log(entry: dict[str, Any], who: str) -> None:
    assert author_of(entry) == who


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"x-ratelimit-reset": "1007000"}, 7),
        ({"x-ratelimit-auth-token-reset": "1003000"}, 3),
        ({"x-ratelimit-reset": "1003000", "x-ratelimit-auth-token-reset": "1007000"}, 7),
        ({"retry-after": "5"}, 5),
        ({"retry-after": "5", "x-ratelimit-reset": "1002000"}, 5),
        ({"x-ratelimit-reset": "900000"}, 0),
        ({"x-ratelimit-reset": "soon", "retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "-5"}, 0),
        ({}, 0),
    ],
)
def test_a_limit_is_waited_for_until_the_last_of_its_resets(headers: dict[str, str], wait: float) -> None:
    assert reset_s(headers, 1000.0) == wait


@given(st.integers(0, 2000), st.floats(0, 1, exclude_max=True))
def test_waits_grow_and_end(attempt: int, jitter: float) -> None:
    assert 0.1 <= backoff_s(attempt, jitter) <= 12.0
