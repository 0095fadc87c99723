"""What all tests share: no answer that another test kept is taken."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _answers_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    monkeypatch.setenv("ROLLOUT_CACHE", str(folder))
    return folder
