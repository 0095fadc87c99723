"""`rollout incident`: what is known of a rollback, from wherever it left something, and what is not."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollout.cli.incident.choosing import chosen
from rollout.core.environment import Environment
from rollout.core.plan import Share
from rollout.demo.scratch import ENVIRONMENT, NAME
from rollout.integrations.documents import render
from rollout.integrations.launchdarkly import LaunchDarklyStore, Token
from rollout.integrations.trafficlog.retention import Retention
from rollout.report.incident.timeline import timeline
from rollout.usecases.rollback import rollback
from rollout.wiring import load_environment
from tests.support.commands import Ended, break_ledger, in_site, lasting, rollout
from tests.support.launchdarkly import Speaker, speaking
from tests.support.patience import Waits
from tests.support.site import SIGNATURE, Site

FORMS = ["text", "json", "markdown"]


@pytest.fixture
def taken_back(ramping: Site) -> Site:
    """1.1.0 answered 90 requests at 10 %, 60 of them in the wrong form, and was taken back just now."""
    ramping.clock.time = datetime.now(UTC)
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


def gaps(told: dict[str, object]) -> list[dict[str, str]]:
    found = told["gaps"]
    assert isinstance(found, list)
    return found


def reasons(told: dict[str, object], source: str) -> str:
    return "; ".join(str(gap) for gap in gaps(told) if gap["source"] == source)


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


def test_a_revert_of_the_same_second_stands_behind_its_rollback(taken_back: Site) -> None:
    _, record = chosen(taken_back.repository.root, ENVIRONMENT, NAME, None, None)
    event, reverted = record.incident.event, record.incident.reverted
    assert reverted is not None
    event = event.model_copy(update={"at": event.at.replace(microsecond=400_000)})
    entry = record.incident.entry.model_copy(update={"event": event})
    story = tuple(entry if each is record.incident.entry else each for each in record.incident.story)
    commit = replace(record.commits[reverted.commit], at=event.at.replace(microsecond=0))
    told = timeline(
        replace(
            record,
            incident=replace(record.incident, entry=entry, story=story),
            commits={**record.commits, commit.id: commit},
        )
    )
    places = {line.what.split(":")[0]: place for place, line in enumerate(told)}
    assert places["1.1.0 taken back by hand"] < places[f"{commit.id[:12]} reverts it"]


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
    assert "is not known, for the traffic log cannot be read here" in incident(taken_back, "show", NAME).out


def test_a_traffic_log_that_is_damaged_is_a_gap_and_no_zero(taken_back: Site) -> None:
    for path in taken_back.repository.state.glob("traffic.sqlite*"):
        path.write_bytes(b"no log at all" * 1000)
    told = shown(taken_back)
    assert told["impact"] is None
    assert [gap["source"] for gap in gaps(told)].count("metrics") == 1


def test_of_a_traffic_log_that_was_cut_numbers_are_at_least_and_no_first_bad_answer_is_known(
    taken_back: Site,
) -> None:
    assert "first bad answer" in shown(taken_back)["times"]["notes"]["detect"]  # type: ignore[index]
    far = (taken_back.clock.now() + timedelta(days=400)).timestamp()
    with closing(sqlite3.connect(taken_back.repository.state / "traffic.sqlite")) as log:
        assert Retention(keep_days=30).prune(log, far), "its oldest rows went"
    told = shown(taken_back)
    assert "from when users could first get it" in told["times"]["notes"]["detect"]  # type: ignore[index]
    assert "does not reach back to the beginning" in reasons(told, "metrics")
    assert "it answered at least " in incident(taken_back, "show", NAME).out


@pytest.fixture
def at_launchdarkly(
    taken_back: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Site, Speaker]]:
    """Its flags are at LaunchDarkly now, whose audit log knows nothing of the rollback."""
    root = taken_back.repository.root
    with speaking(tmp_path) as speaker:
        monkeypatch.setenv("LD_ACCESS_TOKEN", speaker.token)
        document = load_environment(ENVIRONMENT, root).model_dump(mode="json", by_alias=True)
        changed = {**document, "flags": speaker.flags.model_dump(mode="json")}
        changed["gateways"] = [{"name": "g0", "url": "http://127.0.0.1:8000"}]
        made = Environment.model_validate(changed).model_dump(mode="json", by_alias=True)
        (root / "policies" / "environments" / f"{ENVIRONMENT}.yaml").write_bytes(render(made))
        yield taken_back, speaker


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (None, "LD_ACCESS_TOKEN is not set"),
        ("api-00000000-0000-4000-8000-000000000000", "LaunchDarkly"),
        ("the right one", "its audit shows no change by this rollback"),
    ],
    ids=["no token", "a refused token", "an audit without the change"],
)
def test_an_audit_that_does_not_tell_of_it_is_a_gap(
    at_launchdarkly: tuple[Site, Speaker], monkeypatch: pytest.MonkeyPatch, token: str | None, why: str
) -> None:
    site, _ = at_launchdarkly
    if token is None:
        monkeypatch.delenv("LD_ACCESS_TOKEN")
    elif token.startswith("api-"):
        monkeypatch.setenv("LD_ACCESS_TOKEN", token)
    ended = incident(site, "show", NAME, "--format", "json")
    told = json.loads(ended.out)
    assert ended.status == 0
    assert why in reasons(told, "flag")
    assert token is None or token not in ended.out + ended.err


def test_an_audit_that_tells_of_it_is_no_gap(at_launchdarkly: tuple[Site, Speaker]) -> None:
    site, speaker = at_launchdarkly
    key = site.world.environment.flag_key(NAME)
    store = LaunchDarklyStore(
        speaker.flags,
        token=Token(speaker.token, "LD_ACCESS_TOKEN"),
        rollback_token=None,
        pace=Waits().pace,
    )
    store.create(key, by="ann")
    store.write(key, Share.parse("10%"), turn_on=True, expect_version=None, by="ann", comment="step 1")
    store.take_back(key, by="ann", comment=f"rollback of {NAME}: worse")
    told = shown(site)
    assert reasons(told, "flag") == ""
    assert f"rollback of {NAME}: worse" in json.dumps(told["timeline"])


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


def test_what_is_looked_at_at_once_shows_nothing_of_the_future(taken_back: Site) -> None:
    traffic = shown(taken_back)["traffic"]
    assert isinstance(traffic, dict)
    assert datetime.fromisoformat(traffic["until"]) <= datetime.now(UTC)
