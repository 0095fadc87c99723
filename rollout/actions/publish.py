"""Where an action tells people what it came to: the summary of its step, and the comment of the pull request.

Nothing that GitHub refuses changes what the step came to: it is said in a notice, and the summary has all of it.
"""

from __future__ import annotations

import hashlib
import re

from rollout.actions.event import Event
from rollout.actions.inputs import Inputs
from rollout.actions.step import Step
from rollout.actions.verb import Ran
from rollout.core.plain import plain
from rollout.errors import RolloutError
from rollout.integrations.github.client import Client
from rollout.integrations.github.comments import Comments, Put
from rollout.integrations.github.tokens import Token

PATIENCE_S = 30.0
"""For all that one step asks of GitHub: the verdict does not wait longer for its page."""
TOKEN = Token("GITHUB_TOKEN")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,150}")
_MARK = re.compile(r"\A<!-- rollout [^\n]* -->\n+")
_MARKUP = re.compile(r"[\\`<\[\]#&]")
_SIGNS = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}
_UNSAID = (Put.DENIED, Put.UNAVAILABLE)


def publish(
    inputs: Inputs,
    event: Event,
    step: Step,
    ran: Ran,
    *,
    title: str,
    key: str | None = None,
    outcome: str | None = None,
) -> None:
    """The summary, and the comment of the pull request where there is a `key`, one for each key.

    `outcome` is what it came to where that is not what the verb itself did.
    """
    text = said(ran, title, outcome=outcome)
    step.summarise(text)
    if key is None or event.pull is None or not inputs.flag("comment", default=True):
        return
    client = client_of(event)
    if client is None:
        step.note("there is no comment on the pull request: nobody says in which repository it is")
        return
    comments = Comments(client, str(event.repository), run_url=event.run_url)
    put = comments.put(event.pull, text, key=_key(key), run=f"{event.run[0]}.{event.run[1]}")
    if put.put in _UNSAID:
        step.note(f"there is no comment on the pull request: {put.reason}")
    elif put.put is Put.SUPERSEDED:
        step.note(
            f"the comment on the pull request says that it is of a newer run, and was left as it is: {put.url}"
        )


def client_of(event: Event) -> Client | None:
    """Whom to ask for what this run is about, its patience begun; None where the repository or the run is not known."""
    if event.repository is None or not all(event.run):
        return None
    client = Client(event.api, TOKEN, patience_s=PATIENCE_S)
    client.begin()
    return client


def said(ran: Ran, title: str, *, outcome: str | None = None) -> str:
    """A heading, then the report; where there is none, what it came to and why."""
    if ran.markdown:
        why = f"\n\n{refusal(ran.error)}" if ran.error is not None else ""
        # The mark of a report is for whoever posts it alone: a comment of ours has its own, and shows every other one.
        return f"## {title}\n\n{_MARK.sub('', ran.markdown)}{why}"
    heading = f"## {_SIGNS.get(outcome or ran.outcome, '⛔')} {title}\n\n"
    if ran.error is not None:
        return heading + refusal(ran.error)
    if ran.outcome == "error":
        return f"{heading}> [!CAUTION]\n> `rollout` ended with {ran.status}: the log of this step says why.\n"
    return heading


def refusal(error: RolloutError) -> str:
    """Why nothing could be done, and what to do about it, in Markdown."""
    told = (error.message, error.advice, f"`rollout runbook {error.code}`")
    shown = (_literal(plain(each, 2000, nothing="")) for each in told if each)
    return "\n".join(["> [!CAUTION]", *(f"> {each}  " for each in shown), ""])


def _literal(text: str) -> str:
    """A line that may hold words of others: code stays code, and nothing else of it is a link, an image or a heading."""
    if text.count("`") % 2 or "``" in text:
        return _MARKUP.sub(r"\\\g<0>", text)
    parts = text.split("`")
    return "`".join(each if at % 2 else _MARKUP.sub(r"\\\g<0>", each) for at, each in enumerate(parts))


def _key(key: str) -> str:
    """As it is, or by its digest where a path has what a mark cannot hold."""
    if _KEY.fullmatch(key) and "--" not in key:
        return key
    return hashlib.sha256(key.encode(errors="backslashreplace")).hexdigest()[:32]
