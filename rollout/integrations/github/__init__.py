"""Pull requests at GitHub: REST for them, GraphQL for auto-merge, which REST does not have."""

from rollout.integrations.github.forge import GitHub

__all__ = ["GitHub"]
