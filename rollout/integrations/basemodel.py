"""Checks that a base model folder is the one that a manifest speaks of, by what decides how prompts are read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from rollout.core.chattemplate import TEMPLATE, TOKENIZER, TOKENIZER_CONFIG, chat_template
from rollout.core.manifest import Base
from rollout.errors import Unreadable

_MOST_BYTES = 256 << 20


def verify_base(folder: Path, base: Base) -> None:
    """Raise Unreadable unless tokenizer and chat template have the digests of the manifest.

    Another template alone changes every answer, so an evaluation with it would speak of another model. The
    template is `chat_template.jinja`, else the field of `tokenizer_config.json`.
    """
    found = {
        "tokenizer": (hashlib.sha256(_read(folder / TOKENIZER)).hexdigest(), base.tokenizer_sha256),
        "chat template": (hashlib.sha256(_template(folder)).hexdigest(), base.chat_template_sha256),
    }
    for what, (has, wanted) in found.items():
        if has != wanted:
            raise Unreadable(
                f"the {what} of the base model has sha256 {has[:12]}…, the manifest says {wanted[:12]}…",
                advice=f"Use the folder of {base.repo} at revision {base.revision[:12]}.",
            )


def _template(folder: Path) -> bytes:
    jinja = _read(folder / TEMPLATE) if (folder / TEMPLATE).is_file() else None
    template = chat_template(jinja, {} if jinja is not None else _tokenizer_config(folder))
    if template is None:
        raise Unreadable("the base model has no chat template, so chats cannot be evaluated with it")
    return template


def _tokenizer_config(folder: Path) -> dict[str, object]:
    try:
        config = json.loads(_read(folder / TOKENIZER_CONFIG))
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise Unreadable(f"{TOKENIZER_CONFIG} of the base model is not a JSON object")
    return config


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise Unreadable(f"{path.name} of the base model is larger than {_MOST_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{path.name} of the base model cannot be read: {error.strerror}") from None
