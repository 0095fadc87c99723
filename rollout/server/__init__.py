"""The embedded OpenAI-compatible server: to everyone else it is a vLLM with runtime LoRA loading."""
