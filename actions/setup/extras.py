"""What install.sh asks a Python: which extras there are, where its packages lie, and what an extra still lacks."""

from __future__ import annotations

import site
import sys
import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

PACKAGE = "adapter-rollout"


def known(root: str, *names: str) -> str:
    """A complaint about the first name that is no extra in the pyproject.toml of `root`; empty if all are."""
    there = _extras(root)
    unknown = [name for name in names if name not in there]
    return f"input extras: there is no extra {unknown[0]}: {', '.join(sorted(there))}" if unknown else ""


def path() -> str:
    """Lines of a `.pth` file that let another environment of this very interpreter see this one's packages."""
    folders = site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])
    return "\n".join(f"import site; site.addsitedir({folder!r})" for folder in folders)


def missing(root: str, *names: str) -> str:
    """A complaint about what these extras ask for and nobody has installed in a fitting version; empty if all is there."""
    # The other questions are asked of a Python that may have no pip.
    from pip._vendor.packaging.requirements import Requirement

    lacking: list[str] = []
    extras, asked = _extras(root), list(names)
    for extra in asked:
        for each in map(Requirement, extras[extra]):
            if each.name == PACKAGE:
                asked += [further for further in sorted(each.extras) if further not in asked]
                continue
            try:
                version = metadata.version(each.name)
            except metadata.PackageNotFoundError:
                lacking.append(f"{each.name}{each.specifier}")
                continue
            if not each.specifier.contains(version, prereleases=True):
                lacking.append(f"{each.name}{each.specifier} (it has {version})")
    if not lacking:
        return ""
    return f"input extras: the Python that input python names lacks {', '.join(lacking)}: install it there"


def _extras(root: str) -> dict[str, list[str]]:
    project = tomllib.loads(Path(root, "pyproject.toml").read_text("utf-8"))["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    return extras


def main(words: Sequence[str]) -> int:
    """Print the answer. The status is 1 where it is a complaint."""
    question = {"known": known, "path": path, "missing": missing}[words[0]]
    answer = question(*words[1:])
    print(answer)
    return 1 if answer and question is not path else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
