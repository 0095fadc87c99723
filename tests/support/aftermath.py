"""What a death left behind: whether such a world may exist, and what it looks like once all is done."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from rollout.core.lifecycle import RolloutState
from rollout.core.plan import Share
from rollout.demo.scratch import MANIFEST, NAME
from tests.support.site import Site

_CHANGING = ("state", "origin.git", "repo/.git", "repo/.rollout")
_LASTING = shutil.ignore_patterns("objects", "hooks")
_PASSING = re.compile(rb'"at": "[^"]*"')
_REPEATABLE = ("looked", "intended", "erred")


class Workbench:
    """One folder in which the same site dies again and again: put back before every act.

    Git's objects stay: they bear the names of their contents, and nothing reads one that nothing refers to.
    """

    def __init__(self, stage: Site, folder: Path) -> None:
        self.site = stage.copy(folder / "site")
        self._pristine = folder / "pristine"
        self._time = self.site.clock.time
        (self.site.folder / "repo/.rollout").mkdir(exist_ok=True)
        for name in _CHANGING:
            shutil.copytree(self.site.folder / name, self._pristine / name, symlinks=True, ignore=_LASTING)

    def reset(self) -> Site:
        """The site as it was at first."""
        for name in _CHANGING:
            folder = self.site.folder / name
            for path in folder.iterdir():
                if path.is_dir() and path.name not in ("objects", "hooks"):
                    shutil.rmtree(path)
                elif path.is_file():
                    path.unlink()
            shutil.copytree(self._pristine / name, folder, symlinks=True, dirs_exist_ok=True)
        self.site.clock.time = self._time
        return self.site


def fingerprint(site: Site) -> str:
    """Equal for worlds that are equal but for the time of day and for what a lock or a draft left behind."""
    digest, state = hashlib.sha256(), site.repository.state
    roots = (site.folder / "origin.git" / "refs", site.folder / "repo" / ".rollout", state)
    for path in sorted(path for root in roots for path in root.rglob("*") if path.is_file()):
        if not path.name.endswith((".lock", "-wal", "-shm")):
            digest.update(str(path.relative_to(site.folder)).encode() + b"\0")
            digest.update(_PASSING.sub(b"", path.read_bytes()))
    return digest.hexdigest()


def assert_allowed(site: Site) -> None:
    """No user may meet a candidate that was not announced, not loaded, or taken back; nothing is half written."""
    state = site.state  # It verifies and folds, or raises.
    flag, route = site.world.flags.read(site.key), site.world.routes.read().routes.get(NAME)
    share = flag.effective if flag else Share.ZERO
    assert share <= announced(state), f"{share} in the flag, {announced(state)} in the ledger"
    loaded = {model.name for model in site.replica.models()}
    taken_back = {event.bad.served_name for event in state.quarantine.values() if event.bad}
    if route is not None:
        assert route.stable in loaded
        # A rollback while both slots name the new version ends with the routes, not with the flag; and so does one that
        # puts another version in the place of stable.
        restored = state.rolled_back.restored if state.rolled_back and not state.verified else None
        still = {restored.replaced.served_name} if restored else set()
        assert route.stable not in taken_back - still or route.stable == route.candidate
        if route.candidate is not None:
            assert route.candidate in loaded
            known = state.candidate is not None and state.candidate.served_name == route.candidate
            assert known or share == Share.ZERO or route.stable == route.candidate
    for folder in (site.repository.state / "served").iterdir():
        if folder.is_dir() and not folder.name.startswith("."):
            _assert_whole(site, folder)
    assert len(reverts(site)) <= 1
    manifest_on_origin(site)


def announced(state: RolloutState) -> Share:
    """The largest share that the ledger has spoken of for the candidate under way."""
    if state.candidate is None:
        return Share.ZERO
    return max(state.share, state.intent.share) if state.intent else state.share


def _assert_whole(site: Site, folder: Path) -> None:
    version = re.fullmatch(rf"{NAME}-(\d+\.\d+\.\d+)-[0-9a-f]{{12}}", folder.name)
    assert version, f"{folder.name} on the shelf is no served name"
    source = site.repository.root / "adapters" / NAME / version[1]
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (folder / name).read_bytes() == (source / name).read_bytes()


def reverts(site: Site) -> list[str]:
    """What the revert commits on the remote's main say that they take back."""
    told = _git(site, "log", "--format=%(trailers:key=Rollback-Of,valueonly)", "main")
    return [line for line in told.decode().splitlines() if line]


def manifest_on_origin(site: Site) -> bytes | None:
    """The manifest on the remote's main, asked without the clone; None if there is none."""
    if not _git(site, "ls-tree", "main", "--", str(MANIFEST)):
        return None
    return _git(site, "show", f"main:{MANIFEST}")


def outcome(site: Site) -> dict[str, Any]:
    """Everything that must come out the same, however often somebody died on the way."""
    state, flag = site.state, site.world.flags.read(site.key)
    entries = site.world.ledger.read(NAME)
    route = site.world.routes.read().routes.get(NAME)
    steps = Counter(
        f"{entry.event.kind} {getattr(entry.event, 'step', '')}"
        for entry in entries
        if entry.event.kind not in _REPEATABLE
    )
    return {
        "phase": (state.phase, str(state.share), state.step, state.settling, state.generation),
        "stable": state.stable.served_name if state.stable else None,
        "candidate": state.candidate.served_name if state.candidate else None,
        "done": (state.reverted, state.verified, state.intent is None),
        "quarantine": sorted(state.quarantine),
        "evidence": {
            name: (seen.stable, seen.stable_bad, seen.candidate, seen.candidate_bad)
            for name, seen in state.evidence.items()
        },
        "events": dict(steps),
        "flag": (flag.on, str(flag.share)) if flag else None,
        "route": route.model_dump() if route else None,
        "manifest": manifest_on_origin(site),
        "reverts": reverts(site),
        "loaded": sorted((model.name, model.root) for model in site.replica.models()),
    }


def left_over(site: Site) -> list[str]:
    """Drafts that a death left behind and that nobody cleared away."""
    return [path.name for path in site.repository.state.rglob(".*") if path.suffix in (".tmp", ".laying")]


def _git(site: Site, *words: str) -> bytes:
    return subprocess.run(
        ["git", "--git-dir", str(site.folder / "origin.git"), *words], capture_output=True, check=True
    ).stdout
