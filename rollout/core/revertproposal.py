"""The words of a revert: its branch, its commit's message, and a pull request that is read in a minute."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from rollout.core.lifecycle import RolledBack, Version
from rollout.core.plain import plain

_LONGEST_REASON = 300


@dataclass(frozen=True, kw_only=True)
class RevertProposal:
    """What is proposed of one rollback. Two runs of it propose the same, to the byte.

    `bad` is what was taken back and `stable` what serves instead; None is the base model.
    """

    event: RolledBack
    bad: Version
    stable: Version | None

    @property
    def branch(self) -> str:
        """The branch of its own, one for the bytes that were taken back."""
        return f"rollout/revert-{self.event.name}-{self.bad.identity[:12]}"

    @property
    def title(self) -> str:
        """Also the first line of the commit."""
        target = f"to {self.stable.version}" if self.stable else "to the base model"
        return f"Roll back {self.event.name} {target}"

    @cached_property
    def trailers(self) -> str:
        """What tools read of it, one a line."""
        event = self.event
        lines = [
            f"Rollback-Of: {self.bad.served_name}",
            f"Reason: {self._reason[:_LONGEST_REASON]}",
            f"Environment: {event.environment}",
        ]
        if event.incident:
            lines.append(f"Incident: {event.incident}")
        if event.detail:
            lines.append(f"Evidence: sha256:{event.detail}")
        return "\n".join(lines)

    @property
    def message(self) -> str:
        """The commit's message."""
        return f"{self.title}\n\n{self.text}\n"

    @property
    def text(self) -> str:
        """The message below its first line: what a squash is to keep."""
        told = f"{self.bad.version} was taken back in {self.event.environment}: {self._reason}"
        return f"{told}\n\n{self.trailers}"

    @property
    def body(self) -> str:
        """The pull request in Markdown."""
        event, bad, stable = self.event, self.bad, self.stable
        by = "automatically" if event.automatic else f"by {_code(event.actor)}"
        serves = f"`{stable.served_name}`" if stable else "the base model"
        rows = {
            "Taken back": f"`{bad.served_name}`, {by}, {event.at:%Y-%m-%d %H:%M} UTC; it had {event.from_share}",
            "Serves now": f"{serves}, to everybody",
            "Why": _code(self._reason[:_LONGEST_REASON]),
            "Incident": _code(event.incident) if event.incident else "",
            "Evidence": f"`rollout history {event.name} -e {event.environment}`"
            + (f", `sha256:{event.detail}`" if event.detail else ""),
            "Changes": self._change,
        }
        table = [f"| {name} | {told} |" for name, told in rows.items() if told]
        return "\n".join(
            [
                f"**{event.name} {bad.version} was taken back in {event.environment}.** Users are safe already: the flag"
                " is off and no route names it. This only makes git say what serves.",
                "",
                "| | |",
                "|---|---|",
                *table,
                "",
                "**To agree**, approve it: it merges by itself where that is allowed. **To disagree**, do not"
                f" close it alone: name another version of {event.name} in a pull request of your own, and this one is"
                " closed."
                " Commits of others on this branch are kept and never overwritten.",
                "",
                "```",
                self.trailers.replace("```", "'''"),
                "```",
                "",
            ]
        )

    @property
    def _change(self) -> str:
        if self.stable is None:
            return f"`{self.bad.path}` alone: removed, since nothing was released before"
        return f"`{self.bad.path}` alone: byte for byte what it was at {self.stable.commit}"

    @cached_property
    def _reason(self) -> str:
        return plain(self.event.reason, 2000, nothing="no reason given")


def _code(text: str) -> str:
    """Words of others: they name nobody, close nothing and break no table."""
    return f"`{plain(text, 2000, nothing='-').replace('`', chr(39)).replace('|', '/')}`"
