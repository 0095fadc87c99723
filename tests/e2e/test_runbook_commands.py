"""Every command of every runbook, typed in its order where it is for: it ends with 0, or with what the page says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from rollout.core.lifecycle import Phase, RolloutState, fold
from rollout.core.plan import Share
from rollout.demo.scratch import ENVIRONMENT, MANIFEST, NAME
from rollout.drill.faults import FAULTS
from rollout.drill.ground import HALF, Flags, Ground, Planted, ended
from tests.support.commands import rollout

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.timeout(600)]

FOLDER = Path(__file__).parents[2] / "runbooks"
AT_LAUNCHDARKLY = {"flag-approval", "flag-denied", "flag-pending-change", "flag-unavailable"}
PAGES = sorted((path.stem for path in FOLDER.glob("*.md")), key=lambda page: (page in AT_LAUNCHDARKLY, page))
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"\$ (?P<typed>.+?)(?:\s+# exits (?P<status>\d+) (?P<why>while .+))?")
_WORKS = '{"total": 200, "bad": 0}'

Situation = Callable[[Ground, Planted], AbstractContextManager[None]]


@dataclass(frozen=True)
class Typed:
    """One line of a page: what is typed, with what it ends, and what is wrong meanwhile (None if nothing is)."""

    words: tuple[str, ...]
    status: int
    why: str | None


def lines_of(page: str) -> list[Typed]:
    found = []
    for block in _BLOCK.findall((FOLDER / f"{page}.md").read_text()):
        for line in block.splitlines():
            match = _LINE.fullmatch(line)
            assert match is not None, line
            words = tuple(shlex.split(match["typed"]))
            found.append(Typed(words=words, status=int(match["status"] or 0), why=match["why"]))
    return found


# --- what is wrong while a command ends with what its page says ---------------------------------------------


def _flag_service(**fault: object) -> Situation:
    @contextmanager
    def spoiled(ground: Ground, _: Planted) -> Iterator[None]:
        ground.spoil_the_flags(fault)
        try:
            yield
        finally:
            ground.spoil_the_flags(None)

    return spoiled


def _dial(ground: Ground, share: Share) -> None:
    flags, key = ground.world().flags, ground.world().environment.flag_key(NAME)
    flags.write(key, share, turn_on=True, expect_version=None, by="eve", comment="by hand")


@contextmanager
def _turned_up(ground: Ground, _: Planted) -> Iterator[None]:
    _dial(ground, Share.parse("90%"))
    try:
        yield
    finally:
        _dial(ground, HALF)


@contextmanager
def _planned(ground: Ground, _: Planted) -> Iterator[None]:
    key = ground.world().environment.flag_key(NAME)
    url = f"http://127.0.0.1:{ground.speaker}/api/v2/projects/default/flags/{key}"
    path = f"{url}/environments/production/scheduled-changes"
    headers = {"Authorization": ground.variables["LD_ACCESS_TOKEN"], "LD-API-Version": "20240415"}
    with httpx.Client(headers=headers, trust_env=False) as client:
        body = {"executionDate": 4_102_444_800_000, "instructions": [{"kind": "turnFlagOff"}]}
        made = client.post(path, json=body).raise_for_status().json()
        try:
            yield
        finally:
            client.delete(f"{path}/{made['_id']}").raise_for_status()


@contextmanager
def _chain_broken(ground: Ground, _: Planted) -> Iterator[None]:
    path = ground.world().environment.ledger.path
    file = next(Path(path).rglob(f"{NAME}.jsonl"))
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"drill"', b'"other"', 1))
    try:
        yield
    finally:
        file.write_bytes(whole)


@contextmanager
def _metric_broken(ground: Ground, _: Planted) -> Iterator[None]:
    _answer(ground, '{"total": NaN, "bad": NaN}')
    try:
        yield
    finally:
        _answer(ground, _WORKS)


def _answer(ground: Ground, said: str) -> None:
    (ground.repository.root / "kpi.py").write_text(f"print({said!r})\n")


@contextmanager
def _push_refused(ground: Ground, _: Planted) -> Iterator[None]:
    hook = ground.origin / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'main is protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    try:
        yield
    finally:
        hook.unlink()


@contextmanager
def _forgotten(ground: Ground, planted: Planted) -> Iterator[None]:
    ground.world().replicas[-1].unload(planted.candidate.served_name)
    yield


@contextmanager
def _another_version_waits(ground: Ground, _: Planted) -> Iterator[None]:
    """It is merged, and nobody has evaluated it."""
    ground.repository.pull()
    ground.repository.merge(ground.repository.propose("1.4.0", "the next one"))
    yield


SITUATIONS: dict[str, Situation] = {
    "while nobody has approved it": _flag_service(name="405", on="write"),
    "while something blocks": _flag_service(name="403", on="any"),
    "while the flag is refused": _flag_service(name="403", on="any"),
    "while the flag gives more than we wrote": _turned_up,
    "while something is planned": _planned,
    "while the flag cannot be read": _flag_service(name="503", on="any"),
    "while the flag is down": _flag_service(name="503", on="any"),
    "while git waits for another version": _another_version_waits,
    "while a chain is broken": _chain_broken,
    "while the chain is broken": _chain_broken,
    "while a source does not answer": _metric_broken,
    "while the push is refused": _push_refused,
    "while it does not answer": FAULTS["git-gone"].spoiled,
    "while git is away": FAULTS["git-gone"].spoiled,
    "while something is away": FAULTS["git-gone"].spoiled,
    "while a server lacks it": _forgotten,
    "while a server does not answer": FAULTS["replica-dead"].spoiled,
    "while a server is away": FAULTS["replica-dead"].spoiled,
}
IT_IS_SO: dict[str, Situation] = {"halted": _turned_up, "release-blocked": lambda *_: nullcontext()}


# --- what was done before somebody opens the page -----------------------------------------------------------


def _taken_back(ground: Ground, _: Planted) -> None:
    assert ended(ground.rollback())[0] == 0


def _held(ground: Ground, planted: Planted) -> None:
    words = ("hold", NAME, "-e", ENVIRONMENT, "--served", planted.candidate.served_name, "--reason", "x")
    assert run(ground, words) == 0


def _hastened(ground: Ground, _: Planted) -> None:
    assert run(ground, ("promote", NAME, "-e", ENVIRONMENT, "--reason", "x")) == 0


def _waiting(ground: Ground, planted: Planted) -> None:
    _taken_back(ground, planted)
    with _another_version_waits(ground, planted):
        pass


BEFORE: dict[str, Callable[[Ground, Planted], None]] = {
    "dashboards": _taken_back,
    "post-incident-review": _taken_back,
    "rolled-back": _taken_back,
    "who-is-told": _taken_back,
    "not-held": _held,
    "flag-approval": _hastened,
    "release-blocked": _waiting,
}
AFTER: dict[str, Callable[[RolloutState], bool]] = {
    "hotfix-approval": lambda state: state.phase is Phase.PROMOTED or state.share == Share.parse("100%"),
    "not-held": lambda state: state.phase is Phase.CANARY,
    "unsupported": lambda state: state.phase is Phase.CANARY and state.paused is None,
}
"""What a page leads to that takes nothing back; where one does, the rollback is complete in the end."""


# --- the grounds --------------------------------------------------------------------------------------------


class Grounds:
    """One at a time, of the kind of flags that was wanted last, and as it was at first before each page."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._known: dict[Flags, tuple[Ground, str]] = {}

    def ready(self, kind: Flags) -> Ground:
        if kind not in self._known:
            self._stack.close()
            place = self._folder / str(kind)
            place.mkdir()
            # It is about commands and not about load: users ask at leisure.
            ground = self._stack.enter_context(Ground(place, kind, pause_s=1.0))
            self._known = {kind: (ground, ground.repository.git("rev-parse", "origin/main"))}
        ground, beginning = self._known[kind]
        if not fold(ground.world().ledger.read(NAME)).at_rest:
            ended(ground.rollback())
        git = ground.repository.git
        git("fetch", "-q", "origin")
        git("checkout", "-q", "-f", "main")
        git("reset", "-q", "--hard", beginning)
        git("push", "-q", "-f", "origin", "main")
        _answer(ground, _WORKS)
        return ground


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    with ExitStack() as stack:
        yield Grounds(tmp_path_factory.mktemp("runbooks"), stack)


def run(ground: Ground, words: tuple[str, ...]) -> int:
    """A verb, as it is typed in the repository."""
    told = rollout(*words)
    print(f"$ rollout {shlex.join(words)}\n{told.out}{told.err}[{told.status}]", file=sys.stderr)
    return told.status


def filled_in(words: tuple[str, ...], planted: Planted) -> tuple[str, ...]:
    """What stands for a name on a page is that name here."""
    names = {
        "NAME": NAME,
        "ENV": ENVIRONMENT,
        "SERVED": planted.candidate.served_name,
        "MANIFEST": str(MANIFEST),
        "SUITE": "support-triage",
    }
    return tuple(names.get(word, word) for word in words)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_does_what_its_page_says(
    page: str, grounds: Grounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = grounds.ready(Flags.LAUNCHDARKLY if page in AT_LAUNCHDARKLY else Flags.FILE)
    monkeypatch.chdir(ground.repository.root)
    for key, value in ground.variables.items():
        monkeypatch.setenv(key, value)
    planted = ground.plant()
    if page in BEFORE:
        BEFORE[page](ground, planted)
    for typed in lines_of(page):
        situation = _situation(page, typed.why)
        with situation(ground, planted):
            status = _type(ground, filled_in(typed.words, planted))
        assert status == typed.status, " ".join(typed.words)
    state = fold(ground.world().ledger.read(NAME))
    if any(_takes_back(typed) for typed in lines_of(page)):
        assert (state.phase, state.verified, state.reverted) == (Phase.TAKEN_BACK, True, True)
    if page in AFTER:
        assert AFTER[page](state)


def _takes_back(typed: Typed) -> bool:
    """`--help` and `--dry-run` do not."""
    return typed.words[1] == "rollback" and "NAME" in typed.words and "--dry-run" not in typed.words


def _situation(page: str, why: str | None) -> Situation:
    if why is None:
        return lambda *_: nullcontext()
    return IT_IS_SO[page] if why == "while it is so" else SITUATIONS[why]


def _type(ground: Ground, words: tuple[str, ...]) -> int:
    if words[0] == "rollout":
        return run(ground, words[1:])
    return subprocess.run(words, cwd=ground.repository.root, check=False, capture_output=True).returncode


def test_each_situation_is_one_of_a_page() -> None:
    told = {typed.why for page in PAGES for typed in lines_of(page)} - {None}
    assert told == {*SITUATIONS, "while it is so"}
    assert set(IT_IS_SO) | set(BEFORE) | set(AFTER) | AT_LAUNCHDARKLY <= set(PAGES)
