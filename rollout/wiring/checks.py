"""What validation and the gate of a release work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rollout.errors import Unreadable
from rollout.integrations.documents import StrictDocuments
from rollout.integrations.workfolder import WorkingFolder
from rollout.usecases.workspace import Workspace
from rollout.wiring.artifacts import artifact_folder, inspect_artifact
from rollout.wiring.places import working_folder
from rollout.wiring.signatures import verify_artifact

if TYPE_CHECKING:
    from rollout.core.approval import PullRequest
    from rollout.core.environment import Environment
    from rollout.core.finding import Finding
    from rollout.core.lifecycle import RolloutState
    from rollout.integrations.git import GitRepository
    from rollout.ports import Ledger, World
    from rollout.usecases.begin import Gatekeeper
    from rollout.usecases.fix import Tools
    from rollout.usecases.release import Desire
    from rollout.usecases.validate import Checks


def build_checks(
    root: Path,
    *,
    base: str | None,
    environments: tuple[str, ...] = (),
    release: bool = False,
    pull_request: PullRequest | None = None,
    ledgers: bool = False,
) -> Checks:
    """What `validate` works with: the working folder, judged by the tree at `base` if one is named.

    With `ledgers` those of the environments are asked what was taken back.
    """
    from rollout.core.policy import CheckedAt
    from rollout.integrations import cel
    from rollout.usecases.validate import Checks

    repository = None if base is None else _repository(root)
    tree = repository.at(base) if repository is not None and base is not None else None
    head = working_folder(root)
    judge = head if tree is None else Workspace(tree, StrictDocuments())

    def was_there(path: PurePosixPath, content: bytes) -> bool:
        """Whether the base's history, before its present state, has this content at this path."""
        if repository is None or tree is None or (tree.exists(path) and tree.read(path) == content):
            return False
        return repository.blob_id(content) in repository.history(path, tree.commit)

    def authors(paths: Sequence[PurePosixPath]) -> tuple[str, ...]:
        if repository is None or tree is None:
            return ()
        return repository.authors(*paths, since=tree.commit, committers=pull_request is None)

    return Checks(
        head=head,
        base=None if tree is None else judge,
        inspect=partial(inspect_artifact, root, judge),
        verify=partial(verify_artifact, root, judge),
        evaluator=cel.evaluator,
        ask_rego=ask_rego,
        now=datetime.now(UTC),
        environments=environments,
        at=CheckedAt.RELEASE if release else CheckedAt.PULL_REQUEST,
        was_there=was_there,
        touched=frozenset() if repository is None or base is None else repository.changed_since(base),
        authors=authors,
        pull_request=pull_request,
        ask_ledger=_ask_ledger(root) if ledgers else None,
    )


def _ask_ledger(root: Path) -> Callable[[Environment, str], RolloutState]:
    """Asks each ledger as it is when it is first asked."""
    opened: dict[str, Ledger] = {}

    def ask(document: Environment, name: str) -> RolloutState:
        from rollout.core.lifecycle import fold
        from rollout.wiring.ledgers import open_ledger

        if document.name not in opened:
            opened[document.name] = open_ledger(document, root).still()
        return fold(opened[document.name].read(name))

    return ask


def _repository(root: Path) -> GitRepository:
    from rollout.integrations.git import GitRepository

    return GitRepository(root)


def ask_rego(modules: Mapping[str, bytes], inputs: Mapping[str, object], file: str) -> tuple[Finding, ...]:
    """What the Rego modules of a policy find in one manifest."""
    from rollout.core.finding import Finding, Severity
    from rollout.integrations import rego

    return tuple(
        Finding(
            rule=message.rule,
            severity=Severity(message.severity),
            message=message.message,
            remediation=f"See the comments of {_module(modules, message.rule)}.",
            file=file,
            pointer="",
            can_be_waived=message.decided,
        )
        for message in rego.evaluate(modules, inputs)
    )


def _module(modules: Mapping[str, bytes], rule: str) -> str:
    """The file of a finding of rego/<file>/<rule>."""
    return " or ".join(name for name in modules if PurePosixPath(name).stem == rule.split("/")[1])


def read_pull_request(path: Path) -> PullRequest:
    """What the forge says of a pull request, from a JSON file. Raises DocumentErrors and Unreadable."""
    from rollout.core.approval import PullRequest
    from rollout.integrations.documents import load_json

    try:
        return load_json(path.read_bytes(), PullRequest, source=str(path))
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from None


def build_gatekeeper(root: Path, environment: str, pull_request: PullRequest | None = None) -> Gatekeeper:
    """The rules of the release stage, from the commit before the manifest's, as `advance` asks them.

    Without a pull request, the environment's forge is asked for that of the manifest's commit.
    """
    from rollout.core.lifecycle import fold
    from rollout.integrations.git import GitRepository
    from rollout.usecases.validate import never, validate

    def gatekeeper(world: World, desire: Desire) -> str | None:
        asked = pull_request
        if asked is None and world.forge is not None:
            asked = world.forge.reviewed(desire.version.commit, team=desire.manifest.value.owner.team)
        if asked is not None and (strange := _is_of_another(asked, root, world, desire)):
            return strange
        state = fold(world.ledger.read(desire.manifest.value.name))
        commit, before = desire.version.commit, desire.policy_commit
        repository = GitRepository(root)
        checks = replace(
            build_checks(root, base=before, environments=(environment,), release=True, pull_request=asked),
            head=Workspace(world.manifests.at(commit), world.documents),
            released=state.released,
            was_there=never,  # What stood on the branch once need not have been released: only the ledger knows.
            released_versions=state.released_versions,
            touched=repository.changed_between(before, commit),
            authors=lambda paths: repository.authors(
                *paths, since=before, until=commit, committers=asked is None
            ),
        )
        validation = validate(checks, [PurePosixPath(desire.version.path)])
        if not validation.blocked and not validation.problems:
            return None
        problems = [str(problem) for problem in validation.problems]
        return "; ".join(problems + [f"{f.rule}: {f.message}" for f in validation.findings if f.blocks])

    return gatekeeper


def _is_of_another(pull_request: PullRequest, root: Path, world: World, desire: Desire) -> str | None:
    """Why the forge's answer is not about the change that made this manifest, or None.

    What was reviewed must hold the very manifest, and must not have been made after it was on the branch.
    """
    from rollout.integrations.git import GitFailed, GitRepository

    repository = GitRepository(root, remote=world.environment.remote)
    commit, head = desire.version.commit, pull_request.head
    path = PurePosixPath(desire.version.path)
    try:
        repository.bring(head)
        same = repository.at(head).read(path) == desire.manifest.content
    except (Unreadable, GitFailed):
        return f"the reviewed commit {head[:12]} of pull request {pull_request.number} is not known here"
    if not same:
        return f"pull request {pull_request.number} was reviewed at {head[:12]} with another manifest"
    if head != commit and repository.contains(head, commit):
        return f"pull request {pull_request.number} was made after {desire.version.served_name} was merged"
    return None


def build_tools(root: Path) -> Tools:
    """What `validate --fix` works with: the working folder and the adapters that lie in folders here."""
    from rollout.core.source import is_remote
    from rollout.integrations.documents import edit, read_plain, tidy
    from rollout.integrations.safetensors.copies import read_copies
    from rollout.usecases.fix import Copies, Tools

    def copies(uri: str) -> Copies | None:
        try:
            files, config = read_copies(artifact_folder(root, uri))
        except Unreadable:
            return None
        return Copies(files=files, config=config)

    return Tools(
        tree=WorkingFolder(root),
        read=read_plain,
        tidy=tidy,
        edit=edit,
        copies=lambda uri: None if is_remote(uri) else copies(uri),
    )


def replace_file(root: Path) -> Callable[[PurePosixPath, bytes], None]:
    """Puts other bytes in the place of a file of the working folder: whole or not at all, and through no link."""
    from rollout.integrations.newfiles import NewFiles

    return NewFiles(root).extend
