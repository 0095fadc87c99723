"""Where an environment's flags are written, and what its gateways read them with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rollout.core.environment import Environment, FileFlags, FlagdFlags, LaunchDarklyFlags
from rollout.errors import Usage

if TYPE_CHECKING:
    from rollout.ports import FlagReader, FlagStore

# A gateway that has no flags at all at its start waits so long for the first ones before it serves stable to everybody.
_PATIENCE_S = 2.0


def flag_store(environment: Environment, root: Path) -> FlagStore:
    """The writing side of the dial."""
    match environment.flags:
        case FileFlags(path=path):
            from rollout.integrations.flagfile import FlagFile

            return FlagFile(root / path)
        case FlagdFlags(path=path):
            from rollout.integrations.flagdfile import FlagdFile

            return FlagdFile(root / path)
        case LaunchDarklyFlags() as flags:
            return _rest_store(flags)


def _rest_store(flags: LaunchDarklyFlags) -> FlagStore:
    """The store; a token that is missing is told of when it is first needed."""
    from rollout.bearer import token_from
    from rollout.integrations.launchdarkly import LaunchDarklyStore, Token

    other = flags.rollback_token_env
    return LaunchDarklyStore(
        flags,
        token=Token(token_from(flags.token_env), flags.token_env),
        rollback_token=None if other is None else Token(token_from(other), other),
        sdk_key=token_from(flags.sdk_key_env),
    )


def flag_reader(environment: Environment, root: Path) -> FlagReader:
    """The reading side of the dial, watching already."""
    if environment.flag_provider is not None:
        from rollout.wiring.flagproviders import provider_reader

        return provider_reader(environment.flag_provider, lambda: _routed(environment, root))
    match environment.flags:
        case FileFlags(path=path):
            from rollout.integrations.evaluator import FlagFileReader

            return FlagFileReader(root / path)
        case LaunchDarklyFlags() as flags:
            return _stream_reader(flags, root)
        case FlagdFlags(path=path):
            from rollout.integrations.evaluator.flagd import FlagdReader
            from rollout.wiring.flagproviders import check_installed

            check_installed("flags of kind flagd", "openfeature.contrib.provider.flagd")
            return FlagdReader(root / path)


def _routed(environment: Environment, root: Path) -> tuple[str, ...]:
    """The flags that the routes name: what a gateway has to report before anybody has asked for them."""
    from rollout.errors import RolloutError
    from rollout.integrations.routesfile import RoutesFile

    try:
        routes = RoutesFile(root / environment.routes, environment.name).read().routes
    except RolloutError:
        return ()
    return tuple(route.flag for route in routes.values())


def _stream_reader(flags: LaunchDarklyFlags, root: Path) -> FlagReader:
    from rollout.bearer import token_from
    from rollout.integrations.evaluator import FlagStreamReader

    sdk_key = token_from(flags.sdk_key_env)
    if sdk_key is None:
        raise Usage(
            f"{flags.sdk_key_env} must hold the SDK key of the environment {flags.environment} at LaunchDarkly",
            advice="It is another one than the access token, and each environment has its own.",
        )
    return FlagStreamReader(
        sdk_key,
        stream_uri=flags.stream,
        events_uri=flags.events if flags.send_events else None,
        last_good=root / flags.last_good,
        scope=f"{flags.project}/{flags.environment}",
        patience_s=_PATIENCE_S,
    )
