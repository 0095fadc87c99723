"""What any RoutesStore must do: the file, one gateway, and several with files of their own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rollout.core.routes import Route, Routes, with_route
from rollout.errors import ServingUnavailable, WorldChanged
from rollout.integrations.gateways import GatewayClient, GatewayRoutes
from rollout.integrations.routesfile import RoutesFile
from rollout.ports import RoutesStore
from tests.support.gateway import NAME, routes
from tests.support.remote import pages_client, silent


def _file(root: Path) -> RoutesStore:
    return RoutesFile(root / "routes.json", "test")


def _gateway(root: Path) -> RoutesStore:
    return GatewayRoutes([pages_client(root)], "test")


def _sharing(root: Path) -> RoutesStore:
    """Two gateways over one file, as on one machine."""
    return GatewayRoutes([pages_client(root, name=name) for name in ("g0", "g1")], "test")


def _apart(root: Path) -> RoutesStore:
    """Three gateways with files of their own."""
    return GatewayRoutes([pages_client(root / name, name=name) for name in ("g0", "g1", "g2")], "test")


STORES: dict[str, Callable[[Path], RoutesStore]] = {
    "file": _file,
    "gateway": _gateway,
    "gateways-sharing": _sharing,
    "gateways-apart": _apart,
}


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RoutesStore:
    return STORES[request.param](tmp_path)


def test_nothing_yet_is_an_empty_document(store: RoutesStore) -> None:
    assert store.read() == Routes(environment="test", revision=0, routes={})


def test_what_is_written_is_read_back(store: RoutesStore) -> None:
    written = routes(3, mirror="12.5%", min_flag_version=4, max_flag_age_s=2.5)
    assert store.update(lambda _: written) == written
    assert store.read() == written


def test_a_change_sees_what_is_there_and_its_result_is_returned(store: RoutesStore) -> None:
    store.update(lambda _: routes(3))
    seen = []

    def change(present: Routes) -> Routes:
        seen.append(present)
        return with_route(present, NAME, None)

    after = store.update(change)
    assert seen == [routes(3)]
    assert (after.revision, after.routes) == (4, {})


def test_the_very_same_document_is_no_change(store: RoutesStore) -> None:
    store.update(lambda _: routes(3))
    assert store.update(lambda present: present) == routes(3)
    assert store.read().revision == 3


@pytest.mark.parametrize("revision", [2, 3])
def test_a_late_writer_is_refused_and_changes_nothing(store: RoutesStore, revision: int) -> None:
    store.update(lambda _: routes(3))
    with pytest.raises(WorldChanged, match=f"at revision 3, so revision {revision} is too late"):
        store.update(lambda _: routes(revision, candidate=None))
    assert store.read() == routes(3)


def test_no_change_of_many_writers_at_once_is_lost(store: RoutesStore) -> None:
    names = [f"bot-{number}" for number in range(4)]

    def add(name: str) -> None:
        route = Route(flag="f", stable="s", candidate=name)
        for _ in range(20):
            try:
                store.update(lambda present: with_route(present, name, route))
                return
            except WorldChanged:
                continue  # too many were faster: what a person would do
        raise AssertionError("it never got through")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(add, names))
    found = store.read()
    assert sorted(found.routes) == names
    assert found.revision == len(names)


# Gateways that come and go


def over(root: Path, *revisions: int) -> tuple[GatewayRoutes, list[GatewayClient]]:
    """Gateways with files of their own, each at a revision; 0 is none."""
    for number, revision in enumerate(revisions):
        if revision:
            _file(root / f"g{number}").update(lambda _, it=revision: routes(it, candidate=f"candidate-{it}"))  # type: ignore[misc]
    clients = [pages_client(root / f"g{number}", name=f"g{number}") for number in range(len(revisions))]
    return GatewayRoutes(clients, "test"), clients


def test_what_was_seen_is_not_gone_back_behind_while_who_holds_it_is_away(tmp_path: Path) -> None:
    store, (home, other) = over(tmp_path, 5, 9)
    newest = store.read()
    assert newest == routes(9, candidate="candidate-9")
    with silent(other):
        assert home.routes().revision == 5
        assert store.read() == newest
        with pytest.raises(ServingUnavailable, match="gateway g1"):
            store.update(lambda present: with_route(present, "another", present.routes[NAME]))
    assert store.read() == home.routes()
    assert (home.routes().revision, sorted(home.routes().routes)) == (10, ["another", NAME])


def test_an_empty_home_is_not_the_beginning_while_another_gateway_is_away(tmp_path: Path) -> None:
    store, (home, other) = over(tmp_path, 0, 7)
    with silent(other):
        with pytest.raises(ServingUnavailable, match="gateway g0 has no routes, and another may have some"):
            store.read()
        with pytest.raises(ServingUnavailable, match="gateway g0 has no routes, and another may have some"):
            store.update(lambda present: with_route(present, NAME, routes().routes[NAME]))
    assert (home.routes().revision, store.read().revision) == (0, 7)


def test_two_documents_of_one_revision_are_told_of_though_one_was_seen_before(tmp_path: Path) -> None:
    store, (home, _) = over(tmp_path, 5, 9)
    store.read()
    home.put_routes(routes(9, candidate="another"))
    with pytest.raises(WorldChanged, match="hold different routes of revision 9"):
        store.read()
