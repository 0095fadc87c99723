"""Where the runbooks lie, and reading them."""

from __future__ import annotations

from pathlib import Path

from rollout.core.runbook import Page, nearest, read_page
from rollout.errors import Unreadable, Usage


def folder() -> Path:
    """A wheel brings the pages inside the package; a working copy has them beside it."""
    package = Path(__file__).parents[1]
    inside = package / "runbooks"
    return inside if inside.is_dir() else package.parent / "runbooks"


def pages() -> list[Page]:
    """All of them, by code. Raises Unreadable where there is none."""
    found = [read_page(path.stem, path.read_text("utf-8")) for path in sorted(folder().glob("*.md"))]
    if not found:
        raise Unreadable(f"there are no runbooks at {folder()}", advice="Install adapter-rollout anew.")
    return found


def page(code: str) -> Page:
    """The page of a code. Raises Usage, with the nearest ones, for a code that there is not."""
    found = {each.code: each for each in pages()}
    if code in found:
        return found[code]
    near = nearest(code, {each.code: each.title for each in found.values()})
    advice = f"The nearest: {', '.join(near)}. " if near else ""
    raise Usage(f"there is no runbook {code!r}", advice=f"{advice}`rollout runbook` lists them all.")


def path_of(code: str) -> Path:
    """The file of a page."""
    return folder() / f"{code}.md"
