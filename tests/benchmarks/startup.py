"""Whole-process times of `rollout --help` and `rollout validate`: python tests/benchmarks/startup.py.

The limits are those of the product: 0.3 s and 0.5 s. Prints the median and the best of a few runs, and the
processor time of the best, which a busy machine does not stretch as much.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.adapters import write_repository

RUNS = 7


def seconds(words: list[str], folder: Path) -> tuple[float, float]:
    """(wall time, processor time) of one process, in seconds."""
    began, used = time.perf_counter(), processor_time()
    subprocess.run([sys.executable, "-m", "rollout", *words], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began, processor_time() - used


def processor_time() -> float:
    """Seconds that ended child processes have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    late = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_repository(Path(scratch) / "repository")
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        for words, limit in ((["--help"], 0.3), (["validate"], 0.5), (["validate", "manifests"], 0.5)):
            runs = [seconds(words, folder) for _ in range(RUNS)]
            median, best = statistics.median(wall for wall, _ in runs), min(wall for wall, _ in runs)
            processor = min(used for _, used in runs)
            late += median > limit
            print(
                f"rollout {' '.join(words):20} median {median:.3f} s, best {best:.3f} s, "
                f"processor {processor:.3f} s, limit {limit} s"
            )
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
