"""Where an environment's flags are written, and what its gateways read them with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rollout.core.environment import Environment, FileFlags, FlagdFlags, LaunchDarklyFlags
from rollout.errors import Unsupported

if TYPE_CHECKING:
    from rollout.ports import FlagReader, FlagStore


def flag_store(environment: Environment, root: Path) -> FlagStore:
    """The writing side of the dial."""
    match environment.flags:
        case FileFlags(path=path):
            from rollout.integrations.flagfile import FlagFile

            return FlagFile(root / path)
        case LaunchDarklyFlags() | FlagdFlags():
            raise Unsupported(f"flags of kind {environment.flags.kind} cannot be written yet")


def flag_reader(environment: Environment, root: Path) -> FlagReader:
    """The reading side of the dial, watching already."""
    match environment.flags:
        case FileFlags(path=path):
            from rollout.integrations.evaluator import FlagFileReader

            return FlagFileReader(root / path)
        case LaunchDarklyFlags() | FlagdFlags():
            raise Unsupported(f"flags of kind {environment.flags.kind} cannot be read yet")
