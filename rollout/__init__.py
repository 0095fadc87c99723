"""GitOps release and rollout automation for LoRA adapters."""

__version__ = "0.8.0"
