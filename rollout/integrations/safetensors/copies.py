"""What a manifest repeats from an adapter's folder, without a look at the tensors."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rollout.core.adapterconfig import AdapterConfig, read_config
from rollout.core.adapterfiles import CONFIG, most_bytes
from rollout.integrations.safetensors.folder import Opened, list_folder, opened
from rollout.integrations.safetensors.layout import strict_json


def read_copies(folder: Path) -> tuple[dict[str, str | None], AdapterConfig | None]:
    """(sha256 of each plain file, None where it cannot be read or is too large; the config, if it is in order).

    Raises Unreadable if there is no such folder, or if it is overcrowded.
    """
    files: dict[str, str | None] = {}
    config: AdapterConfig | None = None
    for name in list_folder(folder).plain:
        files[name] = None
        try:
            with opened(folder / name) as file:
                files[name] = _digest(file, most_bytes(name))
                config = _config(file) if name == CONFIG else config
        except (OSError, ValueError):
            continue
    return files, config


def _digest(file: Opened, limit: int) -> str:
    if file.size > limit:
        raise ValueError("too large")
    return hashlib.file_digest(file.file, "sha256").hexdigest()  # type: ignore[arg-type]


def _config(file: Opened) -> AdapterConfig:
    file.file.seek(0)
    return read_config(strict_json(file.file.read()))
