"""Where a model's chat template is: transformers writes it in one of two places."""

from __future__ import annotations

from collections.abc import Mapping

TOKENIZER = "tokenizer.json"
TEMPLATE = "chat_template.jinja"
TOKENIZER_CONFIG = "tokenizer_config.json"


def chat_template(jinja: bytes | None, tokenizer_config: object) -> bytes | None:
    """The template: the content of `chat_template.jinja`, else the field of `tokenizer_config.json`, else None.

    Of several that are named, the one named `default`, which applies unless a caller asks for another one.
    """
    if jinja is not None:
        return jinja
    field = tokenizer_config.get("chat_template") if isinstance(tokenizer_config, Mapping) else None
    if isinstance(field, list):
        field = next((_text(entry) for entry in field if _is_default(entry)), None)
    return field.encode("utf-8", "replace") if isinstance(field, str) else None


def _is_default(entry: object) -> bool:
    return isinstance(entry, Mapping) and entry.get("name") == "default"


def _text(entry: object) -> object:
    return entry.get("template") if isinstance(entry, Mapping) else None
