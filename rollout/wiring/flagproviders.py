"""Makes the OpenFeature provider that an environment names: that class and nothing else is imported."""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import import_module
from typing import TYPE_CHECKING

from rollout.core.environment import FlagProvider
from rollout.errors import Unsupported

if TYPE_CHECKING:
    from openfeature.provider import AbstractProvider

    from rollout.ports import FlagReader


def provider_reader(document: FlagProvider, keys: Callable[[], Collection[str]]) -> FlagReader:
    """A reader through the provider. Raises Unsupported if there is no such provider; one that fails later is stable."""
    check_installed("flag_provider")
    from rollout.integrations.evaluator.openfeature import OpenFeatureReader

    make = _provider_class(document.provider)
    return OpenFeatureReader(lambda: make(**document.options), keys=keys)


def check_installed(who: str, module: str = "openfeature.api") -> None:
    """Raise Unsupported unless the extra `openfeature` is there."""
    try:
        import_module(module)
    except ImportError as error:
        raise Unsupported(
            f"{who} needs the extra `openfeature`", advice="pip install 'adapter-rollout[openfeature]'"
        ) from error


def _provider_class(name: str) -> Callable[..., AbstractProvider]:
    from openfeature.provider import AbstractProvider

    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute, None)
    except Exception as error:
        raise Unsupported(
            f"flag_provider {name} cannot be imported: {type(error).__name__}",
            advice=f"Install the package that has {module} beside rollout.",
        ) from error
    if not (isinstance(found, type) and issubclass(found, AbstractProvider)):
        raise Unsupported(
            f"flag_provider {name} is no OpenFeature provider",
            advice="Name a class that inherits openfeature.provider.AbstractProvider, as module:Class.",
        )
    return found
