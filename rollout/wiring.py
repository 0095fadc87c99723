"""The composition root: the one module that knows every integration and hands them to the use cases."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rollout.core.environment import Environment
from rollout.errors import Unavailable, Unreadable, Usage
from rollout.integrations.documents import StrictDocuments
from rollout.integrations.workfolder import WorkingFolder
from rollout.usecases.workspace import Workspace

if TYPE_CHECKING:
    from rollout.core.approval import PullRequest
    from rollout.core.artifact import ArtifactFacts
    from rollout.core.document import Pointer
    from rollout.core.finding import Finding
    from rollout.core.manifest import AdapterManifest, Artifact, Base, Dtype
    from rollout.core.policy import Rule
    from rollout.core.signing import SignatureFact, Signers
    from rollout.core.source import Sources
    from rollout.gateway.openai import App
    from rollout.gateway.router import AdapterRouter
    from rollout.integrations.documents.writing import ManifestWriting
    from rollout.integrations.newfiles import NewFiles
    from rollout.ports import Engine, ModelSigner, Shelf, World
    from rollout.usecases.begin import Gatekeeper
    from rollout.usecases.book import Signature
    from rollout.usecases.draft import Adapter, Draft
    from rollout.usecases.fix import Tools
    from rollout.usecases.inspect import Inspection
    from rollout.usecases.release import Desire
    from rollout.usecases.scaffold import NewFile, Profile
    from rollout.usecases.sign import Signed
    from rollout.usecases.validate import Checks

# Where fetched artifacts are kept, below the root of the repository.
FETCHED = ".rollout/artifacts"


def find_root(start: Path) -> Path:
    """The repository around a folder: the nearest one upwards that holds `.git` or `policies`."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / ".git").exists() or (folder / "policies").is_dir():
            return folder
    raise Unreadable(
        f"{start} lies in no repository",
        advice="Run rollout where manifests/ and policies/ are; `rollout init` sets them up.",
    )


def path_below(root: Path, path: Path) -> PurePosixPath:
    """A path from the command line, relative to the root. Raises Usage if it leads out of it."""
    # Links are left in place: the tree refuses them itself, and says so.
    absolute = Path(*_normal((Path.cwd() / path).parts))
    if not absolute.is_relative_to(root):
        raise Usage(f"{path} lies outside of the repository {root}")
    return PurePosixPath(absolute.relative_to(root).as_posix())


def _normal(parts: tuple[str, ...]) -> list[str]:
    kept: list[str] = []
    for part in parts:
        if part == "..":
            kept[1:] = kept[1:-1]
        else:
            kept.append(part)
    return kept


def working_folder(root: Path) -> Workspace:
    """The documents as they lie in the working folder."""
    return Workspace(WorkingFolder(root), StrictDocuments())


def build_checks(
    root: Path,
    *,
    base: str | None,
    environments: tuple[str, ...] = (),
    release: bool = False,
    pull_request: PullRequest | None = None,
) -> Checks:
    """What `validate` works with: the working folder, judged by the tree at `base` if one is named."""
    from rollout.core.policy import CheckedAt
    from rollout.integrations import cel
    from rollout.integrations.git import GitRepository
    from rollout.usecases.validate import Checks

    repository = GitRepository(root) if base is not None else None
    tree = repository.at(base) if repository is not None and base is not None else None
    head = working_folder(root)
    judge = head if tree is None else Workspace(tree, StrictDocuments())

    def was_there(path: PurePosixPath, content: bytes) -> bool:
        """Whether the base's history, before its present state, has this content at this path."""
        if repository is None or tree is None or (tree.exists(path) and tree.read(path) == content):
            return False
        return repository.blob_id(content) in repository.history(path, tree.commit)

    def authors(path: PurePosixPath) -> tuple[str, ...]:
        return () if repository is None or tree is None else repository.authors(path, since=tree.commit)

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
    )


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


def read_pull_request(path: Path) -> PullRequest:
    """What the forge says of a pull request, from a JSON file. Raises DocumentErrors and Unreadable."""
    from rollout.core.approval import PullRequest
    from rollout.integrations.documents import load_json

    try:
        return load_json(path.read_bytes(), PullRequest, source=str(path))
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from None


def ask_rego(modules: Mapping[str, bytes], inputs: Mapping[str, object], file: str) -> tuple[Finding, ...]:
    """What the Rego modules of a policy find in one manifest."""
    from rollout.core.finding import Finding, Severity
    from rollout.integrations import rego

    return tuple(
        Finding(
            rule=message.rule,
            severity=Severity(message.severity),
            message=message.message,
            remediation="See the module's comments.",
            file=file,
            pointer="",
            can_be_waived=message.decided,
        )
        for message in rego.evaluate(modules, inputs)
    )


def artifact_folder(root: Path, uri: str) -> Path:
    """The folder of an adapter. Raises Unreadable for a scheme that is not at hand, or a way out of the root."""
    if uri.startswith("file://"):
        folder = Path(uri.removeprefix("file://"))
        if not folder.is_absolute() or ".." in folder.parts:
            raise Unreadable(f"{uri} is not an absolute path without '..'")
        return folder
    if ":" in uri.split("/", 1)[0]:
        raise Unreadable(f"{uri}: only folders of the repository and file:// are read here")
    relative = PurePosixPath(uri)
    if relative.is_absolute() or ".." in relative.parts:
        raise Unreadable(f"{uri} lies outside of the repository")
    folder = root
    for part in relative.parts:
        folder = folder / part
        if folder.is_symlink():
            raise Unreadable(f"{uri} is reached through a link, which is refused")
    return folder


def locate_artifact(
    root: Path,
    artifact: Artifact,
    sources: Sources | None,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Path:
    """The folder of an artifact here: local ones in place, remote ones fetched and verified as `sources` admits.

    Raises Unreadable if the policy admits no such address (before any connection) or the bytes are others
    than declared, and Unavailable if a retry may help. `progress` is told (file, bytes here, size if known).
    """
    from rollout.core.source import is_remote, parse_remote, require_admitted

    if not is_remote(artifact.uri):
        return artifact_folder(root, artifact.uri)
    from rollout.integrations.sources import fetch

    uri = parse_remote(artifact.uri)
    policy = require_admitted(uri, sources)
    return fetch(
        uri,
        artifact,
        cache=artifact_folder(root, FETCHED),
        max_file_bytes=policy.max_file_bytes,
        progress=progress,
    )


def verify_artifact(
    root: Path, judge: Workspace, artifact: Artifact, folder: Path | None = None
) -> SignatureFact:
    """What an adapter's signature is worth to the signers that the judging tree trusts.

    `folder` is where the adapter lies, if it is not to be looked for.
    """
    from rollout.integrations.signing import verify

    place = folder or _locate(root, judge, artifact)
    return verify(place, artifact, *_trust(judge))


def _trust(judge: Workspace) -> tuple[Signers | None, Callable[[PurePosixPath], bytes]]:
    """Whose signatures count, and how their keys are read."""
    from rollout.usecases.workspace import POLICIES

    signers = judge.signers()
    return None if signers is None else signers.value, lambda path: judge.tree.read(POLICIES / path)


def sigstore_identity(root: Path, *, token: str | None, trust_config: Path | None) -> ModelSigner:
    """Signs as whoever a token names. Signatures of identities trusted in the working folder count already."""
    from rollout.integrations.signing import SigstoreIdentity

    signers, read = _trust(working_folder(root))
    return SigstoreIdentity(token=token, trust_config=trust_config, signers=signers, read_policy_file=read)


def private_key(path: Path, *, password: str | None) -> ModelSigner:
    """Signs with a key from a PEM file."""
    from rollout.integrations.signing import PrivateKey

    return PrivateKey(path, password=password)


def sign_adapter(
    root: Path, path: PurePosixPath, signer: ModelSigner, *, folder: Path | None, dry_run: bool
) -> tuple[Signed, SignatureFact]:
    """Sign the adapter of a manifest, and say what the signature is worth to the working folder's policies.

    `folder` is a copy of a remote adapter, signed before it is published. Only one signs at a time.
    """
    from rollout.core.signing import SIGNATURE_FILE
    from rollout.durable import discard_unfinished, exclusive
    from rollout.integrations.documents.edit import edit
    from rollout.usecases.sign import sign

    head = working_folder(root)
    with exclusive(artifact_folder(root, ".rollout/signing")):
        manifest = head.manifest(path)
        artifact = manifest.value.artifact
        place = folder or _folder_to_sign(root, artifact.uri)
        discard_unfinished(place / (artifact.signature or SIGNATURE_FILE))

        def name_it(name: str) -> None:
            new: dict[Pointer, str] = {("artifact", "signature"): name}
            written = manifest.spans.keys() & new.keys()  # as null, which is then replaced
            there = edit(manifest.content, new) if written else edit(manifest.content, insert=new)
            _replace(root / path, there)

        signed = sign(manifest, place, signer, write=_replace, name_it=name_it, dry_run=dry_run)
        named = artifact.model_copy(update={"signature": signed.signature.name})
        return signed, verify_artifact(root, head, named, place)


def _folder_to_sign(root: Path, uri: str) -> Path:
    from rollout.core.source import is_remote

    if is_remote(uri):
        raise Unreadable(
            f"{uri} lies elsewhere, and what is signed must lie here",
            advice="Sign before it is published: name the folder that it is published from by --folder.",
        )
    return artifact_folder(root, uri)


def _replace(target: Path, content: bytes) -> None:
    from rollout.durable import replace as put

    try:
        put(target, content)
    except OSError as error:
        raise Unavailable(f"{target} cannot be written: {error.strerror}") from None


def inspect_artifact(
    root: Path,
    judge: Workspace,
    artifact: Artifact,
    dtypes: frozenset[Dtype],
    base_paths: tuple[str, ...],
) -> ArtifactFacts:
    """The facts of an adapter for the serving types, compared with every base whose folder is at hand."""
    from rollout.integrations.safetensors import inspect

    folder = _locate(root, judge, artifact)
    return inspect(folder, dtypes=dtypes, bases=[root / path for path in base_paths])


def inspect_path(
    path: Path,
    *,
    dtypes: Sequence[Dtype],
    bases: Sequence[Path],
    weights_of: Path | None,
    progress: Callable[[str, int, int], None],
) -> Inspection:
    """What lies in a folder, or what a manifest speaks of, seen from all environments of its repository."""
    from rollout.integrations.safetensors import inspect
    from rollout.usecases.inspect import inspect_folder, inspect_manifest

    look = partial(inspect, weights_of=weights_of, progress=progress)
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib raises for names that are too long
        return inspect_folder(str(path), dtypes, lambda types: look(path, dtypes=types, bases=bases))
    root = find_root(path.parent)
    workspace = working_folder(root)
    return inspect_manifest(
        workspace.manifest(path_below(root, path)).value,
        [workspace.environment(name).value for name in workspace.environment_names()],
        lambda artifact, types, paths: look(
            _locate(root, workspace, artifact), dtypes=types, bases=[root / each for each in paths]
        ),
        dtypes=dtypes,
        bases=[str(base) for base in bases],
    )


def _locate(root: Path, judge: Workspace, artifact: Artifact) -> Path:
    sources = judge.sources()
    return locate_artifact(root, artifact, None if sources is None else sources.value)


def load_environment(name: str, root: Path) -> Environment:
    """The environment document of that name below `root`. Raises Unreadable and DocumentErrors."""
    return working_folder(root).environment(name).value


def gateway_app(environment: Environment, root: Path) -> AdapterRouter:
    """The stand-alone gateway of an environment, watching its flags and routes already."""
    from rollout.gateway.proxy import Replica, Upstream

    upstream = Upstream([Replica(replica.name, replica.url) for replica in environment.replicas])
    return _adapter_router(upstream, environment, root, exclusive=True, and_then=upstream.close)


def engine_middleware(app: App, environment: Environment, root: Path) -> AdapterRouter:
    """The gateway inside an engine's own server, around `app`."""

    async def nothing() -> None:
        return

    return _adapter_router(app, environment, root, exclusive=False, and_then=nothing)


def _adapter_router(
    app: App,
    environment: Environment,
    root: Path,
    *,
    exclusive: bool,
    and_then: Callable[[], Awaitable[None]],
) -> AdapterRouter:
    import asyncio

    from rollout.gateway.admin import Admin
    from rollout.gateway.mirror import Mirror
    from rollout.gateway.router import AdapterRouter, VersionChooser
    from rollout.gateway.routes import RouteTable
    from rollout.gateway.telemetry import Telemetry
    from rollout.integrations.evaluator import FlagFileReader
    from rollout.integrations.routesfile import RoutesWatch
    from rollout.integrations.trafficlog import TrafficLogRecorder

    recorder = TrafficLogRecorder(root / environment.metrics.path)
    telemetry = Telemetry(recorder, salt=recorder.salt, rows_lost=lambda: recorder.dropped)
    flags = FlagFileReader(root / environment.flags.path)
    table = RouteTable()
    routes = RoutesWatch(root / environment.routes, environment.name, table.accept)
    routes.start()
    mirror = Mirror(app, telemetry)

    async def close() -> None:
        await mirror.close()
        await and_then()
        routes.stop()
        flags.close()
        await asyncio.to_thread(recorder.close)

    return AdapterRouter(
        app,
        chooser=VersionChooser(table, flags, environment.context_key),
        telemetry=telemetry,
        mirror=mirror,
        admin=Admin(table, routes, flags, telemetry),
        exclusive=exclusive,
        on_shutdown=close,
    )


def build_world(root: Path, environment: str) -> World:
    """Everything outside, for one environment of the repository at `root`."""
    from rollout.integrations.clock import SystemClock
    from rollout.integrations.evidence import EvidenceFolder
    from rollout.integrations.flagfile import FlagFile
    from rollout.integrations.gateways import GatewayClient
    from rollout.integrations.git import GitRepository
    from rollout.integrations.ledgerfolder import FolderLedger
    from rollout.integrations.routesfile import RoutesFile
    from rollout.integrations.shelf import AdapterShelf
    from rollout.integrations.trafficlog import TrafficLog
    from rollout.integrations.vllm import Replica
    from rollout.ports import World

    document = working_folder(root).environment(environment).value
    return World(
        environment=document,
        clock=SystemClock(),
        flags=FlagFile(root / document.flags.path),
        metrics=TrafficLog(root / document.metrics.path),
        replicas=tuple(Replica(replica.name, replica.url) for replica in document.replicas),
        gateways=tuple(GatewayClient(gateway.name, gateway.url) for gateway in document.gateways),
        routes=RoutesFile(root / document.routes, document.name),
        ledger=FolderLedger(root / document.ledger.path, document.name),
        evidence=EvidenceFolder(root / document.evidence),
        manifests=GitRepository(root, branch=document.branch, remote=document.remote),
        documents=StrictDocuments(),
        shelf=AdapterShelf(
            root / document.adapter_folder, locate=partial(_locate, root, working_folder(root))
        ),
    )


def build_gatekeeper(root: Path, environment: str, pull_request: PullRequest | None = None) -> Gatekeeper:
    """The rules of the release stage, from the commit before the manifest's, as `advance` asks them."""
    from rollout.core.lifecycle import fold
    from rollout.integrations.git import GitRepository
    from rollout.usecases.validate import validate

    def gatekeeper(world: World, desire: Desire) -> str | None:
        state = fold(world.ledger.read(desire.manifest.value.name))
        commit, before = desire.version.commit, desire.policy_commit
        repository = GitRepository(root)
        checks = replace(
            build_checks(
                root, base=before, environments=(environment,), release=True, pull_request=pull_request
            ),
            head=Workspace(world.manifests.at(commit), world.documents),
            released=state.released,
            released_versions=state.released_versions,
            touched=repository.changed_between(before, commit),
            authors=lambda path: repository.authors(path, since=before, until=commit),
        )
        validation = validate(checks, [PurePosixPath(desire.version.path)])
        if not validation.blocked and not validation.problems:
            return None
        problems = [str(problem) for problem in validation.problems]
        return "; ".join(problems + [f"{f.rule}: {f.message}" for f in validation.findings if f.blocks])

    return gatekeeper


def build_signature(environment: str, actor: str | None = None) -> Signature:
    """Who acts: the name given, the actor of a workflow run, or the user of this machine."""
    from getpass import getuser

    from rollout.usecases.book import Signature

    server, repository, run = (
        os.environ.get(f"GITHUB_{key}") for key in ("SERVER_URL", "REPOSITORY", "RUN_ID")
    )
    run_url = f"{server}/{repository}/actions/runs/{run}" if server and repository and run else None
    return Signature(
        actor=actor or os.environ.get("GITHUB_ACTOR") or getuser(), environment=environment, run_url=run_url
    )


def champion_of(root: Path, environment: str, name: str) -> AdapterManifest | None:
    """The manifest of what a new version has to beat in an environment; None if that is the base model.

    Raises Unreadable if its commit does not hold it any more as it was.
    """
    from rollout.core.lifecycle import fold
    from rollout.usecases.release import read_manifest

    world = build_world(root, environment)
    champion = fold(world.ledger.read(name)).champion
    return None if champion is None else read_manifest(world, champion).value


def tree_at(root: Path, reference: str) -> Workspace:
    """The documents as they are at a commit."""
    from rollout.integrations.git import GitRepository

    return Workspace(GitRepository(root).at(reference), StrictDocuments())


def build_engine(folder: Path, base: Base, *, batch_size: int, threads: int | None) -> Engine:
    """The base model in this process, in the precision of the manifest, once its tokenizer is known to fit."""
    from rollout.integrations.basemodel import verify_base
    from rollout.integrations.transformers import TransformersEngine, open_base

    verify_base(folder, base)
    opened = open_base(folder, dtype=base.dtype, quantization=base.quantization, threads=threads)
    return TransformersEngine(opened, batch_size=batch_size)


@contextmanager
def passing_shelf(root: Path, judge: Workspace) -> Iterator[Shelf]:
    """A shelf that is there for one evaluation: no server reads from it.

    Artifacts are fetched from where the judging tree allows it.
    """
    from tempfile import TemporaryDirectory

    from rollout.integrations.shelf import AdapterShelf

    with TemporaryDirectory(prefix="rollout-evaluate-") as folder:
        yield AdapterShelf(Path(folder), locate=partial(_locate, root, judge))


def scaffold_files(
    profile: str, *, book: Callable[[Sequence[Rule]], str], repository: str | None = None
) -> tuple[tuple[NewFile, ...], Profile]:
    """Everything that `init` puts into a folder for a profile; `repository` is ORG/REPO at the forge.

    Raises Usage if that is no such name.
    """
    from rollout.integrations.documents import edit
    from rollout.usecases.scaffold import Shipped, plan_files

    if repository is not None and not re.fullmatch(
        r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}", repository
    ):
        raise Usage(f"{repository!r} is not ORG/REPO")
    package = Path(__file__).parent
    # A wheel brings the rules inside the package; a working copy has them beside it.
    policies = package if (package / "policies").is_dir() else package.parent
    shipped = Shipped(policies=working_folder(policies), templates=working_folder(package))
    found = shipped.profile(profile)
    organisation = None if repository is None else repository.split("/")[0]
    return plan_files(shipped, found, edit=edit, book=book, organisation=organisation), found


def new_files(folder: Path) -> NewFiles:
    """A folder to put new files into."""
    from rollout.integrations.newfiles import NewFiles

    return NewFiles(folder)


def manifest_writing() -> ManifestWriting:
    """How manifests are spelled, edited and read back."""
    from rollout.integrations.documents.writing import ManifestWriting

    return ManifestWriting()


def read_adapter(root: Path, folder: Path) -> Adapter:
    """The files of a folder, compared with the bases that the environments name. Raises Unreadable and Usage."""
    from rollout.core.source import is_remote
    from rollout.integrations.safetensors import inspect
    from rollout.usecases.draft import Adapter

    absolute = Path(*_normal((Path.cwd() / folder).parts))
    inside = absolute.relative_to(root) if absolute.is_relative_to(root) else None
    uri = f"file://{absolute}" if inside is None else inside.as_posix()
    if is_remote(uri):
        raise Usage(f"{uri!a} would be read as an address: a colon must not stand in the first folder's name")
    workspace = working_folder(root)
    servers = [workspace.environment(name).value.server for name in workspace.environment_names()]
    bases = dict.fromkeys(root / server.base_path for server in servers if server.base_path)
    dtypes = frozenset(server.dtype for server in servers)
    facts = inspect(artifact_folder(root, uri), dtypes=dtypes, bases=list(bases))
    return Adapter(uri=uri, folder=PurePosixPath(absolute), facts=facts)


def write_draft(root: Path, draft: Draft, output: Path | None) -> None:
    """Put a draft into its place, or into `output`. Raises Usage rather than replace another file."""
    place = root / draft.path if output is None and draft.path is not None else Path.cwd() / (output or "")
    place = Path(*_normal(place.parts))
    if draft.replaces is not None and draft.path is not None and place == root / draft.path:
        files, path = new_files(root), draft.path
        if files.read(path) != draft.replaces:
            raise Unreadable(f"{path} was changed meanwhile", advice="Run it again.")
        files.extend(path, draft.content)
    elif not new_files(place.parent).create(PurePosixPath(place.name), draft.content):
        raise Usage(f"{output or draft.path} is there already", advice="Name another file with --output.")
