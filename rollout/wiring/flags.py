"""Where an environment's flags are written, and what its gateways read them with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rollout.core.environment import Environment, FileFlags, FlagdFlags, LaunchDarklyFlags
from rollout.errors import Unsupported, Usage

if TYPE_CHECKING:
    from rollout.ports import FlagReader, FlagStore


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
    match environment.flags:
        case FileFlags(path=path):
            from rollout.integrations.evaluator import FlagFileReader

            return FlagFileReader(root / path)
        case LaunchDarklyFlags() as flags:
            return _stream_reader(flags, root)
        case FlagdFlags():
            raise Unsupported(f"flags of kind {environment.flags.kind} cannot be read yet")


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
    )
