"""Metrics that the gateways do not measure: of a service, a database, files, or a program."""

from __future__ import annotations

from pathlib import Path

from rollout.core.environment import CommandProvider, HttpProvider, SqlProvider
from rollout.integrations.providers.command import CommandAsked
from rollout.integrations.providers.http import HttpAsked
from rollout.integrations.providers.source import Asked, ProviderMetrics
from rollout.integrations.providers.sql import SqlAsked

__all__ = ["ProviderMetrics", "provider_metrics"]


def provider_metrics(
    name: str, document: HttpProvider | SqlProvider | CommandProvider, root: Path
) -> ProviderMetrics:
    """The source of a provider of an environment. Opens, starts and asks nothing yet."""
    return ProviderMetrics(name, document, _asked(document, root))


def _asked(document: HttpProvider | SqlProvider | CommandProvider, root: Path) -> Asked:
    match document:
        case HttpProvider():
            return HttpAsked(document)
        case SqlProvider():
            return SqlAsked(document, root)
        case CommandProvider():
            return CommandAsked(document, root)
