"""The composition root: the one module that knows every integration and hands them to the use cases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rollout.core.artifact import ArtifactFacts
from rollout.core.environment import Environment
from rollout.core.manifest import Dtype
from rollout.core.policy import CheckedAt
from rollout.errors import Unreadable, Usage
from rollout.integrations.documents import StrictDocuments
from rollout.integrations.workfolder import WorkingFolder
from rollout.usecases.validate import Checks
from rollout.usecases.workspace import Workspace

if TYPE_CHECKING:
    from rollout.gateway.openai import App
    from rollout.gateway.router import AdapterRouter


def find_root(start: Path) -> Path:
    """The repository around a folder: the nearest one upwards that holds `.git` or `policies`."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / ".git").exists() or (folder / "policies").is_dir():
            return folder
    raise Unreadable(
        f"{start} lies in no repository", advice="Run rollout where manifests/ and policies/ are."
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
    root: Path, *, base: str | None, environments: tuple[str, ...] = (), release: bool = False
) -> Checks:
    """What `validate` works with: the working folder, judged by the tree at `base` if one is named."""
    from rollout.integrations import cel
    from rollout.integrations.git import GitRepository

    repository = GitRepository(root) if base is not None else None
    tree = repository.at(base) if repository is not None and base is not None else None

    def was_there(path: PurePosixPath, content: bytes) -> bool:
        """Whether the base's history, before its present state, has this content at this path."""
        if repository is None or tree is None or (tree.exists(path) and tree.read(path) == content):
            return False
        return repository.blob_id(content) in repository.history(path, tree.commit)

    return Checks(
        head=working_folder(root),
        base=None if tree is None else Workspace(tree, StrictDocuments()),
        inspect=lambda uri, dtypes, base_path: inspect_artifact(root, uri, dtypes, base_path),
        evaluate=cel.evaluate,
        now=datetime.now(UTC),
        environments=environments,
        at=CheckedAt.RELEASE if release else CheckedAt.PULL_REQUEST,
        was_there=was_there,
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


def inspect_artifact(root: Path, uri: str, dtypes: frozenset[Dtype], base_path: str | None) -> ArtifactFacts:
    """The facts of an adapter for the serving types, compared with the base if its folder is at hand."""
    from rollout.integrations.safetensors import inspect

    base = None if base_path is None else root / base_path
    return inspect(artifact_folder(root, uri), dtypes=dtypes, base=base if base and base.is_dir() else None)


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
