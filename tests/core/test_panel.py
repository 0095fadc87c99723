from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rollout.core.panel import Judge, LmEval, Panel, PinnedFolder, Task

SHA = "0" * 64


def test_a_suite_without_a_panel_asks_nobody() -> None:
    panel = Panel()
    assert panel.tasks == ()
    assert not any(value for _, value in panel)


@pytest.mark.parametrize(
    "url",
    ["https://judge.example/v1", "http://127.0.0.1:8000/v1", "http://localhost:1/v1/", "http://[::1]:80/v1"],
)
def test_a_judge_is_reached_safely_or_on_this_machine(url: str) -> None:
    assert Judge(url=url, model="m").url == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://judge.example/v1", "only for servers on this machine"),
        ("http://127.0.0.1.example/v1", "only for servers on this machine"),
        ("http://localhost@judge.example/v1", "no user"),
        ("https://user:word@judge.example/v1", "no user"),
        ("https://judge.example/v1?key=1", "query"),
        ("ftp://judge.example", "https"),
        ("file:///etc/passwd", "https"),
        ("https://", "https"),
        ("https://judge.example/v1 ", "pattern"),
        ("https://[::1", "."),
    ],
)
def test_other_urls_are_refused(url: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Judge(url=url, model="m")


@pytest.mark.parametrize("path", ["models/minilm", "/opt/models/minilm", ".cache/models", "a"])
def test_a_folder_lies_below_the_repository_or_is_absolute(path: str) -> None:
    assert PinnedFolder(path=path, sha256=SHA).path == path


@pytest.mark.parametrize(
    "path", ["../m", "a/../../m", "a//b", "a/", "", "-x", "a/-x", "~/m", "a\\b", "a/./b", "/", "/.."]
)
def test_a_folder_never_leads_elsewhere(path: str) -> None:
    with pytest.raises(ValidationError, match="path"):
        PinnedFolder(path=path, sha256=SHA)


def test_a_folder_is_always_pinned() -> None:
    with pytest.raises(ValidationError, match="sha256"):
        PinnedFolder.model_validate({"path": "models/minilm"})


def task(**changes: Any) -> dict[str, Any]:
    return {"name": "mmlu_law", "samples": [0, 3], **changes}


def test_a_task_has_documents_of_its_own_choice_and_a_metric_of_its_own() -> None:
    assert Task.model_validate(task()).metric_id == "task_mmlu_law"
    with pytest.raises(ValidationError, match="samples"):
        Task.model_validate(task(samples=[]))
    with pytest.raises(ValidationError, match="twice"):
        Task.model_validate(task(samples=[1, 1]))


def test_tasks_come_once_and_a_server_has_an_address() -> None:
    with pytest.raises(ValidationError, match="named twice"):
        LmEval.model_validate({"tasks": [task(), task()]})
    with pytest.raises(ValidationError, match="needs a url"):
        LmEval.model_validate({"tasks": [task()], "backend": "server"})
    with pytest.raises(ValidationError, match="needs a url"):
        LmEval.model_validate({"tasks": [task()], "url": "https://a.example/v1"})


@pytest.mark.parametrize("python", ["python3", "venv/bin/python", "../python", "/usr/bin/../python"])
def test_an_interpreter_is_named_in_full(python: str) -> None:
    """A relative one could be a file that a change brings along."""
    with pytest.raises(ValidationError, match="python"):
        LmEval.model_validate({"tasks": [task()], "python": python})
