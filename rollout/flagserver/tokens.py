"""Tokens of the server: from the environment, or made once and kept in a file that only its owner reads."""

from __future__ import annotations

import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rollout.bearer import token_from
from rollout.errors import Unavailable, Unreadable, Usage
from rollout.flagserver.access import Access, AccessToken

WRITER: Final = "LD_ACCESS_TOKEN"
ROLLBACK: Final = "LD_ROLLBACK_TOKEN"
READER: Final = "LD_READER_TOKEN"
SDK_KEY: Final = "LD_SDK_KEY"
_PREFIXES: Final = {WRITER: "api", ROLLBACK: "api", READER: "api", SDK_KEY: "sdk"}
_LINE: Final = re.compile(r"export ([A-Z_]+)=([!-~]{16,200})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Who may. `kept` says whether any of them lies in the file."""

    access: Access
    kept: bool


def tokens_of(path: Path) -> Tokens:
    """The tokens that the environment gives; those that it does not are read from the file, or made and put there.

    Raises Usage for variables that hold no tokens or the same one, Unreadable for a file that others may read.
    """
    kept = _read(path)
    found = {name: token_from(name) or kept.get(name) for name in _PREFIXES}
    made = {name: f"{_PREFIXES[name]}-{uuid.uuid4()}" for name, value in found.items() if value is None}
    if made:
        _append(path, made)
    known = {name: value or made[name] for name, value in found.items()}
    if len(set(known.values())) < len(known):
        raise Usage(f"two of {', '.join(known)} hold the same token", advice="Give each a token of its own.")
    return Tokens(access=_access(known), kept=any(token_from(name) is None for name in _PREFIXES))


def _access(known: dict[str, str]) -> Access:
    return Access(
        tokens=(
            AccessToken(secret=known[WRITER], name="writer"),
            AccessToken(secret=known[ROLLBACK], name="rollback", bypasses=True),
            AccessToken(secret=known[READER], name="reader", writes=False),
        ),
        sdk_key=known[SDK_KEY],
    )


def _read(path: Path) -> dict[str, str]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
        if os.fstat(descriptor).st_mode & 0o077:
            raise Unreadable(
                f"{path} holds tokens and may be read by others", advice=f"chmod 600 {path}, or remove it."
            )
        lines = [_LINE.fullmatch(line.strip()) for line in file.read(64_000).splitlines()]
    return {line[1]: line[2] for line in lines if line is not None}


def _append(path: Path, made: dict[str, str]) -> None:
    text = "".join(f"export {name}={value}\n" for name, value in made.items())
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, flags, 0o600), "w") as file:
            file.write(text)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}") from error
