"""The routes that a branch's ledgers lead to, in the very commits that lead there: `routes/<environment>.json`.

For whoever wants to know from git alone which version is stable and which is candidate. Gateways read the document in
`routes` of the environment, which also holds what no ledger tells: mirroring, and what answers must look like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath

from rollout.core.lifecycle import RolloutState
from rollout.core.routes import Route, Routes, with_route
from rollout.errors import Unavailable
from rollout.integrations.ledger.lines import is_name
from rollout.orphan.objects import Change, Git

FOLDER = PurePosixPath("routes")

RouteOf = Callable[[str, RolloutState], Route]


class Published:
    """The document of one environment, derived anew wherever it is not there, or is none."""

    def __init__(self, git: Git, environment: str, route_of: RouteOf) -> None:
        self._git = git
        self._environment = environment
        self._route_of = route_of
        self.path = FOLDER / f"{environment}.json"

    def change(
        self,
        tip: str | None,
        name: str,
        state: RolloutState,
        others: Callable[[], Mapping[str, RolloutState]],
    ) -> Iterable[Change]:
        """What a commit behind `tip` must do for it to follow a state; nothing where it does."""
        present = self._at(tip)
        routes = self._derived(others()) if present is None else present
        if _is_released(state) or name in routes.routes:
            routes = with_route(routes, name, self._route_of(name, state))
        if routes == present:
            return ()
        content = routes.model_dump_json(by_alias=True, indent=2).encode() + b"\n"
        return (Change(folder=FOLDER, files={self.path.name: content}),)

    def tells(self, tip: str, states: Mapping[str, RolloutState]) -> bool:
        """Whether it says of all of them what they lead to; one that is not there says nothing wrong."""
        if (present := self._at(tip)) is None:
            return self._content(tip) is None
        slots = {name: (route.stable, route.candidate) for name, route in present.routes.items()}
        derived = self._derived(states).routes
        return all(slots.get(name) == (route.stable, route.candidate) for name, route in derived.items())

    def _derived(self, states: Mapping[str, RolloutState]) -> Routes:
        known = {name: self._route_of(name, state) for name, state in states.items() if _is_released(state)}
        return Routes(environment=self._environment, revision=0, routes=known)

    def _at(self, tip: str | None) -> Routes | None:
        try:
            routes = Routes.model_validate_json(self._content(tip) or b"", strict=True)
        except ValueError:
            return None
        return routes if routes.environment == self._environment else None

    def _content(self, tip: str | None) -> bytes | None:
        try:
            return self._git.run("cat-file", "blob", f"{tip}:{self.path}") if tip else None
        except Unavailable:
            return None


def is_published(path: PurePosixPath) -> bool:
    """Whether a file of the branch is called as the routes of an environment are."""
    return path.parent == FOLDER and path.suffix == ".json" and is_name(path.stem)


def _is_released(state: RolloutState) -> bool:
    return state.stable is not None or state.candidate is not None
