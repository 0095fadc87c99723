"""A PostgreSQL of its own for tests: a new cluster on a free port, gone with its folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_PLACES = (
    *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
    Path("/usr/local/bin"),
    Path("/usr/bin"),
)
_NOBODY = 65534


def missing() -> str | None:
    """Why there can be none here, or None. Where nothing may be missing, its tests fail instead of being skipped."""
    if os.environ.get("CI") == "true" or os.environ.get("ROLLOUT_REQUIRE_ALL") == "1":
        return None
    if _place() is None:
        return "PostgreSQL is not installed (Debian package `postgresql`)"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "the driver psycopg is not installed"
    return None


@contextmanager
def postgres(user: str, password: str) -> Iterator[str]:
    """A running server; the answer is its SQLAlchemy URL. PostgreSQL refuses to run as root, so that nobody runs it."""
    place = _place()
    assert place is not None, "PostgreSQL is not installed (Debian package `postgresql`)"
    with TemporaryDirectory(dir="/tmp") as folder:
        as_nobody = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        if as_nobody:
            os.chown(folder, _NOBODY, _NOBODY)
        data, secret = Path(folder, "data"), Path(folder, "password")
        secret.write_text(password)
        secret.chmod(0o644)

        def run(*words: str) -> None:
            subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=120, **as_nobody)

        run(
            str(place / "initdb"),
            "-D",
            str(data),
            "-U",
            user,
            "-A",
            "scram-sha-256",
            f"--pwfile={secret}",
            "-N",
        )
        port = _free_port()
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        control = str(place / "pg_ctl")
        run(control, "-D", str(data), "-w", "-l", str(Path(folder, "log")), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://{user}:{password}@127.0.0.1:{port}/postgres"
        finally:
            run(control, "-D", str(data), "-m", "immediate", "stop")


def _place() -> Path | None:
    return next((place for place in _PLACES if shutil.which("initdb", path=str(place))), None)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
