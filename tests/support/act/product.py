"""The product as act can take it: a copy of this working copy, with what act does not know rewritten."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
SLUG = "adapter-rollout/adapter-rollout"
REF = "v1"
_PARTS = ("actions", "rollout", "policies", "runbooks", ".github", "pyproject.toml", "README.md", "LICENSE")
_OURS = re.compile(r"(uses:\s*[\"']?)\$/([^\s,}\"']+)")
_UNKNOWN = re.compile(
    r"^\s*(queue: max|deployment: (?:true|false))\s*(?:#.*)?\n|,\s*(?:queue: max|deployment: false)", re.M
)
_USES = re.compile(r"uses:\s*[\"']?([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)(?:/[^@\s]*)?@([0-9a-f]{40})")
_OWN_FOLDER = 'venv="$RUNNER_TEMP/'
# act puts the checkout of an action into another folder for each job.
_OWN_KEY = """<(printf '%s\\n' "$root" """
_SHARED_KEY = """<(printf '%s\\n' "the copy" """
_SHARED_FOLDER = 'venv="${ACT_ENGINES:-$RUNNER_TEMP}/'


def copy(folder: Path) -> Path:
    """Copy and rewrite it. Jobs share the engine in ACT_ENGINES, as act gives each a RUNNER_TEMP."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".rollout")
    for part in _PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=ignored)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / part)
    for file in files(folder):
        file.write_text(rewritten(file.read_text()))
    install = folder / "actions/setup/install.sh"
    text = install.read_text()
    assert _OWN_FOLDER in text
    assert _OWN_KEY in text
    install.write_text(text.replace(_OWN_FOLDER, _SHARED_FOLDER).replace(_OWN_KEY, _SHARED_KEY))
    return folder


def rewritten(text: str) -> str:
    """A workflow or an action without what act refuses; it means the same."""
    return _UNKNOWN.sub("", _OURS.sub(rf"\1{SLUG}/\2@{REF}", text))


def files(folder: Path) -> Iterator[Path]:
    """All workflows and actions below a folder."""
    yield from folder.glob("actions/*/action.yml")
    yield from folder.glob(".github/workflows/*.yml")


def pins(*folders: Path) -> set[tuple[str, str]]:
    """Each third-party action that is used below these folders, and its commit."""
    return {
        found for folder in folders for file in files(folder) for found in _USES.findall(file.read_text())
    }
