"""`rollout`: the command line."""

from __future__ import annotations

import os


def main() -> None:
    """Run the command line and end the process with its exit status."""
    # pydantic otherwise asks every installed package whether it has a plug-in, which none of ours needs.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from rollout.cli import run

    raise SystemExit(run())


if __name__ == "__main__":
    main()
