"""Whatever people, judges, other services and deaths do in whatever order: nobody gets what was not proven."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Phases
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rollout.core.lifecycle import (
    Intended,
    LedgerEntry,
    Looked,
    Phase,
    RolloutState,
    apply,
    fold,
    verify_chain,
)
from rollout.core.plan import Share
from rollout.core.verdict import Outcome
from rollout.demo.scratch import NAME
from rollout.errors import RolloutError
from rollout.usecases.advance import advance
from rollout.usecases.quarantine import lift
from rollout.usecases.resume import resume
from rollout.usecases.rollback import rollback
from rollout.usecases.steer import hasten, pause, retry
from tests.support.aftermath import announced
from tests.support.mortal import Death, mortal
from tests.support.site import SIGNATURE, Site

PLANNED = {Share.parse(share) for share in ("0%", "10%", "50%", "100%")}
FOLDER = Path(tempfile.mkdtemp(prefix="machine-"))
STAGES = ("adopted", "shadow", "10%", "50%", "100%", "promoted")
_stages: dict[str, Site] = {}


def at(stage: str) -> Site:
    """A release as far as that, made once: every walk begins with a copy of one."""
    if not _stages:
        (FOLDER / "adopted").mkdir()
        walked = Site.create(FOLDER / "adopted")
        for name in STAGES:
            if name == "shadow":
                walked.propose("1.1.0")
                walked.tick()
            elif name == "promoted":
                walked.answer_well()
                walked.tick_after(4)
            elif name != "adopted":
                walked.walk_to(name)
            _stages[name] = walked
            walked = walked.copy(FOLDER / f"behind-{name.rstrip('%')}")
    return _stages[stage]


def teardown_module() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)


class Walk(RuleBasedStateMachine):
    """One adapter, and everybody who may do something to it."""

    @initialize(stage=st.sampled_from(STAGES))
    def begin(self, stage: str) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=FOLDER))
        self.site = at(stage).copy(self.folder / "site")
        self.foreign = False  # Somebody else wrote the flag last.
        self.forgot = False  # A server was restarted, and was not given everything again yet.

    def teardown(self) -> None:
        if hasattr(self, "site"):
            self._every_prefix_folds()
            shutil.rmtree(self.folder, ignore_errors=True)

    @rule(version=st.sampled_from(["1.1.0", "1.2.0"]), evaluated=st.sampled_from([True, True, False]))
    def propose(self, version: str, evaluated: bool) -> None:
        self.site.repository.pull()
        if self.site.repository.version_on("HEAD") != version:
            self.site.propose(version, evaluate=evaluated)

    @rule()
    def evaluate(self) -> None:
        self.site.repository.pull()
        with suppress(RolloutError):
            self.site.record_evaluation()

    @precondition(lambda self: self.site.state.candidate is not None)
    @rule(bad=st.sampled_from([0, 0, 0, 60]), enough=st.booleans())
    def answer(self, bad: int, enough: bool) -> None:
        shadow = self.site.state.phase is Phase.SHADOW
        share = self.site.state.share
        candidate = 120 if enough else 10
        if not shadow and share == Share.ZERO:
            return
        stable = candidate if shadow else 0 if share == Share.FULL else 400
        self.site.answer(stable=stable, candidate=candidate, bad=min(bad, candidate), shadow=shadow)

    @rule(seconds=st.sampled_from([0, 4, 4, 4, 200]))
    def tick(self, seconds: int) -> None:
        self.site.clock.time += timedelta(seconds=seconds)
        self._tick(self.site.world)

    @rule(ticks=st.integers(1, 4), bad=st.sampled_from([0, 0, 0, 12]))
    def walk_on(self, ticks: int, bad: int) -> None:
        """The usual: good answers, or some that prove nothing either way, some time, a tick."""
        for _ in range(ticks):
            if self.site.state.candidate is not None:
                self.answer(bad=bad, enough=True)
            self.tick(seconds=4)

    @rule(seconds=st.sampled_from([4, 700_000]))
    def walk_on_later(self, seconds: int) -> None:
        """As usual, but for when; a week settles what was promoted."""
        self.walk_on(ticks=1, bad=0)
        self.tick(seconds=seconds)

    @rule(at=st.integers(0, 9), before=st.booleans())
    def tick_and_die(self, at: int, before: bool) -> None:
        self.site.clock.time += timedelta(seconds=4)
        self._tick(mortal(self.site.world, at=at, before=before))

    @rule(at=st.integers(0, 6), before=st.booleans())
    def roll_back_and_die(self, at: int, before: bool) -> None:
        with suppress(Death):
            rollback(
                mortal(self.site.world, at=at, before=before), NAME, reason="by hand", signature=SIGNATURE
            )
        self._see_who_wrote()

    @rule()
    def roll_back(self) -> None:
        rollback(self.site.world, NAME, reason="by hand", signature=SIGNATURE)
        self.foreign = False

    @rule(ask=st.sampled_from([pause, hasten, retry, lift, resume]))
    def ask(self, ask: Callable[..., object]) -> None:
        with suppress(RolloutError):
            ask(self.site.world, NAME, reason="because", signature=SIGNATURE)

    @rule(share=st.sampled_from(["0%", "3%", "10%", "60%", "100%"]), turn_on=st.booleans())
    def somebody_else_writes_the_flag(self, share: str, turn_on: bool) -> None:
        flags = self.site.world.flags
        if flags.read(self.site.key) is not None:
            flags.write(
                self.site.key, Share.parse(share), turn_on=turn_on, expect_version=None, by="eve", comment=""
            )
            self.foreign = True

    @rule()
    def a_server_restarts(self) -> None:
        for model in self.site.replica.models():
            self.site.replica.unload(model.name)
        self.forgot = True

    def _tick(self, world: object) -> None:
        with suppress(RolloutError, Death):
            advance(world, NAME, signature=SIGNATURE, gatekeeper=lambda *_: None)  # type: ignore[arg-type]
        self._see_who_wrote()

    def _see_who_wrote(self) -> None:
        flag = self.site.world.flags.read(self.site.key)
        self.foreign = flag is not None and flag.changed_by == "eve"

    @invariant()
    def the_flag_gives_only_what_was_planned_and_announced(self) -> None:
        if not hasattr(self, "site") or self.foreign:
            return
        flag = self.site.world.flags.read(self.site.key)
        if flag is not None and flag.changed_by == "ann":
            assert flag.share in PLANNED
            assert flag.effective <= announced(self.site.state)

    @invariant()
    def there_is_one_candidate_and_it_was_not_taken_back(self) -> None:
        if not hasattr(self, "site"):
            return
        state, route = self.site.state, self.site.world.routes.read().routes.get(NAME)
        flag = self.site.world.flags.read(self.site.key)
        if route is None or route.candidate is None:
            return
        known = state.candidate is not None and state.candidate.served_name == route.candidate
        assert known or flag is None or flag.effective == Share.ZERO or self.foreign
        if state.candidate is not None:
            assert not state.is_quarantined(state.candidate.identity)

    @invariant()
    def what_is_stable_is_loaded(self) -> None:
        if not hasattr(self, "site"):
            return
        route = self.site.world.routes.read().routes.get(NAME)
        loaded = {model.name for model in self.site.replica.models()}
        self.forgot = self.forgot and route is not None and route.stable not in loaded
        if route is not None and not self.forgot:
            assert route.stable in loaded

    @invariant()
    def no_share_rises_without_a_look_that_passed(self) -> None:
        if not hasattr(self, "site"):
            return
        state, passed = RolloutState(), False
        for entry in self.site.world.ledger.read(NAME):
            event = entry.event
            if isinstance(event, Looked):
                passed = event.outcome is Outcome.PASS
            if isinstance(event, Intended):
                up_again = event.step == state.step
                hurried = event.skipped is not None and state.hastened is not None
                assert passed or up_again or hurried, f"{event.share} was announced without a pass"
                assert state.paused is None
            before, state = state, apply(state, entry)
            if (before.step, before.phase) != (state.step, state.phase):
                passed = False

    def _every_prefix_folds(self) -> None:
        entries: tuple[LedgerEntry, ...] = self.site.world.ledger.read(NAME)
        verify_chain(entries)
        for length in range(len(entries) + 1):
            fold(entries[:length])


Walk.TestCase.pytestmark = [pytest.mark.timeout(900)]
Walk.TestCase.settings = settings(
    max_examples=20,
    # The same walks each time: a suite that finds something new is run again by whoever wants to know.
    derandomize=True,
    phases=(Phases.explicit, Phases.generate),
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestWhateverHappens = Walk.TestCase
