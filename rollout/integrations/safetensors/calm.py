"""Keeps numpy's linear algebra on one thread.

The matrices here are small, and another thread hashes meanwhile. Threads of OpenBLAS that wait for each other on
cores that are busy spin: on two cores that was measured to take ten times as long as one thread alone.
"""

from __future__ import annotations

import importlib
import os
import sys

_THREADS = "OPENBLAS_NUM_THREADS"


def import_numpy_calmly() -> None:
    """Import numpy with one thread, unless somebody said how many or has imported it already."""
    if "numpy" in sys.modules or _THREADS in os.environ or "OMP_NUM_THREADS" in os.environ:
        return
    os.environ[_THREADS] = "1"
    try:
        importlib.import_module("numpy")  # reads the variable once, as it is loaded
    finally:
        del os.environ[_THREADS]
