"""The command line: parse, wire, use case, report, exit. One file a verb, loaded when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import click

from rollout import __version__
from rollout.cli.endings import (
    end_interrupted,
    end_with,
    end_with_bug,
    end_with_refusal,
    listened_to,
    wanted_colour,
)
from rollout.errors import RolloutError, Usage

# Verb -> (module of `rollout.cli`, one line of help). The help stands here so that `rollout --help` imports
# no verb; a test asserts that each line is the first line of the verb's own help.
VERBS: dict[str, str] = {
    "init": "Set up a repository: policies, schemas and an environment.",
    "manifest": "Draft manifests.",
    "validate": "Check manifests against their schema and the policy rules.",
    "policy": "List, explain and test the policy rules.",
    "metrics": "List the metrics, and ask for each of them once.",
    "fetch": "Fetch a manifest's adapter, verify it and print its folder.",
    "sign": "Sign a manifest's adapter in the form of OpenSSF model signing.",
    "inspect": "Show what an adapter's bytes are: files, config, ranks, norms, and what is wrong.",
    "suite": "Import, list and check golden suites.",
    "evaluate": "Prove a manifest's adapter on its golden suite, against champion and base.",
    "shadow": "Compare a candidate with stable on traffic: mirrored, or recorded and asked again.",
    "advance": "One tick: observe, judge, decide, and move an adapter one step at most.",
    "watch": "Tick in a loop: what `rollout advance` does, for a laptop, a systemd unit or a container.",
    "rollback": "Take an adapter back: flag first, then ledger, git and proof.",
    "incident": "Show and export incidents: what was taken back, why, and how long everything took.",
    "hold": "Send all traffic of an adapter's candidate to stable, at all gateways at once.",
    "flag": "Set up, check, watch and serve the flags that dial adapters.",
    "pause": "Let a release go no further until `rollout resume`.",
    "resume": "Let a release that waits for a person go on.",
    "promote": "Let a candidate go to everybody with the next tick, without waiting for proof.",
    "quarantine": "Show what was taken back, and let it begin once more: two people have to want it.",
    "retry": "Let a version begin that was rejected.",
    "adopt": "Record what serves today as stable.",
    "status": "Show what is live, the step, the evidence and the last events.",
    "plan": "Show what will happen to a manifest: each step, when, what it can detect, and what it costs in requests.",
    "simulate": "Let recorded or made-up traffic go through the judge and a plan, on a virtual clock.",
    "history": "Show all that happened to an adapter: when, what, why, and who did it.",
    "runbook": "Show what to do about an error, or a decision that wakes somebody.",
    "ledger": "Verify, repair and compact the record of what happened.",
    "coverage": "Show what each replica serves of an adapter: listed, from its digest's folder, with an effect.",
    "routes": "Show the routes in force, or render them for another gateway.",
    "gateway": "Run the stand-alone gateway.",
    "agent": "Run the agent beside one server.",
    "serve": "Run the embedded OpenAI-compatible server, or the receiver of alerts.",
    "demo": "Walk four releases through the whole journey on this machine.",
    "schema": "Print the JSON Schema of a document.",
    "drill": "Roll back on this machine while one thing after the other goes wrong.",
}


class _Verbs(click.Group):
    """A group that imports a verb only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"rollout.cli.{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def make_context(self, *args: Any, **settings: Any) -> click.Context:
        with listened_to():
            return super().make_context(*args, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        with listened_to():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(
    cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ROLLOUT"}
)
@click.version_option(__version__, prog_name="rollout")
def cli() -> None:
    """Release, roll out and take back LoRA adapters.

    A pull request changes an adapter version; rollout proves the adapter, walks it to 100 % of the traffic or
    takes it back, and leaves git, the flag and the servers telling the same story.

    Exit statuses: 0 done, 1 blocked or rolled back, 2 usage, 3 inputs unreadable, 4 something outside is
    unavailable, 5 the world changed, 6 inconclusive, 70 a bug.
    """


def run(args: Sequence[str] | None = None, *, on_error: Callable[[RolloutError], None] | None = None) -> int:
    """Run the command line; the answer is the exit status. Errors go to standard error, and to `on_error`."""
    try:
        result = cli.main(args=args, prog_name="rollout", standalone_mode=False, color=wanted_colour())
    except click.exceptions.Abort:
        return end_interrupted()
    except click.ClickException as error:
        if on_error is not None:
            on_error(Usage(error.format_message()))
        return end_with_refusal(error)
    except RolloutError as error:
        if on_error is not None:
            on_error(error)
        return end_with(error)
    except Exception:
        return end_with_bug()
    return result if isinstance(result, int) else 0
