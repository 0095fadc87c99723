"""vLLM: a replica that serves over HTTP, and an engine in this process. Importing this package is cheap."""

from rollout.integrations.vllm.engine import VllmEngine
from rollout.integrations.vllm.replica import Replica

__all__ = ["Replica", "VllmEngine"]
