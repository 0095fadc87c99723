"""Where a model's chat template is: transformers writes it in one of two places."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeGuard

TOKENIZER = "tokenizer.json"
TEMPLATE = "chat_template.jinja"
TOKENIZER_CONFIG = "tokenizer_config.json"


def chat_template(jinja: bytes | None, tokenizer_config: object) -> bytes | None:
    """The template: the content of `chat_template.jinja`, else the field of `tokenizer_config.json`, else None.

    Of several that are named, the one named `default`, which applies unless a caller asks for another one. A field
    of any other form is taken as it stands: whoever compares it must not find that there is no template.
    """
    if jinja is not None:
        return jinja
    field = tokenizer_config.get("chat_template") if isinstance(tokenizer_config, Mapping) else None
    if isinstance(field, list):
        field = next((entry.get("template") for entry in field if _is_default(entry)), field)
    if field is None:
        return None
    return (field if isinstance(field, str) else json.dumps(field, sort_keys=True)).encode("utf-8", "replace")


def _is_default(entry: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(entry, Mapping) and entry.get("name") == "default"
