"""What git shows to GitHub: the token of the action, for as long as it runs, and nowhere on a disk."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rollout.actions.event import Event


@contextmanager
def git_credentials(environment: Mapping[str, str]) -> Iterator[None]:
    """Let git fetch from and push to the server of the run with GITHUB_TOKEN, by settings in its environment.

    They come last, and so instead of what a checkout may have left behind: two headers would be refused. Where there is
    no token, or this is not a run of a workflow, all is left as it is.
    """
    token = environment.get("GITHUB_TOKEN", "").strip()
    if environment.get("GITHUB_ACTIONS") != "true" or not token:
        yield
        return
    header = f"http.{Event.read(environment).server.rstrip('/')}/.extraheader"
    shown = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    told = os.environ.get("GIT_CONFIG_COUNT", "")
    first = int(told) if told.isascii() and told.isdecimal() else 0
    settings = {"GIT_CONFIG_COUNT": str(first + 2)}
    # An empty one forgets those before it.
    for number, value in enumerate(("", f"AUTHORIZATION: basic {shown}"), first):
        settings |= {f"GIT_CONFIG_KEY_{number}": header, f"GIT_CONFIG_VALUE_{number}": value}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, earlier in before.items():
            if earlier is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = earlier
