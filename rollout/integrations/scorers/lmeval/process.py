"""Runs lm-eval's interpreter: offline, with few variables of ours, in a process group that ends with us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rollout.errors import Unavailable

# What a model needs to find its device, caches and libraries. Tokens and other secrets are not among them.
_PASSED_ON = frozenset({
    *("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "XDG_CACHE_HOME"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_HOME", "HIP_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "VLLM_CPU_KVCACHE_SPACE", "VLLM_CPU_OMP_THREADS_BIND"),
})  # fmt: skip
_OWN = {
    **dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"), "1"),
    **dict.fromkeys(("HF_HUB_DISABLE_TELEMETRY", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
    # The folder that it runs in holds tasks, not modules.
    "PYTHONSAFEPATH": "1",
    "PYTHONIOENCODING": "utf-8",
}
_TAIL = 4000
_VERSION = "import importlib.metadata as m; print(m.version('lm_eval'))"


def interpreter(named: str | None) -> str:
    """The interpreter that has lm-eval."""
    return named or sys.executable


def run_lm_eval(python: str, config: Path, *, cwd: Path, log: Path, timeout_s: float) -> None:
    """Run it to its end. Raises Unavailable with its last words if it fails or takes too long."""
    words = [python, "-m", "lm_eval", "run", "--config", str(config)]
    with log.open("wb") as said:
        try:
            process = subprocess.Popen(  # noqa: S603 - a list of words, no shell
                words, cwd=cwd, env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=said, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise Unavailable(f"{python} cannot be started: {error.strerror}") from None
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"lm-eval did not end within {timeout_s:g} seconds") from None
        finally:
            _end(process)
    if status != 0:
        raise Unavailable(f"lm-eval ended with status {status}: {_last_words(log)}")


def version_of(python: str) -> str:
    """The version of lm-eval that an interpreter has."""
    try:
        done = subprocess.run(  # noqa: S603 - a list of words, no shell
            [python, "-c", _VERSION],
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "not installed"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in _PASSED_ON} | _OWN


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it with all that it has started: vLLM's workers outlive their parent."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_words(log: Path) -> str:
    lines: Sequence[str] = log.read_bytes()[-_TAIL:].decode(errors="replace").splitlines()
    # Bars of progress are drawn once more while the program ends.
    said = [line.strip() for line in lines if line.strip() and "%|" not in line]
    return said[-1][:300] if said else "it said nothing"
