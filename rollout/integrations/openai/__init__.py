"""Any server that speaks OpenAI's protocol, as an engine: what is deployed already. Importing this is cheap."""

from rollout.integrations.openai.client import server_root
from rollout.integrations.openai.engine import HttpEngine

__all__ = ["HttpEngine", "server_root"]
