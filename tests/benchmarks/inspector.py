"""How fast the inspector reads an adapter, next to plain `sha256sum`: python -m tests.benchmarks.inspector.

The adapters are generated: modules of a 7B model (width 4096, seven matrices a layer), about 240 MB in bfloat16
or float32. Everything runs in a process of its own, which also tells its peak memory; the best of a few runs
counts. A second line gives Python's own sha256, which often uses better instructions than coreutils does.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rollout.core.manifest import Dtype
from rollout.integrations.safetensors import CONFIG, WEIGHTS, inspect, products, stream, tensors

WIDTH, INNER, GROUPED = 4096, 11008, 1024
SHAPES = {
    **{"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.o_proj": (WIDTH, WIDTH)},
    **{"self_attn.k_proj": (GROUPED, WIDTH), "self_attn.v_proj": (GROUPED, WIDTH)},
    **{"mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH), "mlp.down_proj": (WIDTH, INNER)},
}
ADAPTERS = ((16, 102, "BF16"), (64, 26, "BF16"), (64, 13, "F32"))
ROUNDS = 5


def write(folder: Path, *, rank: int, layers: int, dtype: str) -> int:
    """An adapter of that rank on so many layers; its size in bytes."""
    random = np.random.default_rng(rank)
    pool = 0.02 * random.standard_normal(1 << 20).astype(np.float32)
    stored = pool if dtype == "F32" else (pool.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    header: dict[str, Any] = {}
    at, parts = 0, []
    for layer in range(layers):
        for name, (outputs, inputs) in SHAPES.items():
            for side, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
                size = shape[0] * shape[1]
                key = f"base_model.model.model.layers.{layer}.{name}.lora_{side}.weight"
                end = at + size * stored.itemsize
                header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
                parts.append((int(random.integers(0, stored.size // 2)), size))
                at = end
    text = json.dumps(header).encode()
    with (folder / WEIGHTS).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for start, size in parts:
            file.write(np.resize(stored[start:], size).tobytes())
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": sorted(SHAPES)}
    (folder / CONFIG).write_text(json.dumps(config))
    return 8 + len(text) + at


class Stopwatch:
    """Seconds that were spent in what it watches."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def watch(self, owner: Any, name: str, label: str) -> None:
        """Time every call of `owner.name`."""
        setattr(owner, name, self.timed(getattr(owner, name), label))

    def timed(self, plain: Callable[..., Any], label: str) -> Callable[..., Any]:
        """The same function, with its time added up."""

        def wrapped(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return plain(*args, **options)
            finally:
                self.spent[label] = self.spent.get(label, 0.0) + time.perf_counter() - start

        return wrapped


def watch_parts(watch: Stopwatch) -> None:
    """Time the hash (in its own thread), the values, the spectra, and how long the first keeps the others."""
    sha256 = hashlib.sha256

    class Sha256:
        def __init__(self) -> None:
            plain = sha256()
            self.hexdigest = plain.hexdigest
            self.update = watch.timed(plain.update, "hash")

    stream.hashlib.sha256 = Sha256  # type: ignore[assignment,misc]
    watch.watch(tensors, "peaks", "values")
    for owner, name in ((tensors, "gram_of"), (tensors, "decode"), (products, "singular_values")):
        watch.watch(owner, name, "spectrum")
    watch.watch(stream.HashedFile, "_wait", "waiting for the hash")


def child(folder: Path, modules: int, *, parts: bool) -> None:
    """One inspection, in this process: prints seconds, peak memory in KiB, and shares of the time."""
    watch = Stopwatch()
    if parts:
        watch_parts(watch)
    start = time.perf_counter()
    facts = inspect(folder, dtypes=frozenset({Dtype.BFLOAT16, Dtype.FLOAT16}))
    took = time.perf_counter() - start
    if facts.problems or len(facts.details) != modules:
        raise SystemExit(f"not what was written: {facts.problems}")
    # Not getrusage: that also counts what the parent had when it forked.
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    shares = ", ".join(f"{label} {seconds / took:.0%}" for label, seconds in watch.spent.items())
    print(took, peak, shares, sep="\t")


def run(folder: Path, modules: int, what: str) -> list[str]:
    """`child` in a process of its own."""
    words = [sys.executable, "-m", "tests.benchmarks.inspector", str(folder), str(modules), what]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip("\n").split("\t")


def seconds(work: Callable[[], object]) -> float:
    """The best of a few runs."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def measure(folder: Path, modules: int, size: int) -> Iterator[str]:
    """What there is to say about one adapter."""
    runs = [run(folder, modules, "plain") for _ in range(ROUNDS)]
    speed = size / min(float(each[0]) for each in runs) / 1e9
    peak = max(int(each[1]) for each in runs) / 1024
    path = folder / WEIGHTS
    plain = size / seconds(lambda: subprocess.run(["sha256sum", path], check=True, capture_output=True)) / 1e9
    best = size / seconds(lambda: digest(path)) / 1e9
    yield f"{speed:.2f} GB/s, peak memory {peak:.0f} MB; {run(folder, modules, 'parts')[2]}"
    yield f"sha256sum {plain:.2f} GB/s, ratio {speed / plain:.2f}; Python's {best:.2f} GB/s, ratio {speed / best:.2f}"


def digest(path: Path) -> str:
    """Python's own sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """Print three lines for each adapter."""
    for rank, layers, dtype in ADAPTERS:
        with tempfile.TemporaryDirectory() as name:
            modules = layers * len(SHAPES)
            size = write(Path(name), rank=rank, layers=layers, dtype=dtype)
            print(f"{dtype} rank {rank}, {modules} modules, {size / 1e6:.0f} MB")
            for line in measure(Path(name), modules, size):
                print(f"    {line}")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        child(Path(sys.argv[1]), int(sys.argv[2]), parts=sys.argv[3] == "parts")
    else:
        main()
