"""What has to be true of a release before it goes out, and which moving tag follows it. Needs Python 3.11 and no package.

release.py check TAG            the tag, pyproject.toml and the package name one version, and the changelog has it
release.py notes TAG            its section of the changelog
release.py files FOLDER TAG     FOLDER holds one sdist and one wheel of it, with what they must and nothing else
release.py major TAG < TAGS     the tag that moves to it (v1), or nothing where a newer release of it is out
"""

from __future__ import annotations

import hashlib
import re
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable, Sequence
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
TAG = re.compile(r"v(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})(rc[1-9]\d?)?")
NAME = "adapter_rollout"
FOLDERS = ("rollout", f"{NAME}-{{version}}.dist-info")
# One file of each kind that is not Python: what `rollout init`, `rollout runbook` and the pages of reports are made of.
NEEDED = (
    *("rollout/__main__.py", "rollout/py.typed", "rollout/actions/__main__.py"),
    *("rollout/policies/alerts/rollout.yaml", "rollout/policies/rules/fresh-data/rule.yaml"),
    *("rollout/runbooks/inputs-unreadable.md", "rollout/scaffold/profiles/balanced.yaml"),
    *("rollout/demo/model/artifacts/base/config.json",),
)
LARGEST = 20 * 2**20


class Refused(Exception):
    """Why nothing is released."""


def version_of(tag: str) -> str:
    """`0.8.0` of `v0.8.0`. Raises Refused."""
    if not TAG.fullmatch(tag):
        raise Refused(f"{tag[:60]!r} is no tag of a release: v1.2.3, or v1.2.3rc1")
    return tag[1:]


def check(tag: str, root: Path = ROOT) -> None:
    """Raises Refused unless the tag, pyproject.toml, the package and the changelog say the same."""
    version = version_of(tag)
    declared = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    told = re.findall(r'^__version__ = "(.*)"$', (root / "rollout/__init__.py").read_text("utf-8"), re.M)
    if declared != version or told != [version]:
        raise Refused(f"the tag says {version}, pyproject.toml {declared}, rollout.__version__ {told}")
    notes(tag, root)


def notes(tag: str, root: Path = ROOT) -> str:
    """The section of the changelog, without its heading. Raises Refused if it is not there, empty or not released."""
    version = version_of(tag)
    final = version.partition("rc")[0]
    text = (root / "CHANGELOG.md").read_text("utf-8")
    sections = re.split(r"^## +", text, flags=re.M)[1:]
    found = [each.partition("\n") for each in sections if each.split()[:1] in ([version], [final])]
    if len(found) != 1:
        raise Refused(f"CHANGELOG.md has {len(found)} sections of {version}: it takes one")
    heading, _, body = found[0]
    if "unreleased" in heading and version == final:
        raise Refused(f"CHANGELOG.md still says that {version} is unreleased")
    if not body.strip():
        raise Refused(f"CHANGELOG.md says nothing about {version}")
    return body.strip() + "\n"


def files(folder: Path, tag: str) -> list[str]:
    """Lines for `sha256sum --check`. Raises Refused for anything that is missing, or that nobody asked for."""
    version = version_of(tag)
    wheel, sdist = f"{NAME}-{version}-py3-none-any.whl", f"{NAME}-{version}.tar.gz"
    found = sorted(path.name for path in folder.iterdir())
    if found != sorted((wheel, sdist)):
        raise Refused(f"{folder} holds {', '.join(found) or 'nothing'}: it takes {wheel} and {sdist}")
    _check_wheel(folder / wheel, version)
    _check_sdist(folder / sdist, version)
    return [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in found]


def major(tag: str, tags: Iterable[str]) -> str:
    """`v1` if nothing newer of it is out, `` otherwise and for what comes before a release."""
    version_of(tag)
    mine = TAG.fullmatch(tag)
    others = [found for each in tags if (found := TAG.fullmatch(each.strip()))]
    if mine is None or mine[4]:
        return ""
    newer = [
        each for each in others if not each[4] and each[1] == mine[1] and _numbers(each) > _numbers(mine)
    ]
    return "" if newer else f"v{mine[1]}"


def _numbers(tag: re.Match[str]) -> tuple[int, int, int]:
    return int(tag[1]), int(tag[2]), int(tag[3])


def _check_wheel(file: Path, version: str) -> None:
    with zipfile.ZipFile(file) as wheel:
        names = wheel.namelist()
        headers = HeaderParser().parsestr(wheel.read(f"{NAME}-{version}.dist-info/METADATA").decode())
    if (headers["Name"], headers["Version"]) != ("adapter-rollout", version):
        raise Refused(f"{file.name} says that it is {headers['Name']} {headers['Version']}")
    tops = {each.format(version=version) for each in FOLDERS}
    _refuse(file, "holds", [name for name in names if PurePosixPath(name).parts[0] not in tops])
    _check_names(file, names)
    _refuse(file, "lacks", [name for name in NEEDED if name not in names])


def _check_sdist(file: Path, version: str) -> None:
    with tarfile.open(file) as sdist:
        members = sdist.getmembers()
    names = [member.name for member in members]
    top = f"{NAME}-{version}"
    _refuse(
        file, "holds links", [member.name for member in members if not (member.isfile() or member.isdir())]
    )
    _refuse(file, "holds", [name for name in names if PurePosixPath(name).parts[:1] != (top,)])
    _check_names(file, names)
    needed = ("pyproject.toml", "PKG-INFO", "LICENSE", "rollout/__init__.py", "policies/README.md")
    _refuse(file, "lacks", [name for name in needed if f"{top}/{name}" not in names])


def _check_names(file: Path, names: Sequence[str]) -> None:
    """Nothing outside, twice, compiled, or left over from work; nothing so large that it is there by mistake."""
    _refuse(file, "holds twice", sorted({name for name in names if names.count(name) > 1}))
    strange = re.compile(
        r"(^|/)(\.\.|\.git|\.venv|\.env|\.rollout|__pycache__|[^/]*\.(pyc|pem|key|log))(/|$)|^/|\\"
    )
    _refuse(file, "holds", [name for name in names if strange.search(name)])
    if file.stat().st_size > LARGEST:
        raise Refused(f"{file.name} has {file.stat().st_size} bytes, more than {LARGEST}")


def _refuse(file: Path, what: str, names: Sequence[str]) -> None:
    if names:
        raise Refused(f"{file.name} {what} {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}")


def main(words: Sequence[str]) -> int:
    """Exit status 1 for a release that must not go out, 2 for other words than those above."""
    try:
        match words:
            case ["check", tag]:
                check(tag)
            case ["notes", tag]:
                sys.stdout.write(notes(tag))
            case ["files", folder, tag]:
                print("\n".join(files(Path(folder), tag)))
            case ["major", tag]:
                print(major(tag, sys.stdin))
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except Refused as why:
        print(f"::error title=release::{why}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
