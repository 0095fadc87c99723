"""`rollout validate` of many manifests, each with an adapter of its own: python -m tests.benchmarks.validation.

Whole processes, wall time and peak memory. The limits are those of the product: 0.5 s for one manifest, 5 s for
1,000, and growth that is linear up to 10,000. With a base, one manifest of all differs, as in a pull request.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.adapters import write_repository

MANIFEST = Path("manifests/support/support-bot.yaml")
_RUN = (
    "import resource, sys; from rollout.cli import run; status = run(sys.argv[1:]); "
    "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(status)"
)


def multiply(root: Path, count: int) -> None:
    """Turn the one manifest of a repository into many."""
    text = (root / MANIFEST).read_text()
    for number in range(count):
        folder = f"adapters/{number:05}"
        shutil.copytree(root / "adapters/1.0.0", root / folder)
        named = text.replace("name: support-bot", f"name: bot-{number:05}").replace("adapters/1.0.0", folder)
        (root / MANIFEST).with_name(f"bot-{number:05}.yaml").write_text(named)
    (root / MANIFEST).unlink()


def validate(root: Path, *words: str) -> tuple[float, float]:
    """(seconds, peak MB) of one process."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _RUN, "validate", *words],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise SystemExit(
            f"validate ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return seconds, int(done.stderr.rsplit("peak", 1)[1]) / 1024


def git(root: Path, *words: str) -> None:
    author = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    subprocess.run(["git", "-C", str(root), *author, *words], check=True, capture_output=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 100, 1000])
    counts = parser.parse_args().counts
    for count in counts:
        with tempfile.TemporaryDirectory() as scratch:
            root = write_repository(Path(scratch) / "repository")
            multiply(root, count)
            runs = sorted(validate(root) for _ in range(5 if count == 1 else 1))
            seconds, peak = runs[len(runs) // 2]
            git(root, "init", "-q")
            git(root, "add", "-A")
            git(root, "commit", "-qm", "all")
            changed = next((root / "manifests/support").iterdir())
            changed.write_text(changed.read_text().replace("Trained longer.", "Trained even longer."))
            since, peak_since = validate(root, "--base", "HEAD")
            print(
                f"{count:6} manifests: {seconds:6.2f} s, {1000 * seconds / count:7.2f} ms each, peak {peak:4.0f} MB; "
                f"one of them changed since a base: {since:5.2f} s, peak {peak_since:4.0f} MB"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
