"""A repository of somebody who uses the product: the demo's adapters, the callers of `examples/hosted/`, a GitHub."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from rollout.demo.scratch import ENVIRONMENT, ScratchRepository
from rollout.integrations.documents.edit import Scalar, edit
from tests.support.act.product import ROOT
from tests.support.act.runner import Act, Run
from tests.support.github.book import NAME, Pull
from tests.support.github.server import FakeGitHub

CALLERS = ROOT / "examples/hosted/.github/workflows"
_OTHERS = "stranger/adapters"
# Nothing here is about speed, and a machine that runs all tests at once keeps no gate of it.
_ANY_SPEED: dict[tuple[str | int, ...], Scalar] = {
    ("gates", "latency_p95_ms", "max"): 60_000,
    ("gates", "tokens_per_second", "min"): 1,
}


class Consumer:
    """`repository` is the clone of its people, `fake` the GitHub that has the bare remote, `act` what runs workflows."""

    def __init__(self, folder: Path, fake: FakeGitHub, act: Act) -> None:
        self.folder = folder
        self.repository = ScratchRepository(folder)
        self.fake = fake
        self.act = act

    def create(
        self, *, server: int = 1, gateway: int = 1, callers: Mapping[str, str] | None = None
    ) -> Consumer:
        """1.0.0 on main, with the ledger on a branch, GitHub as forge, and workflows: the examples, or those given."""
        self.repository.create(server=server, gateway=gateway)
        root = self.repository.root
        environment = root / "policies/environments" / f"{ENVIRONMENT}.yaml"
        text = environment.read_text()
        ledger = next(line for line in text.splitlines() if line.startswith("ledger:"))
        forge = f'{{kind: github, repository: {NAME}, api: "{self.fake.url}"}}'
        environment.write_text(text.replace(ledger, f"ledger: {{kind: branch}}\nforge: {forge}"))
        gates = root / "policies/gates/default.yaml"
        gates.write_bytes(edit(gates.read_bytes(), _ANY_SPEED, source=str(gates)))
        (root / ".gitignore").write_text(".rollout/\n")  # What commands of its people keep there.
        workflows = root / ".github/workflows"
        workflows.mkdir(parents=True)
        for file in CALLERS.glob("*.yml"):
            (workflows / file.name).write_text(
                file.read_text().replace("environment: production", f"environment: {ENVIRONMENT}")
            )
        for name, content in (callers or {}).items():
            (workflows / name).write_text(content)
        self.commit("Call the workflows")
        self.repository.git("push", "-q", "origin", "main")
        return self

    def commit(self, message: str) -> str:
        """Commit all that lies in the clone."""
        self.repository.git("add", "-A")
        self.repository.git("commit", "-q", "-m", message)
        return self.repository.git("rev-parse", "HEAD")

    def pull_request(self, branch: str, title: str = "A change") -> Pull:
        """Open a pull request of a pushed branch."""
        pull = self.fake.book.open(title, "", branch, "main")
        assert isinstance(pull, Pull), pull
        return pull

    def check(self, pull: Pull, workflow: str = "adapters.yml", *, fork: bool = False, **options: Any) -> Run:
        """Run a workflow on a pull request, in the merge that GitHub tries."""
        merge = self._merged(pull)
        head = _OTHERS if fork else NAME
        told = {
            "number": pull.number,
            "title": pull.title,
            "user": {"login": pull.author},
            "head": {"sha": pull.head, "ref": pull.branch, "repo": {"full_name": head}},
            "base": {"sha": self.tip, "ref": "main", "repo": {"full_name": NAME}},
        }
        payload = {"action": "synchronize", "number": pull.number, "pull_request": told}
        return self._run("pull_request", merge, workflow, payload, **options)

    def queue(self, pull: Pull, workflow: str = "adapters.yml", **options: Any) -> Run:
        """Run a workflow for the merge queue."""
        merge = self._merged(pull)
        group = {
            "head_sha": merge,
            "head_ref": "refs/heads/gh-readonly-queue/main/pr-1",
            "base_sha": self.tip,
        }
        payload = {"action": "checks_requested", "merge_group": group | {"base_ref": "refs/heads/main"}}
        return self._run("merge_group", merge, workflow, payload, **options)

    def push(self, before: str, workflow: str = "release.yml", **options: Any) -> Run:
        """Run a workflow for what was pushed to main since `before`."""
        payload = {"ref": "refs/heads/main", "before": before, "after": self.tip}
        return self._run("push", self.tip, workflow, payload, **options)

    def tick(self, workflow: str = "release.yml", **options: Any) -> Run:
        """Run a workflow because it is time."""
        return self._run("schedule", self.tip, workflow, {"schedule": "7-59/15 * * * *"}, **options)

    def dispatch(self, workflow: str, inputs: Mapping[str, str], **options: Any) -> Run:
        """Run a workflow by hand."""
        payload = {"inputs": dict(inputs), "ref": "refs/heads/main"}
        return self._run("workflow_dispatch", self.tip, workflow, payload, **options)

    @property
    def tip(self) -> str:
        """The commit of main at the remote."""
        return str(self.fake.book.remote.tip("main"))

    def _run(self, event: str, commit: str, workflow: str, payload: Mapping[str, Any], **options: Any) -> Run:
        repository = {"full_name": NAME, "name": NAME.split("/")[1], "default_branch": "main"}
        workspace = self._workspace(commit)
        try:
            return self.act.run(event, workspace, workflow, {**payload, "repository": repository}, **options)
        finally:
            shutil.rmtree(workspace, ignore_errors=True)

    def _workspace(self, commit: str) -> Path:
        """A clone at a commit, which says that it is GitHub's."""
        folder = Path(mkdtemp(prefix="workspace-", dir=self.folder))
        origin = self.folder / "origin.git"
        for words in (
            ("clone", "-q", "--shared", "--no-checkout", str(origin), str(folder)),
            ("-C", str(folder), "checkout", "-q", "--detach", commit),
            ("-C", str(folder), "remote", "set-url", "origin", f"https://github.com/{NAME}.git"),
        ):
            subprocess.run(["git", *words], check=True, capture_output=True)
        return folder

    def _merged(self, pull: Pull) -> str:
        """The merge of a pull request that GitHub tries, at its reference."""
        remote = self.fake.book.remote
        self.fake.book.refresh()
        tree = remote.git("merge-tree", "--write-tree", self.tip, pull.head).split()[0]
        who = ("-c", "user.name=forge", "-c", "user.email=forge@localhost")
        message = f"Merge {pull.head} into {self.tip}"
        commit = remote.git(*who, "commit-tree", tree, "-p", self.tip, "-p", pull.head, "-m", message).strip()
        remote.git("update-ref", f"refs/pull/{pull.number}/merge", commit)
        remote.git("update-ref", f"refs/pull/{pull.number}/head", pull.head)
        return commit
