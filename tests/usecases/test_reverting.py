"""Git says again what serves though its branch takes no push: one pull request, whoever dies, races or is away."""

from __future__ import annotations

import re
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollout.core.environment import GitHubForge, Merging
from rollout.core.lifecycle import Reverted
from rollout.core.pullrequest import PullState
from rollout.demo.scratch import MANIFEST, NAME
from rollout.integrations.github import GitHub
from rollout.integrations.github.client import Client
from rollout.integrations.github.pace import Pace
from rollout.usecases.dryrun import rehearse
from rollout.usecases.rollback import PhaseDone, RollbackReport, rollback
from rollout.usecases.tick import Move
from tests.support.aftermath import Workbench, manifest_on_origin, outcome, reverts
from tests.support.github.book import NAME as REPOSITORY
from tests.support.github.book import Pull
from tests.support.github.server import TOKEN, FakeGitHub, Fault, github
from tests.support.kill import await_orphans, die_at, points_of, race
from tests.support.site import SIGNATURE, Site


@pytest.fixture(scope="module")
def ramping(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """1.1.0 at 10 %."""
    folder = tmp_path_factory.mktemp("ramping") / "site"
    folder.mkdir()
    site = Site.create(folder)
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    return site


@pytest.fixture
def site(ramping: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    copied = ramping.copy(tmp_path / "site")
    yield copied
    shutil.rmtree(copied.folder, ignore_errors=True)


@pytest.fixture
def fake(site: Site) -> Iterator[FakeGitHub]:
    """A GitHub over the site's remote, whose main takes no push."""
    with github(site.folder / "origin.git") as fake:
        fake.book.remote.protect()
        at(site, fake.url)
        yield fake


def at(site: Site, url: str, merge: Merging = Merging.AUTO, *, patience_s: float = 5) -> None:
    """Give the site's environment a forge."""
    where = GitHubForge(kind="github", repository=REPOSITORY, api=url, merge=merge, patience_s=patience_s)
    environment = site.world.environment.model_copy(update={"forge": where})
    forge = GitHub(where, base="main", pace=Pace(answer_s=60))
    site.world = replace(site.world, environment=environment, forge=forge)


def take_back(site: Site, reason: str = "worse", **told: str) -> RollbackReport:
    return rollback(site.world, NAME, reason=reason, signature=SIGNATURE, **told)  # type: ignore[arg-type]


def git_phase(report: RollbackReport) -> PhaseDone:
    (phase,) = (phase for phase in report.phases if phase.phase == "git")
    return phase


def others_are_done(report: RollbackReport) -> bool:
    return all(phase.ok for phase in report.phases if phase.phase != "git")


def the_pull(fake: FakeGitHub) -> Pull:
    (pull,) = fake.book.pulls
    return pull


def events(site: Site) -> list[Reverted]:
    return [entry.event for entry in site.world.ledger.read(NAME) if isinstance(entry.event, Reverted)]


def stable_manifest(site: Site) -> bytes:
    stable = site.state.stable
    assert stable is not None
    return site.world.manifests.at(stable.commit).read(Path(stable.path))  # type: ignore[arg-type]


def push_to_main(site: Site, fake: FakeGitHub, content: bytes, message: str) -> str:
    """What somebody with the right to do so merges."""
    fake.book.remote.unprotect()
    site.repository.pull()
    (site.repository.root / MANIFEST).write_bytes(content)
    site.repository.git("commit", "-qam", message)
    site.repository.git("push", "-q", "origin", "main")
    fake.book.remote.protect()
    return str(fake.book.remote.tip("main"))


def test_where_nothing_is_required_it_is_merged_within_the_rollback(site: Site, fake: FakeGitHub) -> None:
    report = take_back(site, incident="INC-7")
    assert report.complete, git_phase(report)
    assert report.pull is not None
    assert report.pull.state is PullState.MERGED
    assert report.commit == fake.book.remote.tip("main")
    assert manifest_on_origin(site) == stable_manifest(site)
    (reverted,) = events(site)
    assert (reverted.commit, reverted.branch) == (report.commit, "main")
    for key, value in (("Reason", "worse"), ("Incident", "INC-7"), ("Environment", "demo")):
        told = fake.book.remote.git("log", "-1", f"--format=%(trailers:key={key},valueonly)", "main")
        assert told.strip() == value
    assert reverts(site) == [site.state.rolled_back and site.state.rolled_back.bad.served_name]  # type: ignore[union-attr]


def test_what_waits_for_a_review_is_told_and_finished_by_a_tick_once_it_is_merged(
    site: Site, fake: FakeGitHub
) -> None:
    fake.book.reviews_missing = True
    report = take_back(site)
    phase = git_phase(report)
    assert (phase.ok, phase.waits, report.safe, report.complete) == (False, True, True, False)
    assert others_are_done(report)
    assert report.verified is not None
    assert f"pull request #1 ({fake.url}/{REPOSITORY}/pull/1), which waits for a review" in phase.detail
    assert phase.detail.endswith("no check has begun; then it merges by itself")
    assert (report.commit, events(site)) == (None, [])
    assert site.tick().move is Move.ROLLED_BACK
    fake.book.reviews_missing = False
    tick = site.tick()
    assert (tick.move, tick.reason) == (Move.ROLLED_BACK, "finished the rollback")
    assert events(site)[0].commit == fake.book.remote.tip("main")
    assert manifest_on_origin(site) == stable_manifest(site)
    assert len(fake.book.pulls) == 1


def test_the_pull_request_is_what_a_reviewer_wants_to_know(site: Site, fake: FakeGitHub) -> None:
    fake.book.reviews_missing = True
    take_back(site, "fixes #12 @acme/everybody | `x`")
    pull = the_pull(fake)
    assert pull.title == f"Roll back {NAME} to 1.0.0"
    assert re.fullmatch(rf"rollout/revert-{NAME}-[0-9a-f]{{12}}", pull.branch)
    assert fake.book.remote.changed("main", pull.head) == [str(MANIFEST)]
    assert "| Why | `fixes #12 @acme/everybody / 'x'` |" in pull.body
    assert "Users are safe already" in pull.body
    words = re.sub(r"```.*?```|`[^`]*`", "", pull.body, flags=re.DOTALL)
    assert "@" not in words
    assert "#12" not in words
    assert len(words.split()) < 150


def test_the_manifest_is_what_it_was_with_its_comments_and_nothing_else_is_touched(
    site: Site, fake: FakeGitHub
) -> None:
    fake.book.reviews_missing = True
    before = site.repository.git("status", "-s")
    take_back(site)
    pull = the_pull(fake)
    assert fake.book.remote.read(MANIFEST, pull.branch) == stable_manifest(site)
    assert b"#" in stable_manifest(site)
    assert site.repository.git("status", "-s") == before


def test_a_branch_that_takes_a_push_gets_one_and_no_pull_request(site: Site, fake: FakeGitHub) -> None:
    fake.book.remote.unprotect()
    assert take_back(site).complete
    assert fake.book.pulls == []
    assert fake.lines == []


def test_pull_request_alone_is_what_an_environment_may_ask_for(site: Site, fake: FakeGitHub) -> None:
    fake.book.remote.unprotect()
    at(site, fake.url, Merging.PULL_REQUEST)
    assert take_back(site).complete
    assert the_pull(fake).merged_by_commit == fake.book.remote.tip("main")


def test_push_alone_says_that_the_branch_takes_none(site: Site, fake: FakeGitHub) -> None:
    at(site, fake.url, Merging.PUSH)
    report = take_back(site)
    assert "the remote does not take a push to main" in git_phase(report).detail
    assert others_are_done(report)
    assert fake.book.pulls == []


def test_without_a_forge_a_protected_branch_is_told(site: Site, fake: FakeGitHub) -> None:
    site.world = replace(site.world, forge=None)
    report = take_back(site)
    assert "GH006" in git_phase(report).detail
    assert (git_phase(report).waits, report.safe) == (False, True)


def test_github_that_is_down_holds_nothing_up_and_is_made_up_for(site: Site, fake: FakeGitHub) -> None:
    at(site, "http://127.0.0.1:9", patience_s=0.5)
    report = take_back(site)
    phase = git_phase(report)
    assert others_are_done(report)
    assert not phase.waits
    branch = f"rollout/revert-{NAME}-{report.bad and report.bad.identity[:12]}"
    pushed = fake.book.remote.tip(branch)
    assert f"the revert {str(pushed)[:12]} is on {branch} and not merged: GitHub at" in phase.detail
    at(site, fake.url)
    assert take_back(site).complete
    assert the_pull(fake).head == pushed
    assert reverts(site) == [report.bad and report.bad.served_name]


def test_github_that_is_slow_does_not_hold_up_the_proof(
    site: Site, fake: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateways and servers are asked while git is still waiting; git's phase comes last then."""
    monkeypatch.setattr("rollout.usecases.rollback._GIT_ALONE_S", 0.05)
    proven, seen = threading.Event(), list[str]()
    respond = fake._respond

    def slow(*words: object) -> object:
        assert proven.wait(60), "the proof waited for GitHub"
        return respond(*words)  # type: ignore[arg-type]

    def see(phase: PhaseDone) -> None:
        seen.append(phase.phase)
        if phase.phase == "unload":
            proven.set()

    fake._respond = slow  # type: ignore[assignment, method-assign]
    at(site, fake.url, patience_s=60)
    report = rollback(site.world, NAME, reason="worse", signature=SIGNATURE, on_phase=see)
    assert seen == ["flag", "ledger", "routes", "verify", "unload", "git"]
    assert report.complete


def test_git_that_never_answers_ends_its_phase_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout.usecases.rollback._GIT_ALONE_S", 0.05)
    monkeypatch.setattr("rollout.usecases.rollback._GIT_LONGEST_S", 0.1)
    ever = threading.Event()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(site.world.manifests), "restore", lambda *_, **__: ever.wait())
        report = take_back(site)
    assert git_phase(report).detail == "git and its forge have not answered within 0 s"
    assert others_are_done(report)
    ever.set()
    monkeypatch.undo()
    assert take_back(site).complete


def test_a_missing_token_is_told_with_what_it_needs(
    site: Site, fake: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    report = take_back(site)
    assert "GITHUB_TOKEN is not set" in git_phase(report).detail
    assert others_are_done(report)
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    assert take_back(site).complete


def test_a_token_that_may_not_open_one_is_told(site: Site, fake: FakeGitHub) -> None:
    fake.forbidden = re.compile("POST .*/pulls")
    report = take_back(site)
    assert "GitHub answered 403 to the token in GITHUB_TOKEN" in git_phase(report).detail
    assert TOKEN not in str(report)
    fake.forbidden = None
    assert take_back(site).complete


def test_a_steered_manifest_is_reverted_anew_and_never_by_force(site: Site, fake: FakeGitHub) -> None:
    """Somebody changes how it is released while the pull request waits: it conflicts, and is made anew on that."""
    fake.book.reviews_missing = True
    take_back(site)
    first = the_pull(fake).head
    now = manifest_on_origin(site) or b""
    steered = now.replace(b"  plan: demo\n", b"  plan: demo\n  hold: {reason: wait}\n")
    tip = push_to_main(site, fake, steered, "steer")
    assert git_phase(take_back(site)).waits
    again = the_pull(fake).head
    assert again != first
    assert fake.book.remote.parents(again) == [tip, first]
    assert fake.book.remote.changed("main", again) == [str(MANIFEST)]
    fake.book.reviews_missing = False
    assert take_back(site).complete
    assert manifest_on_origin(site) == stable_manifest(site)


def test_a_newer_version_closes_what_would_undo_it(site: Site, fake: FakeGitHub) -> None:
    fake.book.reviews_missing = True
    take_back(site)
    fake.book.remote.unprotect()
    newer = site.propose("1.4.0")
    fake.book.remote.protect()
    report = take_back(site)
    assert report.complete, git_phase(report)
    assert git_phase(report).detail == f"left alone: main asks for {newer} meanwhile"
    pull = the_pull(fake)
    assert (pull.state, pull.merged_by_commit) == ("closed", None)
    assert pull.comments == [
        f"<!-- rollout:revert-not-needed -->\nmain asks for {newer} meanwhile: this revert would undo that."
    ]
    assert b'version: "1.4.0"' in (manifest_on_origin(site) or b"")


def test_a_revert_by_hand_is_enough_and_closes_the_other(site: Site, fake: FakeGitHub) -> None:
    fake.book.reviews_missing = True
    take_back(site)
    commit = push_to_main(site, fake, stable_manifest(site), "back by hand")
    report = take_back(site)
    assert report.complete
    assert git_phase(report).detail == f"main says so already, by {commit[:12]}"
    assert the_pull(fake).state == "closed"


def test_what_must_be_closed_and_cannot_be_keeps_the_phase_open(site: Site, fake: FakeGitHub) -> None:
    """It would be merged by itself over what the branch says now."""
    fake.book.reviews_missing = True
    take_back(site)
    push_to_main(site, fake, stable_manifest(site), "back by hand")
    fake.faults.append(Fault("PATCH", 503, times=99))
    at(site, fake.url, patience_s=0.5)
    report = take_back(site)
    assert "it answered 503" in git_phase(report).detail
    assert events(site) == []
    fake.faults.clear()
    assert take_back(site).complete
    assert the_pull(fake).state == "closed"
    assert len(the_pull(fake).comments) == 1


def test_what_a_person_has_closed_is_not_opened_again(site: Site, fake: FakeGitHub) -> None:
    fake.book.reviews_missing = True
    take_back(site)
    the_pull(fake).state = "closed"
    for _ in range(2):
        report = take_back(site)
        assert (
            "waits for somebody who opens it again: it was closed without being merged"
            in git_phase(report).detail
        )
    the_pull(fake).state = "open"
    fake.book.reviews_missing = False
    assert take_back(site).complete


def test_a_draft_and_a_refused_auto_merge_say_what_is_missing(site: Site, fake: FakeGitHub) -> None:
    fake.book.reviews_missing, fake.book.allow_auto_merge = True, False
    assert "then somebody has to merge it: Auto merge is not allowed" in git_phase(take_back(site)).detail
    the_pull(fake).draft = True
    assert "somebody who marks it as ready: it is a draft" in git_phase(take_back(site)).detail


def test_a_rehearsal_says_what_it_would_do_and_asks_no_forge_for_it(site: Site, fake: FakeGitHub) -> None:
    fake.book.reviews_missing = True
    take_back(site)
    fake.lines.clear()
    told = rehearse(site.world, NAME, signature=SIGNATURE, gatekeeper=lambda *_: None)
    assert told.error is None
    assert not [line for line in fake.lines if not line.startswith("GET")]
    assert len(fake.book.pulls) == 1


def test_two_at_once_make_one_pull_request(site: Site, fake: FakeGitHub, tmp_path: Path) -> None:
    fake.book.reviews_missing = True
    told = race([lambda: git_phase(take_back(site)).waits] * 3, seed=5)
    assert "True" in told
    assert len(fake.book.pulls) == 1
    assert fake.book.remote.git("rev-list", "--count", f"main..{the_pull(fake).branch}").strip() == "1"
    fake.book.reviews_missing = False
    assert take_back(site).complete
    assert len(reverts(site)) == 1
    assert len(events(site)) == 1


@pytest.mark.parametrize("reviews_missing", [True, False])
def test_whoever_dies_around_a_push_or_a_request_is_made_up_for(
    ramping: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reviews_missing: bool
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.setattr("rollout.usecases.rollback._GIT_ALONE_S", 60)
    tell_of_requests(monkeypatch)
    bench = Workbench(ramping, tmp_path)
    with github(bench.site.folder / "origin.git") as fake:
        fake.book.remote.protect()

        def fresh() -> Site:
            site = bench.reset()
            at(site, fake.url, patience_s=30)
            fake.book.pulls.clear()
            fake.book.reviews_missing = reviews_missing
            return site

        site = fresh()
        points = points_of(lambda: take_back(site))
        deadly = [n for n, point in enumerate(points) if "push" in point or "request" in point]
        assert len(deadly) > 10, points
        outcomes = []
        for point in deadly:
            site = fresh()
            await_orphans(die_at(point, lambda site=site: take_back(site)))  # type: ignore[misc]
            site = Site(site.folder, site.clock)
            at(site, fake.url, patience_s=30)
            fake.book.reviews_missing = False
            assert any(take_back(site).complete for _ in range(3)), points[point]
            assert len(fake.book.pulls) == 1, points[point]
            outcomes.append(outcome(site))
            assert outcomes[-1] == outcomes[0], points[point]


def tell_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each request to GitHub a moment to die at: before it is sent, and before its answer is used."""
    sent = Client._sent

    def told(self: Client, method: str, *rest: Any) -> Any:
        sys.audit("os.mkdir", f"request {method}")
        answer = sent(self, method, *rest)
        sys.audit("os.mkdir", f"request {method} answered")
        return answer

    monkeypatch.setattr(Client, "_sent", told)
