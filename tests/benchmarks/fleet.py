"""One tick of a whole fleet: `python -m tests.benchmarks.fleet [--adapters 1000,10000] [--releases 50]`.

Real git, flag file, folder ledger, routes, traffic log and judge; servers and gateways are stood in for by files, so
that what is measured is our own. Prints the time of the tick, by what it did, and the ratio between the sizes.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path, PurePosixPath

import click

from rollout.core.lifecycle import Adopted, Evaluated, Intended, Phase, Shifted, Started, Version
from rollout.core.plan import Share
from rollout.core.routes import Route, with_route
from rollout.core.verdict import Outcome
from rollout.demo.scratch import MANIFEST, NAME
from rollout.integrations.trafficlog import TrafficLogRecorder
from rollout.ports import GatewayStatus
from rollout.usecases.book import Book
from rollout.usecases.fleet import advance_all, muster
from rollout.usecases.release import read_policy, version_of
from rollout.usecases.workspace import Workspace
from tests.support.site import SIGNATURE, PaperGateway, Site, record, report_on

_REQUESTS = (380, 20)
"""Of stable and of the candidate, a release, since its last look."""


class Crowd:
    """A fleet made in one commit: every adapter adopted, some of them at 10 %."""

    def __init__(self, folder: Path, adapters: int, releases: int) -> None:
        self.site = Site.create(folder)
        self.names = [f"adapter-{number:05d}" for number in range(adapters)]
        self.releasing = self.names[:releases]
        template = (self.site.repository.root / MANIFEST).read_text()
        old = self._commit(template, self.names)
        self.site.propose("1.1.0", evaluate=False)
        newer = (self.site.repository.root / MANIFEST).read_text()
        new = self._commit(newer, self.releasing)
        self._adopt(old, new)

    def _commit(self, template: str, names: Sequence[str]) -> str:
        root = self.site.repository.root
        folder = root / "manifests" / "crowd"
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / f"{name}.yaml").write_text(template.replace(f"name: {NAME}", f"name: {name}", 1))
        self.site.repository._commit("a crowd")
        self.site.repository.git("push", "-q", "origin", "main")
        return self.site.repository.git("rev-parse", "HEAD")

    def _adopt(self, old: str, new: str) -> None:
        world = self.site.world
        before = Workspace(world.manifests.at(old), world.documents)
        after = Workspace(world.manifests.at(new), world.documents)
        list(before.manifest_paths()), list(after.manifest_paths())
        models, routes = {}, {}
        policy = None
        for name in self.names:
            path = PurePosixPath(f"manifests/crowd/{name}.yaml")
            manifest = before.manifest(path)
            stable = version_of(manifest, old)
            if not models:
                self._lay_down(manifest.value)
            models[stable.served_name] = str(world.shelf.folder(stable.served_name))
            book = Book(world.ledger, name, SIGNATURE)
            book.add(Adopted, world.clock.now(), stable=stable)
            candidate: Version | None = None
            if name in self.releasing:
                located = after.manifest(path)
                candidate = version_of(located, new)
                policy = policy or read_policy(world, located.value, old)
                self._walk_to_ten(book, candidate, stable, policy, old)
                models[candidate.served_name] = str(world.shelf.folder(candidate.served_name))
            routes[name] = Route(
                flag=world.environment.flag_key(name),
                stable=stable.served_name,
                candidate=candidate.served_name if candidate else None,
                min_flag_version=1 if candidate else 0,
                max_flag_age_s=world.environment.flags.max_age_s,
            )
        self.site.replica._write({**self.site.replica._read(), **models})
        world.routes.update(lambda known: _with_all(known, routes))

    def _lay_down(self, manifest: object) -> None:
        self.site.world.shelf.lay_down(manifest)  # type: ignore[arg-type]

    def _walk_to_ten(
        self, book: Book, candidate: Version, stable: Version, policy: object, commit: str
    ) -> None:
        world, now = self.site.world, self.site.clock.now()
        golden = policy.golden  # type: ignore[attr-defined]
        report = world.evidence.put(report_on(candidate, golden).content)
        book.add(
            Evaluated,
            now,
            identity=candidate.identity,
            served_name=candidate.served_name,
            champion=stable.identity,
            outcome=Outcome.PASS,
            report=report,
            suite_digest=golden.suite_digest,
            gates_digest=golden.gates_digest,
        )
        key = world.environment.flag_key(book.name)
        flag = world.flags.create(key, by="ann")
        edge = world.metrics.edge()
        book.add(
            Started,
            now,
            candidate=candidate,
            plan="demo",
            policy_commit=commit,
            phase=Phase.CANARY,
            flag_version=flag.version,
            edge=edge,
            report=report,
            cohort=flag.cohort,
        )
        ten = Share.parse("10%")
        book.add(
            Intended, now, step=0, share=ten, turn_on=True, flag_version=flag.version, reason="on to 10%"
        )
        flag = world.flags.write(key, ten, turn_on=True, expect_version=None, by="ann", comment="")
        book.add(Shifted, now, step=0, share=ten, flag_version=flag.version, edge=edge)

    def serve(self) -> None:
        """Traffic of every release since its last look."""
        log = TrafficLogRecorder(self.site.repository.state / "traffic.sqlite")
        for name in self.releasing:
            state = Book(self.site.world.ledger, name, SIGNATURE).state
            assert state.stable is not None
            assert state.candidate is not None
            for served, number in zip((state.stable, state.candidate), _REQUESTS, strict=True):
                for each in range(number):
                    made = record(
                        f"{name}-{served.version}-{each}-{time.monotonic_ns()}",
                        served.served_name,
                        key=f"{served.version}-{each}",
                        flag_version=state.flag_version,
                    )
                    log.record(replace(made, name=name))
        log.close()


def _with_all(known: object, routes: dict[str, Route]) -> object:
    for name, route in routes.items():
        known = with_route(known, name, route)  # type: ignore[arg-type]
    return known


class EveryKey(PaperGateway):
    """A gateway that has heard of every flag."""

    def status(self) -> GatewayStatus:
        return replace(super().status(), flag_versions=_All())


class _All(dict[str, int]):
    def get(self, key: str, default: object = None) -> int:  # type: ignore[override]
        return 1_000_000


def _measure(adapters: int, releases: int) -> float:
    folder = Path(tempfile.mkdtemp(prefix="fleet-"))
    try:
        began = time.perf_counter()
        crowd = Crowd(folder, adapters, releases)
        site = crowd.site
        gateway = EveryKey(site.gateway._flags, site.gateway._routes, site.key)
        world = replace(site.world, gateways=(gateway,))
        click.echo(
            f"\n{adapters:,} adapters, {releases} at 10 % (made in {time.perf_counter() - began:.0f} s)"
        )
        took = 0.0
        for turn in ("first tick", "second tick"):
            crowd.serve()
            site.clock.time += timedelta(seconds=1)
            began = time.perf_counter()
            fleet = muster(world)
            mustered = time.perf_counter() - began
            ended = list(advance_all(fleet, signature=SIGNATURE, gatekeeper=lambda *_: None))
            took = time.perf_counter() - began
            moves = Counter(str(each.tick.move) if each.tick else f"failed: {each.error}" for each in ended)
            told = ", ".join(f"{number} {move}" for move, number in moves.most_common(4))
            click.echo(f"  {turn:<12} {took:6.2f} s, of which the picture {mustered:.2f} s; {told}")
        return took
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@click.command()
@click.option("--adapters", default="1000", show_default=True, help="Sizes, with commas.")
@click.option("--releases", default=50, show_default=True)
def main(adapters: str, releases: int) -> None:
    """Print the time of one tick over fleets of several sizes."""
    took = {size: _measure(size, releases) for size in map(int, adapters.split(","))}
    first = next(iter(took))
    for size, seconds in list(took.items())[1:]:
        click.echo(f"\n{size / first:.0f} times as many adapters: {seconds / took[first]:.1f} times the time")


if __name__ == "__main__":
    main()
