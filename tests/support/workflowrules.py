"""What no linter knows of our workflows: who may do what, what waits for whom, and what never runs where.

Each rule takes one file and says what is wrong with it; `broken` asks all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

SLUG: Final = "adapter-rollout/adapter-rollout"
PIN: Final = re.compile(r"uses: ([A-Za-z0-9_./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$")
USES: Final = re.compile(r"^[ -]*uses: *(.*)$")
SAME_REPOSITORY: Final = (
    "(!github.event.pull_request || github.event.pull_request.head.repo.full_name == github.repository)"
)
HOSTED: Final = "ubuntu-24.04"

# Of each job, all that its token may do. What is not here may not be there.
READ: Final = {"contents": "read"}
COMMENT: Final = {"contents": "read", "pull-requests": "write"}
RELEASE: Final = {"contents": "write", "deployments": "write", "pull-requests": "write"}
PROMOTE: Final = {"actions": "read", "contents": "write"}
CALLED: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = {
    "gate.yml": {"validate": COMMENT, "evaluate": READ, "report": COMMENT, "gate": {}},
    "release.yml": {"validate": READ, "evaluate": READ, "record": {"contents": "write"}, "tick": RELEASE},
    "rollback.yml": {"rollback": RELEASE},
    "promote.yml": {"promote": PROMOTE},
}
PERMISSIONS: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = {
    **{f".github/workflows/{name}": jobs for name, jobs in CALLED.items()},
    ".github/workflows/ci.yml": {"test": READ},
    ".github/workflows/publish.yml": {
        "build": READ,
        "test": READ,
        "attest": {"attestations": "write", "id-token": "write"},
        "pypi": {"id-token": "write"},
        "release": {"contents": "write"},
        "major": {"contents": "write"},
    },
    "examples/hosted/.github/workflows/adapters.yml": {"rollout": COMMENT},
    "examples/hosted/.github/workflows/release.yml": {"production": RELEASE},
    "examples/hosted/.github/workflows/rollback.yml": {"production": RELEASE},
    "examples/hosted/.github/workflows/promote.yml": {"production": PROMOTE},
    "examples/self-hosted/.github/workflows/adapters.yml": {
        **CALLED["gate.yml"],
        "validate": COMMENT | {"security-events": "write"},
    },
    **{
        f"examples/self-hosted/.github/workflows/{name}": jobs
        for name, jobs in CALLED.items()
        if name != "gate.yml"
    },
}
# What changes something keeps to its own kind, job by job; nothing of it is ever cancelled.
GROUPS: Final = {"record": "rollout-record-", "tick": "rollout-tick-", "rollback": "rollout-rollback-"}
QUEUED: Final = ("record", "rollback")
"""Of these each is done. A tick that waits may be dropped: the next one does the same."""
UNATTENDED: Final = ("tick", "rollback", "record")
"""Nobody has to approve these, and so no environment with reviewers can hold them up."""
WAITING: Final = ("promote",)
"""May wait for days for an approval: it holds no group."""
CANCELLED: Final = {"gate.yml", "adapters.yml", "selftest.yml", "ci.yml"}
"""Workflows that change nothing: a newer run ends an older one."""
SECRETS_OF: Final = {
    "validate": set(),
    "report": set(),
    "gate": set(),
    "evaluate": {"ROLLOUT_ENGINE_TOKEN"},
    "record": {"ROLLOUT_LEDGER_KEY", "APP_PRIVATE_KEY"},
}
"""Of jobs that see what a pull request or an adapter brings, or that need few."""


@dataclass(frozen=True)
class Workflow:
    """One workflow: its path in the repository, and its text."""

    path: str
    text: str

    @cached_property
    def data(self) -> dict[str, Any]:
        """Parsed; `on` is a string."""
        loaded: dict[str, Any] = YAML(typ="safe").load(self.text)
        return loaded

    @property
    def name(self) -> str:
        """`gate.yml`"""
        return Path(self.path).name

    @property
    def is_example(self) -> bool:
        """Whether users copy it."""
        return self.path.startswith("examples/")

    @property
    def is_rollout(self) -> bool:
        """Whether it is one that users call or copy, or that calls one: not our own CI."""
        return self.is_example or self.name in CALLED

    @property
    def is_caller(self) -> bool:
        """Whether it only calls others, which have groups of their own."""
        return all("uses" in job for job in self.jobs.values())

    @property
    def jobs(self) -> dict[str, Any]:
        """By their ids."""
        found: dict[str, Any] = self.data["jobs"]
        return found

    @property
    def events(self) -> dict[str, Any]:
        """By their names, with their filters."""
        on = self.data["on"]
        return on if isinstance(on, dict) else dict.fromkeys([on] if isinstance(on, str) else on)

    def steps(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """With the job of each."""
        for name, job in self.jobs.items():
            for step in job.get("steps", []):
                yield name, step


Rule = Callable[[Workflow], Iterator[str]]


def asks_for_nothing_at_the_top(workflow: Workflow) -> Iterator[str]:
    if workflow.data.get("permissions") != {}:
        yield "the top does not say permissions: {}"


def asks_for_what_the_table_says(workflow: Workflow) -> Iterator[str]:
    # Jobs of the self-test only look.
    table = PERMISSIONS.get(workflow.path, dict.fromkeys(workflow.jobs, READ))
    for name in table.keys() - workflow.jobs.keys():
        yield f"there is no job {name}"
    for name, job in workflow.jobs.items():
        if name not in table:
            yield f"the table says nothing about job {name}"
        elif job.get("permissions") != table[name]:
            yield f"job {name} may {job.get('permissions')}, and should {dict(table[name])}"


def uses_what_cannot_change(workflow: Workflow) -> Iterator[str]:
    ours = (
        rf"{SLUG}/(actions/[a-z]+|\.github/workflows/[a-z]+\.yml)@v1$"
        if workflow.is_example
        else r"\$/actions/[a-z]+$"
    )
    for line in workflow.text.splitlines():
        found = USES.match(line)
        if found and not PIN.search(line) and not re.match(ours, found[1]):
            yield f"{found[1]} is neither ours nor a commit with its version beside it"


def ends_in_time(workflow: Workflow) -> Iterator[str]:
    for name, job in workflow.jobs.items():
        minutes = job.get("timeout-minutes")
        if "uses" in job:
            continue
        if not (isinstance(minutes, int) and 0 < minutes <= 240) and minutes != "${{ inputs.minutes }}":
            yield f"job {name} ends after {minutes} minutes"


def changes_one_after_the_other(workflow: Workflow) -> Iterator[str]:
    if not workflow.is_rollout:
        return
    for name, job in workflow.jobs.items():
        group = job.get("concurrency")
        if "uses" in job:
            continue
        if name in WAITING or name not in GROUPS:
            if group is not None:
                yield f"job {name} holds a group"
            if name not in WAITING and "write" in {
                job["permissions"].get("contents"),
                job["permissions"].get("deployments"),
            }:
                yield f"job {name} changes something and has no group"
            continue
        place = "production" if workflow.is_example else "${{ inputs.environment }}"
        wanted = {"group": f"{GROUPS[name]}{place}", "cancel-in-progress": False}
        wanted |= {"queue": "max"} if name in QUEUED else {}
        if group != wanted:
            yield f"job {name} has the group {group}, and should have {wanted}"


def cancels_only_what_changes_nothing(workflow: Workflow) -> Iterator[str]:
    group = workflow.data.get("concurrency")
    if group is None:
        if workflow.name in CANCELLED and not workflow.is_caller:
            yield "an older run is not ended by a newer one"
    elif workflow.name not in CANCELLED | {"publish.yml"}:
        yield "the whole workflow is in a group: what waits in it holds up what must not wait"
    elif group.get("cancel-in-progress") and workflow.name == "publish.yml":
        yield "a release is cancelled half way"


def waits_for_nobody_where_it_must_not(workflow: Workflow) -> Iterator[str]:
    if not workflow.is_rollout or workflow.is_caller:
        return
    for name, job in workflow.jobs.items():
        if name in UNATTENDED and "environment" in job:
            yield f"job {name} waits for an environment"
        if name in WAITING and job.get("environment", {}).get("deployment") is not False:
            yield f"job {name} has no environment whose reviewers approve, or makes a deployment of it"


def does_without_what_may_be_away(workflow: Workflow) -> Iterator[str]:
    for name, step in workflow.steps():
        app = step.get("uses", "").startswith("actions/create-github-app-token@")
        if app and name in UNATTENDED and step.get("continue-on-error") is not True:
            yield f"job {name} ends where an App gives no token"


def pushes_as_the_app_that_may(workflow: Workflow) -> Iterator[str]:
    """A ruleset may let an App alone write the ledger: nobody writes it without being asked for one."""
    for name, job in workflow.jobs.items() if workflow.name in CALLED and not workflow.is_example else ():
        if job.get("permissions", {}).get("contents") != "write":
            continue
        tokens = [
            step["with"].get("token")
            for step in job["steps"]
            if step.get("uses", "").startswith("$/actions/")
        ]
        if tokens != ["${{ steps.app.outputs.token || github.token }}"]:
            yield f"job {name} writes with no token but the workflow's own"


def starts_on_nothing_dangerous(workflow: Workflow) -> Iterator[str]:
    for event in workflow.events.keys() & {
        *(
            "pull_request_target",
            "workflow_run",
            "issue_comment",
            "repository_dispatch",
            "discussion_comment",
        ),
    }:
        yield f"{event} gives strangers a token that writes"
    for event in workflow.events.keys() & {"pull_request", "merge_group"}:
        if workflow.events[event] is not None:
            yield f"{event} has a filter: a required check that is not run is waited for"
    if (
        "pull_request" in workflow.events
        and workflow.name in ("adapters.yml", "ci.yml")
        and "merge_group" not in workflow.events
    ):
        yield "a merge queue waits for it for ever"


def runs_nothing_that_was_pasted(workflow: Workflow) -> Iterator[str]:
    for name, step in workflow.steps():
        if "${{" in step.get("run", ""):
            yield f"job {name} pastes an expression into a program"
        if "${{" in step.get("shell", "") or step.get("shell", "bash") != "bash":
            yield f"job {name} has another shell"


def keeps_no_credentials(workflow: Workflow) -> Iterator[str]:
    for name, step in workflow.steps():
        if not step.get("uses", "").startswith("actions/checkout@"):
            continue
        given = step.get("with", {})
        if given.get("persist-credentials") is not False:
            yield f"job {name} leaves credentials behind a checkout"
        if workflow.is_rollout and given.get("fetch-depth") != 0:
            yield f"job {name} does not fetch the history"
        if {"token", "repository", "ssh-key"} & given.keys():
            yield f"job {name} checks out something else"
        if "ref" in given and given["ref"] != "${{ github.event.repository.default_branch }}":
            yield f"job {name} checks out {given['ref']}"


def takes_nothing_from_a_cache(workflow: Workflow) -> Iterator[str]:
    for name, step in workflow.steps():
        if (
            step.get("uses", "").startswith("actions/cache")
            or {"cache", "enable-cache"} & step.get("with", {}).keys()
        ):
            yield f"job {name} takes something from a cache"


def loads_adapters_of_nobody_else(workflow: Workflow) -> Iterator[str]:
    is_of_a_change = workflow.name in ("gate.yml", "adapters.yml")
    for name, job in workflow.jobs.items():
        if "steps" not in job or job["runs-on"] == HOSTED:
            continue
        if name == "evaluate":
            condition = " ".join(job.get("if", "").split())
            if is_of_a_change and SAME_REPOSITORY not in condition:
                yield f"job {name} may load what comes from a fork"
            if job.get("permissions") != READ:
                yield f"job {name} loads adapters and may do more than read"
        elif is_of_a_change or name not in (*UNATTENDED, *WAITING):
            yield f"job {name} runs on {job['runs-on']}"


def is_trusted_with_few_secrets(workflow: Workflow) -> Iterator[str]:
    for name, job in workflow.jobs.items():
        said = str(job)
        if "secrets: inherit" in said or job.get("secrets") == "inherit" or "toJSON(secrets" in said:
            yield f"job {name} hands all secrets on"
        named = set(re.findall(r"secrets\.([A-Z_]+)", said))
        if workflow.is_rollout and "uses" not in job and named - SECRETS_OF.get(name, named):
            yield f"job {name} has the secrets {', '.join(sorted(named))}"


def records_only_what_was_merged(workflow: Workflow) -> Iterator[str]:
    is_of_a_change = workflow.name in ("gate.yml", "adapters.yml")
    for name, step in workflow.steps():
        recorded = str(step.get("with", {}).get("record", "false"))
        if workflow.is_rollout and recorded != "false" and (name != "record" or is_of_a_change):
            yield f"job {name} records what a pull request measured"


def ends_in_one_gate(workflow: Workflow) -> Iterator[str]:
    if workflow.name != "gate.yml" and workflow.path != "examples/self-hosted/.github/workflows/adapters.yml":
        return
    gate = workflow.jobs.get("gate", {})
    if gate.get("name") != "gate" or gate.get("if") != "${{ always() }}":
        yield "there is no job named gate that always runs"
    if set(gate.get("needs", [])) != set(workflow.jobs) - {"gate"}:
        yield "the gate does not wait for every job"


RULES: Final[tuple[Rule, ...]] = (
    asks_for_nothing_at_the_top,
    asks_for_what_the_table_says,
    uses_what_cannot_change,
    ends_in_time,
    changes_one_after_the_other,
    cancels_only_what_changes_nothing,
    waits_for_nobody_where_it_must_not,
    does_without_what_may_be_away,
    pushes_as_the_app_that_may,
    starts_on_nothing_dangerous,
    runs_nothing_that_was_pasted,
    keeps_no_credentials,
    takes_nothing_from_a_cache,
    loads_adapters_of_nobody_else,
    is_trusted_with_few_secrets,
    records_only_what_was_merged,
    ends_in_one_gate,
)


def broken(workflow: Workflow) -> list[str]:
    """What is wrong, as `rule: complaint`."""
    return [f"{rule.__name__}: {each}" for rule in RULES for each in rule(workflow)]
