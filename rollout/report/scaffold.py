"""What `init` did, what is left to a human, and what to do next."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from rollout.usecases.scaffold import Fate, Placed, Profile

_BLANK = re.compile(r"\bTODO: *(.*?)\"?$")
_MANY = 12


def as_text(
    profile: Profile, placed: Sequence[Placed], *, folder: str, dry_run: bool, above: str | None = None
) -> str:
    """Every file or, where there are many of one fate in a folder, their number; then what comes next.

    `above` is the git repository that the folder lies in without being its root.
    """
    lines = [*_fates(placed, grouped=not dry_run), "", _summary(profile, placed, folder, dry_run)]
    lines += _notes(placed, above)
    if not dry_run:
        steps = _next(profile, folder, in_git=above is None)
        lines += [*_left(placed), "", "Next:", *(f"  {line}" for line in steps)]
    return "\n".join(lines) + "\n"


def _fates(placed: Sequence[Placed], *, grouped: bool) -> Iterator[str]:
    crowd = Counter((each.fate, _folder(each)) for each in placed) if grouped else Counter()
    shown: set[tuple[Fate, str]] = set()
    for each in placed:
        group = (each.fate, _folder(each))
        if each.fate is Fate.KEPT or crowd[group] <= _MANY:
            yield f"{each.fate.value:<13}  {each.file.path}"
        elif group not in shown:
            shown.add(group)
            yield f"{each.fate.value:<13}  {_folder(each)}/  ({crowd[group]} files)"


def _folder(placed: Placed) -> str:
    return "/".join(placed.file.path.parts[:-1][:2])


def _summary(profile: Profile, placed: Sequence[Placed], folder: str, dry_run: bool) -> str:
    count = Counter(each.fate for each in placed)
    parts = ", ".join(f"{count[fate]} {fate.value}" for fate in Fate if count[fate])
    would = "would be " if dry_run else ""
    return f"{folder}: profile {profile.name} ({profile.summary}); {would}{parts}"


def _notes(placed: Sequence[Placed], above: str | None) -> Iterator[str]:
    kept = [each.file.path for each in placed if each.fate is Fate.KEPT]
    rules = [path.parent.name for path in kept if path.name == "rule.yaml"]
    if rules:
        yield f"note: {len(kept)} files were kept as they are; these rules keep their severity: {', '.join(rules)}"
    if above is not None:
        yield (
            f"note: this folder lies below the root of a git repository, {above}: `rollout validate --base BRANCH`, and all "
            "that reads policies from git, does not work here. Run `rollout init` at the root, or `git init` here first."
        )


def _left(placed: Sequence[Placed]) -> Iterator[str]:
    """The blanks in what is there now as it was planned; other files are nobody's business."""
    found = [
        f"  {each.file.path}:{number}: {match[1]}"
        for each in placed
        if each.fate in (Fate.CREATED, Fate.THERE) and not each.file.appended
        for number, line in enumerate(each.file.content.decode(errors="replace").splitlines(), start=1)
        if (match := _BLANK.search(line))
    ]
    if found:
        yield from ("", "Left to you:", *found)


def _next(profile: Profile, folder: str, *, in_git: bool) -> Iterator[str]:
    if folder != ".":
        yield f"cd {folder}"
    yield "rollout manifest new ADAPTER_DIR --team TEAM"
    yield "rollout validate"
    if in_git:
        yield f"rollout evaluate manifests/TEAM/NAME.yaml --environment {profile.environment} --champion none"
