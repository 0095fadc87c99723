"""The tables of the READMEs below `actions/`, made from each `action.yml` and from `permissions.yaml`.

`python -m actions.readme` writes them between their marks; a test fails where they are not up to date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

FOLDER: Final = Path(__file__).parent
BEGIN: Final = "<!-- tables: begin, made by python -m actions.readme -->\n"
END: Final = "<!-- tables: end -->\n"


def names() -> list[str]:
    """All actions."""
    return sorted(file.parent.name for file in FOLDER.glob("*/action.yml"))


def action(name: str) -> dict[str, Any]:
    """The `action.yml` of an action."""
    data: dict[str, Any] = YAML(typ="safe").load(FOLDER / name / "action.yml")
    return data


def permissions() -> dict[str, dict[str, dict[str, Any]]]:
    """By action and permission: `access`, whether it is `needed` for the verdict, and what it is `for`."""
    data: dict[str, dict[str, dict[str, Any]]] = YAML(typ="safe").load(FOLDER / "permissions.yaml")
    return data


def tables(name: str) -> str:
    """Inputs, outputs and permissions of one action."""
    given, asked = action(name), permissions()[name]
    lines = ["## Inputs", "", "| input | default | what it is |", "|---|---|---|"]
    lines += [
        f"| `{key}` | {_default(each)} | {each['description']} |" for key, each in given["inputs"].items()
    ]
    lines += ["", "## Outputs", "", "| output | what it is |", "|---|---|"]
    lines += [f"| `{key}` | {each['description']} |" for key, each in given["outputs"].items()]
    lines += ["", "## Permissions", ""]
    if not asked:
        return "\n".join([*lines, "None.", ""])
    lines += ["| permission | for | without it |", "|---|---|---|"]
    for key, each in asked.items():
        without = "it fails" if each["needed"] else "a notice says so, and the verdict is the same"
        lines.append(f"| `{key}: {each['access']}` | {each['for']} | {without} |")
    return "\n".join([*lines, ""])


def overview() -> str:
    """All actions in one table."""
    asked = permissions()
    lines = ["| action | what it does | permissions |", "|---|---|---|"]
    for name in names():
        needs = _list(
            f"`{key}: {each['access']}`" + ("" if each["needed"] else "*")
            for key, each in asked[name].items()
        )
        lines.append(f"| [`{name}`]({name}/README.md) | {action(name)['description']} | {needs} |")
    return "\n".join([*lines, "", "\\* for what it shows; without it, the verdict is the same.", ""])


def pages() -> Iterator[tuple[Path, str]]:
    """Each README, and its text as it has to be."""
    yield from ((file, _between(file, text)) for file, text in _made())


def _made() -> Iterator[tuple[Path, str]]:
    yield FOLDER / "README.md", overview()
    yield from ((FOLDER / name / "README.md", tables(name)) for name in names())


def _between(file: Path, text: str) -> str:
    before, _, rest = file.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def _default(given: Mapping[str, Any]) -> str:
    if given.get("required"):
        return "**required**"
    return f"`{given['default']}`" if given["default"] else ""


def _list(words: Iterable[str]) -> str:
    return ", ".join(words) or "none"


if __name__ == "__main__":
    for page, content in pages():
        page.write_text(content, "utf-8")
