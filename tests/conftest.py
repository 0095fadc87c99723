"""What all tests share: the order of their files, and that no answer is taken that another test kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_LONGEST_FIRST = (
    "workflows/test_release.py",
    "e2e/test_runbook_commands.py",
    "usecases/test_kill.py",
    "e2e/test_drill.py",
    "usecases/test_race.py",
    "e2e/test_demo.py",
    "contracts/test_engine.py",
    "e2e/test_journey.py",
    "usecases/test_advance.py",
    "workflows/test_selftest.py",
    "workflows/test_gate.py",
    "e2e/test_data_plane.py",
    "usecases/test_evaluate_model.py",
    "e2e/test_launchdarkly.py",
    "integrations/test_vllm_engine.py",
    "e2e/test_evaluation.py",
    "contracts/test_vllm_server.py",
    "e2e/test_remote.py",
)
"""The files that take minutes, those that run a whole environment in turn with others.

Each belongs to one worker (`--dist loadfile`): one that is begun last keeps it busy when the others are done.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {_HERE / name: place for place, name in enumerate(_LONGEST_FIRST)}
    assert all(path.is_file() for path in places), "a file of _LONGEST_FIRST is not there any more"
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(autouse=True, scope="session")
def _repositories_without_samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Git puts fourteen samples of hooks into each new repository, and every copy of one would take them along."""
    template = tmp_path_factory.mktemp("template")
    for folder in ("hooks", "info"):
        (template / folder).mkdir()
    (template / "info" / "exclude").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_TEMPLATE_DIR", str(template))
        yield


@pytest.fixture(autouse=True)
def _answers_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    monkeypatch.setenv("ROLLOUT_CACHE", str(folder))
    return folder
