"""A bare remote whose branch takes no pushes, as GitHub's do not, and the merges that its forge does itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

_CLASSIC = """\
error: GH006: Protected branch update failed for refs/heads/main.
error: Changes must be made through a pull request."""
_RULESET = """\
error: GH013: Repository rule violations found for refs/heads/main.

- Changes must be made through a pull request."""
_HOOK = """\
#!/bin/sh
while read old new reference; do
  if [ "$reference" = refs/heads/main ]; then
    cat >&2 <<'SAID'
{said}
SAID
    exit 1
  fi
done
"""


class Remote:
    """A bare repository. `protect` makes it refuse pushes to main; the forge moves it without a push."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def protect(self, *, ruleset: bool = False) -> None:
        """From now on main takes no push."""
        hook = self.folder / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(_HOOK.format(said=_RULESET if ruleset else _CLASSIC))
        hook.chmod(0o755)

    def unprotect(self) -> None:
        """From now on it takes them."""
        (self.folder / "hooks" / "pre-receive").unlink()

    def tip(self, branch: str) -> str | None:
        """The commit of a branch, None if there is none."""
        found = self._try("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")
        return None if found is None else found.strip()

    def read(self, path: object, branch: str = "main") -> bytes:
        """A file of a branch."""
        return subprocess.run(
            self._command("show", f"{branch}:{path}"), capture_output=True, check=True
        ).stdout

    def changed(self, base: str, head: str) -> list[str]:
        """The files that a pull request changes: since its branch left the base."""
        return self.git("diff", "--name-only", f"{base}...{head}").split()

    def parents(self, commit: str) -> list[str]:
        """Those of a commit."""
        return self.git("rev-list", "--parents", "-n1", commit).split()[1:]

    def conflicts(self, base: str, head: str) -> bool:
        """Whether they cannot be merged."""
        return self._try("merge-tree", "--write-tree", base, head) is None

    def is_merged(self, base: str, head: str) -> bool:
        """Whether nothing of a branch is missing in another."""
        return self._try("merge-base", "--is-ancestor", head, base) is not None

    def squash(self, base: str, head: str, message: str) -> str:
        """Merge a commit into a branch as one commit; the hook does not see it."""
        tip = str(self.tip(base))
        tree = self.git("merge-tree", "--write-tree", tip, head).split()[0]
        commit = self.git(
            "-c", "user.name=forge", "-c", "user.email=f@f", "commit-tree", tree, "-p", tip, "-m", message
        )
        self.git("update-ref", f"refs/heads/{base}", commit.strip(), tip)
        return commit.strip()

    def git(self, *words: str) -> str:
        """A git command in it."""
        return subprocess.run(self._command(*words), capture_output=True, text=True, check=True).stdout

    def _try(self, *words: str) -> str | None:
        done = subprocess.run(self._command(*words), capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else None

    def _command(self, *words: str) -> list[str]:
        return ["git", "--git-dir", str(self.folder), *words]
