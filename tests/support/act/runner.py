"""One run of a workflow: an event in, and what became of jobs, steps, outputs, annotations and summaries out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tests.support.act import product
from tests.support.github.server import TOKEN

_STUBS = Path(__file__).with_name("stubs")
_LABELS = ("ubuntu-24.04", "self-hosted", "gpu")
_PATIENCE_S = 240


@dataclass(frozen=True)
class Annotation:
    """What a run shows beside the change."""

    level: str
    file: str | None
    line: int | None
    title: str
    text: str


@dataclass(frozen=True, repr=False)
class Run:
    """What act told, line by line."""

    status: int
    lines: list[dict[str, Any]]
    artifacts: Path

    @cached_property
    def jobs(self) -> dict[str, str]:
        """`success` or `failure` of each job that ran, by its id; those of a matrix are one, which failed if one did."""
        found: dict[str, str] = {}
        for line in self.lines:
            if result := line.get("jobResult"):
                name = str(line["jobID"])
                found[name] = "failure" if "failure" in (result, found.get(name)) else str(result)
        return found

    @cached_property
    def annotations(self) -> list[Annotation]:
        """Errors, warnings and notices, in order."""
        return [
            Annotation(
                level=line["command"],
                file=line.get("kvPairs", {}).get("file"),
                line=int(line["kvPairs"]["line"]) if line.get("kvPairs", {}).get("line") else None,
                title=line.get("kvPairs", {}).get("title", ""),
                text=line.get("arg", ""),
            )
            for line in self.lines
            if line.get("command") in ("error", "warning", "notice")
        ]

    @cached_property
    def summaries(self) -> list[str]:
        """What steps added to the page of the run; act tells of a step of an action once more as the action's."""
        told = (line["content"] for line in self.lines if line.get("command") == "summary")
        return list(dict.fromkeys(told))

    def outputs(self, step: str, *, job: str | None = None) -> dict[str, str]:
        """The outputs of a step by its id; of a step of an action, `action-step.inner-step`."""
        path = step.split(".")
        return {
            line["name"]: line.get("arg", "")
            for line in self.lines
            if line.get("command") == "set-output"
            and line.get("stepID") == path
            and job in (None, line["jobID"])
        }

    @cached_property
    def log(self) -> str:
        """All that was said."""
        return "\n".join(str(line.get("msg", "")).rstrip("\n") for line in self.lines)

    def __repr__(self) -> str:
        return f"rc {self.status}, jobs {self.jobs}\n{self.log[-6000:]}"


class Act:
    """Runs workflows of `workspace`, a clone whose HEAD is what GitHub would check out.

    `product` is a copy of the product, `engines` a folder for what its actions install, which may be shared.
    """

    def __init__(self, folder: Path, *, product_copy: Path, engines: Path, api: str) -> None:
        self._folder = folder
        self._product = product_copy
        self._engines = engines
        self._api = api
        self.artifacts = folder / "artifacts"
        self.run_id = 900

    def run(
        self,
        event: str,
        workspace: Path,
        workflow: str,
        payload: Mapping[str, Any],
        *,
        actor: str = "ann",
        secrets: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        job: str | None = None,
        run_id: int | None = None,
        again: Mapping[str, str] | None = None,
    ) -> Run:
        """Execute `.github/workflows/<workflow>` of the workspace for an event. Each run has a greater id, unless given."""
        self.run_id = run_id or self.run_id + 1
        number = self.run_id  # Of this run: another one may begin beside it.
        home = Path(mkdtemp(prefix=f"home-{number}-", dir=self._folder))
        event_file = home / "event.json"
        event_file.write_text(json.dumps(payload))
        words = [str(Path(sys.executable).with_name("act")), event, "-W", f".github/workflows/{workflow}"]
        words += [
            "-e",
            str(event_file),
            "--no-skip-checkout",
            "--no-cache-server",
            "--rm",
            "--json",
            "-a",
            actor,
        ]
        words += [word for label in _LABELS for word in ("-P", f"{label}=-self-hosted")]
        words += ["--job", job] if job else []
        words += [word for pair in self._repositories(workspace) for word in ("--local-repository", pair)]
        known = {"GITHUB_TOKEN": TOKEN, **(secrets or {})}
        words += [
            word for name in known for word in ("-s", name)
        ]  # Their values are in act's own environment.
        told = {
            "ACT_ARTIFACTS": str(self.artifacts / str(number)),
            "ACT_ENGINES": str(self._engines),
            "GITHUB_API_URL": self._api,
            "GITHUB_SERVER_URL": self._api,
            "GITHUB_RUN_ID": str(number),
            "GITHUB_TRIGGERING_ACTOR": actor,
            "OMP_NUM_THREADS": "1",  # Jobs of a matrix share the machine with each other.
            "GIT_PAGER": "cat",
            "NO_COLOR": "1",
            "TERM": "dumb",
            **(environment or {}),
        }
        words += [word for name, value in told.items() for word in ("--env", f"{name}={value}")]
        self._engines.mkdir(exist_ok=True)
        try:
            return self._run(words, workspace, home, known, self.artifacts / str(number))
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def _run(
        self, words: list[str], workspace: Path, home: Path, secrets: Mapping[str, str], artifacts: Path
    ) -> Run:
        binaries = str(Path(sys.executable).parent)
        environment = {
            "HOME": str(home),
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            **secrets,
        }
        environment |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        with subprocess.Popen(
            words,
            cwd=workspace,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=_PATIENCE_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
        lines = list(_parsed(out))
        assert any("jobResult" in line for line in lines) or not err.startswith("Error"), err + out[-3000:]
        return Run(process.returncode, lines, artifacts)

    def _repositories(self, workspace: Path) -> Iterator[str]:
        yield f"{product.SLUG}@{product.REF}={self._product}"
        for name, commit in sorted(product.pins(self._product, workspace)):
            stub = _STUBS / name
            # Workflows of ours that no test runs use more; where one is run, act names what it cannot fetch.
            if stub.is_dir():
                yield f"{name}@{commit}={stub}"


def _parsed(out: str) -> Iterator[dict[str, Any]]:
    for line in out.splitlines():
        try:
            data = json.loads(line)
        except ValueError:
            continue
        if isinstance(data, dict):
            yield data
