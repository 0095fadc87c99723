"""Base and LoRA adapters in this process, over transformers, PEFT and (for 4-bit bases) bitsandbytes.

Importing this package is cheap: torch and its friends are imported when a base is opened.
"""

from rollout.integrations.transformers.decoding import BatchDecoder
from rollout.integrations.transformers.engine import TransformersEngine
from rollout.integrations.transformers.loading import Base, open_base, open_codec
from rollout.integrations.transformers.text import TextCodec

__all__ = ["Base", "BatchDecoder", "TextCodec", "TransformersEngine", "open_base", "open_codec"]
