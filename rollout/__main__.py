"""`rollout`: the command line."""

from __future__ import annotations


def main() -> None:
    """Run the command line and end the process with its exit status."""
    from rollout.cli import run

    raise SystemExit(run())


if __name__ == "__main__":
    main()
