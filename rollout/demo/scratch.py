"""The demo's scratch repository: a clone with a bare origin, and pull requests as people make them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from rollout.demo import model, site
from rollout.errors import Unreadable
from rollout.integrations.documents.edit import Scalar, edit
from rollout.integrations.safetensors import base_revision

ENVIRONMENT: Final = "demo"
NAME: Final = "support-triage"
MANIFEST: Final = Path("manifests/support/support-triage.yaml")
PRODUCT_POLICIES: Final = Path(__file__).parents[2] / "policies"

SHARED_MACHINE: Final[dict[tuple[str | int, ...], Scalar]] = {
    ("gates", "latency_p95_ms", "max"): 1500,
    ("gates", "tokens_per_second", "min"): 20,
}
"""The two gates that a machine which serves, evaluates and plays the users at once cannot keep."""

_CARDS: Final = {
    "1.0.0": (2560, 0.0086, 80, 11),
    "1.1.0": (4160, 0.0091, 78, 11),
    "1.2.0": (2560, 0.0062, 79, 11),
    "1.3.0": (2880, 0.0115, 89, 68),
    "1.4.0": (6080, 0.0150, 80, 11),
}
"""Of the training data: examples, share of duplicates, longest instruction and longest output in tokens."""

_ENVIRONMENT = """\
schema: adapter-rollout/environment/v1
name: demo
stage: development
replicas:
  - {{name: r0, url: "http://127.0.0.1:{server}"}}
gateways:
  - {{name: g0, url: "http://127.0.0.1:{gateway}"}}
adapter_folder: {state}/served
server: {{base: base, base_path: {base}, max_lora_rank: 16, max_loras: 4, dtype: float32, quantization: none}}
flags: {{kind: file, path: {state}/flags.json}}
metrics: {{kind: traffic-log, path: {state}/traffic.sqlite}}
ledger: {{kind: folder, path: {state}/ledger}}
routes: {state}/routes.json
evidence: {state}/evidence
"""


class ScratchRepository:
    """`<folder>/repo`, cloned from `<folder>/origin.git`; everything that runs keeps its state in `<folder>/state`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "repo"
        self.state = folder / "state"
        self._origin = folder / "origin.git"

    def create(self, *, server: int, gateway: int) -> None:
        """Policies of the product, the demo's plan and metrics, all adapters, and 1.0.0 on main."""
        if not PRODUCT_POLICIES.is_dir():
            raise Unreadable(
                f"the product's policies are not at {PRODUCT_POLICIES}",
                advice="Run the demo from a checkout of the project.",
            )
        (self.state / "served").mkdir(parents=True)
        self._run("git", "init", "-q", "--bare", "-b", "main", str(self._origin), cwd=self.folder)
        self._run("git", "clone", "-q", str(self._origin), str(self.root), cwd=self.folder)
        self.git("checkout", "-q", "-B", "main")
        for key, value in (("name", "Demo Team"), ("email", "demo@localhost")):
            self.git("config", f"user.{key}", value)
        self._write_policies(server, gateway)
        for version in model.VERSIONS:
            shutil.copytree(model.adapter(version), self.root / "adapters" / NAME / version)
        self._write_manifest(site.MANIFEST.read_bytes(), "1.0.0", None, "First triage adapter.")
        self._commit("Triage adapter 1.0.0, and the policies that it is held to")
        self.git("push", "-q", "origin", "main")

    def propose(self, version: str, purpose: str) -> str:
        """A pull request: a branch whose one commit bumps the manifest. The answer is the branch."""
        branch = f"release-{version}"
        self.git("checkout", "-q", "-B", branch, "main")
        present = (self.root / MANIFEST).read_bytes()
        self._write_manifest(present, version, self.version_on("HEAD"), purpose)
        self._commit(f"{NAME} {version}: {purpose}")
        self.git("push", "-q", "-f", "origin", branch)
        return branch

    def merge(self, branch: str) -> str:
        """Merge the pull request, as the button does. The answer is the commit."""
        self.git("checkout", "-q", "main")
        self.git("merge", "-q", "--no-ff", "-m", f"Merge {branch}", branch)
        self.git("push", "-q", "origin", "main")
        return self.git("rev-parse", "HEAD")

    def close(self, branch: str) -> None:
        """Close the pull request without a merge."""
        self.git("checkout", "-q", "main")
        self.git("branch", "-q", "-D", branch)

    def pull(self) -> None:
        """Follow main, after the product has written to it."""
        self.git("checkout", "-q", "main")
        self.git("pull", "-q", "--ff-only", "origin", "main")

    def version_on(self, reference: str) -> str:
        """The version that the manifest names at a commit."""
        for line in self.git("show", f"{reference}:{MANIFEST}").splitlines():
            if line.startswith("version:"):
                return line.split('"')[1]
        raise Unreadable(f"{MANIFEST} at {reference} names no version")

    def git(self, *words: str) -> str:
        """Run git in the clone; the answer is what it printed."""
        return self._run("git", *words, cwd=self.root)

    def _write_policies(self, server: int, gateway: int) -> None:
        policies = self.root / "policies"
        shutil.copytree(
            PRODUCT_POLICIES, policies, ignore=shutil.ignore_patterns("environments", "waivers.yaml")
        )
        shutil.copyfile(site.PLAN, policies / "plans" / "demo.yaml")
        shutil.copytree(site.METRICS, policies / "metrics", dirs_exist_ok=True)
        gates = policies / "gates" / "default.yaml"
        gates.write_bytes(edit(gates.read_bytes(), SHARED_MACHINE, source=str(gates)))
        environment = _ENVIRONMENT.format(server=server, gateway=gateway, state=self.state, base=model.BASE)
        (policies / "environments").mkdir()
        (policies / "environments" / f"{ENVIRONMENT}.yaml").write_text(environment)

    def _write_manifest(self, present: bytes, version: str, parent: str | None, purpose: str) -> None:
        """The present manifest with what a new version changes, and every other byte as it was."""
        adapter = self.root / "adapters" / NAME / version
        examples, duplicates, instruction, output = _CARDS[version]
        changes: dict[tuple[str | int, ...], Scalar] = {
            ("version",): version,
            ("base", "revision"): base_revision(model.BASE),
            ("base", "tokenizer_sha256"): _sha256(model.BASE / "tokenizer.json"),
            ("base", "chat_template_sha256"): _sha256(model.BASE / "chat_template.jinja"),
            ("artifact", "uri"): f"adapters/{NAME}/{version}",
            ("lineage", "parent"): parent,
            ("lineage", "dataset", "sha256"): _sha256(Path(model.__file__).with_name("corpus.py")),
            ("lineage", "training_commit"): _sha256(Path(model.__file__).with_name("train.py"))[:40],
            ("data", "examples"): examples,
            ("data", "duplicates"): duplicates,
            ("data", "instruction_tokens", "max"): instruction,
            ("data", "output_tokens", "max"): output,
            ("risk", "data_fresh_until"): str((datetime.now(UTC) + timedelta(days=180)).date()),
            ("change", "purpose"): purpose,
        }
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            changes[("artifact", "files", name)] = _sha256(adapter / name)
        path = self.root / MANIFEST
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(edit(present, changes, source=str(MANIFEST)))

    def _commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def _run(self, *words: str, cwd: Path) -> str:
        done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            raise Unreadable(f"{' '.join(words[:3])} failed: {done.stderr.strip()[-300:]}")
        return done.stdout.strip()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
