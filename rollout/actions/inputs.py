"""What a workflow gives an action: `ROLLOUT_INPUT_<NAME>` in the environment, never part of a command line.

All of it may be hostile: a branch, a title, a body of an alert. Every value is checked before anything is done, and
what is wrong is told by the input's own name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rollout.core.manifest import NAME_PATTERN
from rollout.core.plain import plain
from rollout.errors import Usage

PREFIX = "ROLLOUT_INPUT_"
_LONGEST = 2000
_SHORT = 60
_NAME = re.compile(NAME_PATTERN)
_REF = re.compile(r"(?!-)(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/@^~{}-]{0,199}")
_PATH = re.compile(r"(?!-)[^\x00-\x1f\x7f]{1,400}")
_VERSION = re.compile(r"base|[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}([-+][0-9A-Za-z.+-]{1,64})?")
_SHARD = re.compile(r"[1-9][0-9]{0,2}/[1-9][0-9]{0,2}")


class Inputs:
    """The inputs of one action by their names in `action.yml`. What is empty was not given."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str, *, default: str = "") -> str:
        """A line of text."""
        value = self._given(name)
        return plain(value, _LONGEST, nothing=default) if value else default

    def name(self, name: str) -> str | None:
        """The name of an adapter or an environment: a-z, 0-9 and -, at most 63."""
        return self._matched(name, _NAME, "is no name: a-z, 0-9 and -, at most 63")

    def ref(self, name: str) -> str | None:
        """A commit, a branch or a tag."""
        return self._matched(name, _REF, "is no commit, branch or tag")

    def shard(self, name: str) -> str | None:
        """A part of the work, `2/8`."""
        value = self._matched(name, _SHARD, "is no part like 2/8")
        if value is not None and int(value.partition("/")[0]) > int(value.partition("/")[2]):
            raise self._wrong(name, value, "is no part like 2/8")
        return value

    def paths(self, name: str) -> list[str]:
        """Paths, one a line."""
        lines = [line.strip() for line in (self._given(name) or "").splitlines()]
        for line in filter(None, lines):
            if not _PATH.fullmatch(line):
                raise self._wrong(name, line, "is no path")
        return [line for line in lines if line]

    def flag(self, name: str, *, default: bool) -> bool:
        """`true` or `false`."""
        return self.choice(name, ("true", "false"), default="true" if default else "false") == "true"

    def choice(self, name: str, known: Sequence[str], *, default: str) -> str:
        """One of a few words."""
        value = self._given(name) or default
        if value not in known:
            raise self._wrong(name, value, f"is none of {', '.join(known)}")
        return value

    def number(self, name: str, *, most: int) -> int | None:
        """A whole number from 1 on."""
        value = self._given(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdecimal() and len(value) < 10 and 1 <= int(value) <= most):
            raise self._wrong(name, value, f"is no number from 1 to {most}")
        return int(value)

    def version(self, name: str) -> str | None:
        """A version like 1.2.3, or `base`."""
        return self._matched(name, _VERSION, "is no version like 1.2.3, and not `base`")

    def body(self, name: str) -> str | None:
        """A whole document as it was sent, such as an alert; what it says is checked by whoever reads it."""
        return self._given(name)

    def required(self, name: str, value: str | None) -> str:
        """The value of an input that has to be given; runners do not see to that."""
        if value is None or not value:
            raise Usage(f"input `{name}` is missing", advice=f"Give it below `with:` as `{name}: ...`.")
        return value

    def _given(self, name: str) -> str | None:
        return self._environment.get(PREFIX + name.upper().replace("-", "_"), "").strip() or None

    def _matched(self, name: str, form: re.Pattern[str], complaint: str) -> str | None:
        value = self._given(name)
        if value is not None and not form.fullmatch(value):
            raise self._wrong(name, value, complaint)
        return value

    def _wrong(self, name: str, value: str, complaint: str) -> Usage:
        shown = plain(value, _SHORT, nothing="what does not print")
        return Usage(f"input `{name}`: {shown!r} {complaint}", advice="Correct it below `with:`.")
