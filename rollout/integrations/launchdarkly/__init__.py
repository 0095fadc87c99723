"""Flags at LaunchDarkly, written over its REST API."""

from rollout.integrations.launchdarkly.store import LaunchDarklyStore
from rollout.integrations.launchdarkly.tokens import Token

__all__ = ["LaunchDarklyStore", "Token"]
