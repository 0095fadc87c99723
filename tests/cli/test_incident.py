"""`rollout incident`: what is known of a rollback, from wherever it left something, and what is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rollout.demo.scratch import ENVIRONMENT, NAME
from rollout.usecases.rollback import rollback
from tests.support.commands import Ended, break_ledger, in_site, lasting, rollout
from tests.support.site import SIGNATURE, Site

FORMS = ["text", "json", "markdown"]


@pytest.fixture
def taken_back(ramping: Site) -> Site:
    """1.1.0 answered 90 requests at 10 %, 60 of them in the wrong form, and was taken back."""
    ramping.answer(stable=90, candidate=90, bad=60, now=True)
    assert rollback(ramping.world, NAME, reason="worse", signature=SIGNATURE, incident="INC-7").complete
    return ramping


def incident(site: Site, verb: str, *words: str) -> Ended:
    return in_site(site, "incident", *words, name=verb)


def shown(site: Site, *words: str) -> dict[str, object]:
    ended = incident(site, "show", NAME, "--format", "json", *words)
    assert (ended.status, ended.err) == (0, "")
    told = json.loads(ended.out)
    assert isinstance(told, dict)
    return told


@pytest.mark.parametrize("form", FORMS)
def test_one_is_listed_and_shown_and_nothing_is_changed(taken_back: Site, form: str) -> None:
    before = lasting(taken_back)
    for ended in (
        incident(taken_back, "list", "--format", form),
        incident(taken_back, "show", NAME, "--format", form),
        incident(taken_back, "show", NAME, "--incident", "INC-7", "--format", form),
    ):
        assert (ended.status, ended.err) == (0, "")
        assert "INC-7" in ended.out
        assert "1.1.0" in ended.out
    assert lasting(taken_back) == before


def test_all_that_is_known_is_told(taken_back: Site) -> None:
    told = shown(taken_back)
    assert (told["incident"], told["reason"], told["from_share"]) == ("INC-7", "worse", "10%")
    times = told["times"]
    assert isinstance(times, dict)
    assert times["time_to_verify_s"] is not None
    assert "the rollback was the first sign" in times["notes"]["decide"]
    text = incident(taken_back, "show", NAME).out
    assert "60 had the wrong form" in text
    assert "worked  manifest reverted" in text
    assert "a flag file keeps its last change only" in text, "what is not known is told"


def test_without_an_incident_there_is_nothing_to_show(ramping: Site) -> None:
    ended = incident(ramping, "show", NAME)
    assert ended.status == 3
    assert "nothing was ever taken back" in ended.err
    assert incident(ramping, "list").status == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--number", "2"), "has 1 incident; there is none with number 2"),
        (("--incident", "INC-8"), "no rollback of support-triage is called so"),
        (("--incident", "INC-7", "--number", "1"), "each name one incident"),
    ],
)
def test_one_that_there_is_not_is_refused(taken_back: Site, words: tuple[str, ...], why: str) -> None:
    ended = incident(taken_back, "show", NAME, *words)
    assert (ended.status, ended.out) == (2, "")
    assert why in ended.err


def test_a_broken_ledger_shows_none_and_is_listed_as_broken(taken_back: Site) -> None:
    break_ledger(taken_back)
    assert incident(taken_back, "show", NAME).status == 5
    listed = incident(taken_back, "list")
    assert "the chain is broken" in listed.out + listed.err
    assert listed.status != 0


def test_a_traffic_log_that_is_gone_is_a_gap_and_no_zero(taken_back: Site) -> None:
    for path in taken_back.repository.state.glob("traffic.sqlite*"):
        path.unlink()
    told = shown(taken_back)
    assert told["impact"] is None
    assert any("traffic" in str(gap) for gap in told["gaps"])  # type: ignore[attr-defined]
    assert "is not known, for the traffic log is gone" in incident(taken_back, "show", NAME).out


def test_a_commit_that_this_clone_lacks_is_a_gap(taken_back: Site, tmp_path: Path) -> None:
    clone = tmp_path / "shallow"
    origin = f"file://{taken_back.folder / 'origin.git'}"
    taken_back.repository.git("clone", "-q", "--depth", "1", origin, str(clone))
    environment = Path("policies", "environments", f"{ENVIRONMENT}.yaml")
    shutil.copy(taken_back.repository.root / environment, clone / environment)
    ended = rollout("incident", "show", NAME, "-e", ENVIRONMENT, "--root", str(clone), "--format", "json")
    told = json.loads(ended.out)
    assert any("is not in this clone" in str(gap) for gap in told["gaps"])


def test_what_a_hostile_reason_says_stays_on_its_line(ramping: Site) -> None:
    reason = "| x |\n# heading\n<script>alert(1)</script> \x1b[31m"
    assert rollback(ramping.world, NAME, reason=reason, signature=SIGNATURE).complete
    told = incident(ramping, "show", NAME, "--format", "markdown").out
    assert "\n# heading" not in told
    assert "<script>" not in told
    assert "\x1b" not in told + incident(ramping, "show", NAME).out


def test_files_are_written_for_the_review(taken_back: Site, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        ended = incident(taken_back, "export", NAME, "--folder", str(folder))
        assert (ended.status, ended.err) == (0, "")
    stem = f"incident-{ENVIRONMENT}-{NAME}-1"
    assert sorted(path.name for path in folder.iterdir()) == [f"{stem}.html", f"{stem}.md"]
    assert ended.out == f"wrote {folder / stem}.md\nwrote {folder / stem}.html\n"
    assert "## For the review" in (folder / f"{stem}.md").read_text()


def test_a_folder_that_cannot_be_made_is_said(taken_back: Site, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = incident(taken_back, "export", NAME, "--folder", str(tmp_path / "file" / "below"))
    assert ended.status == 2
    assert "cannot be made" in ended.err
