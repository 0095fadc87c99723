from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.core.approval import PullRequest, approval_of, are_two, is_somebody, person
from rollout.core.freeze import Freeze
from rollout.core.manifest import Change
from rollout.core.policy import Waiver

HEAD, OLD = "5" * 40, "6" * 40


def change(*names: str) -> Change:
    approvals = [{"by": name, "role": f"role of {name}", "on": "2026-11-01"} for name in names]
    return Change.model_validate({"purpose": "p", "approvals": approvals})


def asked(*reviews: tuple[str, str], author: str = "ann") -> PullRequest:
    fields: dict[str, Any] = {
        "schema": "adapter-rollout/pull-request/v1",
        "number": 7,
        "author": author,
        "head": HEAD,
        "approvals": [{"by": name, "commit": commit} for name, commit in reviews],
    }
    return PullRequest.model_validate(fields)


def test_names_in_the_manifest_count_where_nobody_asked_the_forge() -> None:
    found = approval_of(change("Bob", "eve"), None, [])
    assert (found.by, found.others) == (("bob", "eve"), ("bob", "eve"))
    assert found.roles == ("role of Bob", "role of eve")


def test_names_in_the_manifest_count_for_nothing_where_the_forge_was_asked() -> None:
    assert approval_of(change("bob"), asked(), []).others == ()
    assert approval_of(change(), asked(("bob", HEAD)), []).others == ("bob",)


def test_a_review_of_an_older_commit_is_no_review() -> None:
    assert approval_of(change(), asked(("bob", OLD)), []).by == ()


@pytest.mark.parametrize("author", ["bob", "Bob", "@bob", " BOB ", "ｂｏｂ", "＠Bob", "bo\u200bb"])
def test_whoever_made_the_change_is_none_of_the_others_however_they_are_written(author: str) -> None:
    found = approval_of(change("bob", "eve"), None, [author])
    assert (found.by, found.others) == (("bob", "eve"), ("eve",))
    assert approval_of(change(), asked(("bob", HEAD), author=author), []).others == ()


def test_a_name_of_several_words_is_one_name_whatever_is_between_them() -> None:
    assert person(" Mal\u00a0  LORY\t") == person("@mal lory") == "mal lory"


@given(st.text())
def test_a_folded_name_stays_as_it_is(text: str) -> None:
    assert person(person(text)) == person(text)


@pytest.mark.parametrize("nobody", ["@", " ", "\u200b", "@ \u2060"])
def test_a_name_of_nobody_approves_nothing(nobody: str) -> None:
    assert approval_of(change(nobody), None, []).by == ()
    assert approval_of(change(), asked((nobody, HEAD)), []).others == ()


@given(st.lists(st.sampled_from("abcdef"), max_size=20), st.lists(st.sampled_from("abcdef"), max_size=20))
def test_the_others_are_those_who_approved_without_those_who_made_it(by: list[str], made: list[str]) -> None:
    found = approval_of(change(*by), None, made)
    assert set(found.others) == set(by) - set(made)
    assert set(found.by) == set(by)


@pytest.mark.parametrize("approver", ["Ann", "@ann", "ann ", "ａｎｎ", "an\u00adn", "@", "\u200b"])
def test_a_waiver_is_approved_by_no_other_spelling_of_its_owner_and_by_somebody(approver: str) -> None:
    fields = {"rule": "r", "manifest": "m", "reason": "why", "owner": "ann", "expires": "2030-01-01"}
    assert Waiver.model_validate({**fields, "approver": "bob"}).approver == "bob"
    with pytest.raises(ValidationError, match="someone other than its owner"):
        Waiver.model_validate({**fields, "approver": approver})


def test_a_freeze_that_ends_before_it_begins_is_refused() -> None:
    times = {"begins": "2026-12-01T00:00:00Z", "ends": "2026-11-01T00:00:00Z"}
    with pytest.raises(ValidationError, match="ends before it begins"):
        Freeze.model_validate({"name": "audit", "reason": "audit", **times})


def test_a_freeze_without_a_time_zone_is_refused() -> None:
    times = {"begins": "2026-11-01T00:00:00", "ends": "2026-12-01T00:00:00Z"}
    with pytest.raises(ValidationError, match="timezone"):
        Freeze.model_validate({"name": "audit", "reason": "audit", **times})


@pytest.mark.parametrize(
    ("one", "other", "two"),
    [
        ("ann", "bob", True),
        ("ann", "@Ann", False),
        ("ann", "ANN ", False),
        ("ann", "\uff41nn", False),
        ("ann", "a\u200bnn", False),
        ("Ann Lee", "annlee", False),
        ("ann", "", False),
        ("@", "bob", False),
    ],
)
def test_two_names_are_of_two_people_only_if_they_are_two_however_written(
    one: str, other: str, two: bool
) -> None:
    assert are_two(one, other) is are_two(other, one) is two


@pytest.mark.parametrize(
    ("name", "somebody"),
    [("ann", True), ("", False), ("@", False), ("Unknown", False), ("github-actions[bot]", False)],
)
def test_an_app_and_nobody_are_no_persons(name: str, somebody: bool) -> None:
    assert is_somebody(name) is somebody
