"""A tiny real model family: a Llama of 0.7 M parameters and LoRA adapters that are good, worse or broken.

This module only says where the committed files are; it imports nothing heavy.
"""

from pathlib import Path
from typing import Final

ARTIFACTS: Final = Path(__file__).parent / "artifacts"
BASE: Final = ARTIFACTS / "base"
GOLDEN: Final = ARTIFACTS / "golden.jsonl"
SCHEMA: Final = ARTIFACTS / "ticket.schema.json"
DIGESTS: Final = ARTIFACTS / "digests.json"

BASE_NAME: Final = "rollout-demo/tiny-llama"
"""What the adapters call their base; a name, so that no folder of one machine is written into them."""

VERSIONS: Final = ("1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0")
BROKEN: Final = ("nan", "overflow", "untrained", "wrong-base", "wrong-rank")


def adapter(version: str) -> Path:
    """Folder of a released version, one of `VERSIONS`; any other is a `LookupError`."""
    return _folder("adapters", version, VERSIONS)


def broken(name: str) -> Path:
    """Folder of an adapter that must be caught, one of `BROKEN`; any other is a `LookupError`."""
    return _folder("adapters/broken", name, BROKEN)


def _folder(parent: str, name: str, known: tuple[str, ...]) -> Path:
    if name not in known:
        raise LookupError(f"no demo adapter {name!r}; there are {', '.join(known)}")
    return ARTIFACTS / parent / name
