"""The gate of a release over real git: what counts is what the ledger and the forge say, not what git once held."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollout.core.approval import PullRequest
from rollout.core.environment import GitHubForge
from rollout.integrations.github import GitHub
from rollout.ports import Forge
from rollout.usecases.release import find_desire
from rollout.wiring import build_gatekeeper, build_world
from tests.support.adapters import (
    MODULES,
    good_tensors,
    key,
    manifest_text,
    tensor,
    write_adapter,
    write_repository,
)
from tests.support.github.book import NAME, Pull
from tests.support.github.server import TOKEN, github

MANIFEST = Path("manifests/support/support-bot.yaml")


def git(root: Path, *words: str, author: str = "ann") -> str:
    who = ("-c", f"user.name={author}", "-c", f"user.email={author}@example.org")
    done = subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(root: Path, message: str, author: str = "ann") -> str:
    git(root, "add", "-A")
    git(root, "commit", "-qm", message, author=author)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_repository(tmp_path / "repository")
    environment = root / "policies/environments/demo.yaml"
    environment.write_text(environment.read_text() + "remote: null\n")
    plan = root / "policies/plans/default.yaml"
    plan.write_text(plan.read_text().replace("steps:", "shadow: {duration: 1s, pairs: 1}\nsteps:"))
    (root / ".gitignore").write_text("state/\n")
    git(root, "init", "-q", "-b", "main")
    (root / MANIFEST).rename(root / "waiting.yaml")
    (root / "waiting.yaml").rename(root.parent / "waiting.yaml")
    commit(root, "policies")
    write_adapter(
        root / "adapters/1.0.0", {**good_tensors(), key(MODULES[0], "A"): tensor([[0.3] * 8, [0.7] * 8])}
    )
    return root


def propose(root: Path, *edits: tuple[str, str], author: str = "ann") -> str:
    text = manifest_text(root, "adapters/1.0.0")
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    (root / MANIFEST).parent.mkdir(parents=True, exist_ok=True)
    (root / MANIFEST).write_text(text)
    return commit(root, "support-bot 1.0.0", author)


def gate(root: Path, pull_request: PullRequest | None = None, forge: Forge | None = None) -> str | None:
    world = replace(build_world(root, "demo"), forge=forge)
    desire = find_desire(world, "support-bot")
    assert desire is not None
    return build_gatekeeper(root, "demo", pull_request)(world, desire)


MEDIUM = (
    ("tier: low", "tier: medium"),
    ("  purpose:", "  ticket: SUP-1\n  purpose:"),
    ("  review_every_days: 90", '  review_every_days: 90\n  reviewed_on: "2026-11-20"'),
)


def asked(head: str, *, author: str = "ann", by: str = "bob") -> PullRequest:
    fields: dict[str, Any] = {
        "schema": "adapter-rollout/pull-request/v1",
        "number": 7,
        "author": author,
        "head": head,
        "teams": ["support"],
        "approvals": [{"by": by, "commit": head}],
    }
    return PullRequest.model_validate_json(json.dumps(fields), strict=True)


def test_a_change_in_order_is_let_through(root: Path) -> None:
    propose(root)
    assert gate(root) is None


def test_a_revert_of_a_revert_is_no_release(root: Path) -> None:
    propose(root, ("2099-01-01", "2026-01-01"))
    blocked = gate(root)
    assert blocked is not None
    assert "fresh-data" in blocked
    for _ in range(2):
        git(root, "revert", "--no-edit", "HEAD")
    assert "fresh-data" in (gate(root) or "")


def test_a_review_of_this_very_manifest_counts(root: Path) -> None:
    head = propose(root, *MEDIUM)
    assert "approvals-by-tier" in (gate(root) or "")
    assert gate(root, asked(head)) is None


def test_a_review_by_the_author_of_the_commit_does_not_count(root: Path) -> None:
    head = propose(root, *MEDIUM, author="bob")
    assert "no-self-approval" in (gate(root, asked(head)) or "")


def test_a_review_counts_after_a_merge_and_after_a_squash(root: Path) -> None:
    git(root, "checkout", "-qb", "topic")
    head = propose(root, *MEDIUM)
    git(root, "checkout", "-q", "main")
    git(root, "merge", "-q", "--squash", "topic")
    commit(root, "squashed")
    assert gate(root, asked(head)) is None
    git(root, "reset", "-q", "--hard", "HEAD~1")
    git(root, "merge", "-q", "--no-ff", "-m", "merged", "topic")
    assert gate(root, asked(head)) is None


def test_a_review_of_another_manifest_of_an_unknown_commit_or_of_later_work_is_refused(root: Path) -> None:
    before = git(root, "rev-parse", "HEAD")
    propose(root, *MEDIUM)
    assert "not known here" in (gate(root, asked("0" * 39 + "1")) or "")
    assert "not known here" in (gate(root, asked(before)) or "")
    (root / "README").write_text("later")
    later = commit(root, "later")
    assert "was made after" in (gate(root, asked(later)) or "")
    git(root, "checkout", "-qb", "other", before)
    other = propose(root, *MEDIUM, ("Trained longer.", "Trained less."))
    git(root, "checkout", "-q", "main")
    assert "with another manifest" in (gate(root, asked(other)) or "")


def test_whoever_made_the_bytes_or_is_named_as_co_author_made_the_change(root: Path) -> None:
    git(root, "checkout", "-qb", "topic")
    commit(root, "the adapter", author="bob")
    head = propose(root, *MEDIUM)
    git(root, "checkout", "-q", "main")
    git(root, "merge", "-q", "--no-ff", "-m", "merged", "topic")
    assert "no-self-approval" in (gate(root, asked(head)) or "")
    assert gate(root, asked(head, by="eve")) is None


def test_whoever_rebases_and_merges_has_not_written_it(root: Path) -> None:
    head = propose(root, *MEDIUM)
    git(root, "commit", "-q", "--amend", "--no-edit", author="bob")
    assert git(root, "log", "-1", "--format=%an %cn") == "ann bob"
    assert gate(root, asked(head)) is None


def test_where_nobody_says_the_forge_is_asked_for_the_pull_request_of_the_change(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    environment = root / "policies/environments/demo.yaml"
    environment.write_text(environment.read_text().replace("stage: development", "stage: production"))
    commit(root, "production")
    head = propose(root, *MEDIUM)
    with github(tmp_path / "origin.git") as fake:
        where = GitHubForge(kind="github", repository=NAME, api=fake.url)
        forge = GitHub(where, base="main")
        alone = str(gate(root, forge=forge))
        assert "forge-vouches: an environment is in production" in alone
        pull = Pull(7, "t", "", "x", "main", head, state="closed", merged_by_commit=head, author="ann")
        fake.book.pulls.append(pull)
        fake.book.permissions = {"bob": "write"}
        assert "approvals-by-tier" in str(gate(root, forge=forge))
        assert "forge-vouches" not in str(gate(root, forge=forge))
        pull.reviews.append(("bob", "APPROVED", head))
        assert "approvals-by-tier" not in str(gate(root, forge=forge))
        fake.book.remote.folder.mkdir(exist_ok=True)
        pull.head = "f" * 40
        assert (
            gate(root, forge=forge) == "the reviewed commit ffffffffffff of pull request 7 is not known here"
        )
