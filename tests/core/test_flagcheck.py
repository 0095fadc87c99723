"""What lets a release begin on a flag, and what does not."""

from __future__ import annotations

import pytest

from rollout.core.flagcheck import FlagCheck, Standing, is_refused, why_not_ready


def check(id_: str, standing: Standing) -> FlagCheck:
    return FlagCheck(id=id_, standing=standing, detail=f"{standing} it is")


def test_no_check_at_all_lets_nothing_begin() -> None:
    assert why_not_ready(()) == "the flag was not checked"


@pytest.mark.parametrize("standing", [Standing.OK, Standing.WARNING])
def test_what_is_right_or_only_odd_lets_a_release_begin(standing: Standing) -> None:
    assert why_not_ready([check("sound", standing)]) is None


@pytest.mark.parametrize(("standing", "refused"), [(Standing.BLOCKED, True), (Standing.UNKNOWN, False)])
def test_what_is_wrong_or_unknown_lets_nothing_begin_and_is_named(standing: Standing, refused: bool) -> None:
    found = [check("exists", Standing.OK), check("schedule", standing)]
    assert why_not_ready(found) == f"schedule: {standing} it is"
    assert is_refused(found) is refused
