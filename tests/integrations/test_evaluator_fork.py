"""A process that was forked off a server that had its flags already, as gunicorn does it, hears of changes by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from rollout.core.plan import Share
from rollout.integrations.flagfile import FlagFile
from tests.integrations.test_evaluator_stream import KEY, SDK_KEY, dial
from tests.support.gateway import eventually
from tests.support.rawstream import raw_stream

# The parent has threads that ask and threads that listen, and forks in the midst of it. Each process tells which
# version it decides by at first and, once the file `go` is there, until it is the one that it waits for.
SCRIPT = """
import json, os, sys, threading, time
from pathlib import Path
from rollout.integrations.evaluator import FlagFileReader, FlagStreamReader
kind, source, folder, key, sdk_key = sys.argv[1:]
folder = Path(folder)
if kind == "file":
    reader = FlagFileReader(Path(source))
else:
    reader = FlagStreamReader(sdk_key, stream_uri=source, last_good=folder / "last-good.json", scope="s")
while not reader.status().ready:
    time.sleep(0.01)
asking = True
def ask():
    while asking:
        reader.slot(key, "ann")
        reader.status()
for _ in range(4):
    threading.Thread(target=ask, daemon=True).start()
children = []
for number in range(5):
    child = os.fork()
    if child == 0:
        first = reader.slot(key, "ann").version
        (folder / f"begun-{number}").touch()
        while reader.slot(key, "ann").version != 9:
            time.sleep(0.01)
        status = reader.status()
        told = {"first": first, "error": status.error, "age_s": status.age_s, "source": status.source}
        (folder / f"child-{number}.json").write_text(json.dumps(told))
        reader.close()
        os._exit(0)
    children.append(child)
asking = False
print("forked", flush=True)
sys.stdin.readline()
reader.close()
codes = [os.waitpid(child, 0)[1] for child in children]
sys.exit(max(codes))
"""


def forked(kind: str, source: str, folder: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", SCRIPT, kind, source, str(folder), KEY, SDK_KEY]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until every child has told what it heard, and that it heard it in good order."""
    try:
        for number in range(5):
            path = folder / f"child-{number}.json"
            eventually(lambda path=path: path.exists() and path.read_text(), within_s=30)  # type: ignore[misc]
            told = json.loads(path.read_text())
            assert (told["first"], told["error"]) == (2, None)
            assert told["age_s"] < 30
        process.communicate("end\n", timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def all_have_begun(folder: Path) -> bool:
    return all((folder / f"begun-{number}").exists() for number in range(5))


def test_children_follow_the_file(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps({"flags": {KEY: dial()}}))
    process = forked("file", str(path), tmp_path)
    eventually(lambda: all_have_begun(tmp_path), within_s=30)
    beside = tmp_path / "next.json"
    beside.write_text(json.dumps({"flags": {KEY: dial(version=9)}}))
    beside.replace(path)
    finish(process, tmp_path)


def test_children_stream_by_themselves(tmp_path: Path) -> None:
    with raw_stream({KEY: dial()}) as stream:
        process = forked("stream", stream.url, tmp_path)
        eventually(lambda: all_have_begun(tmp_path) and len(stream.asked) == 6, within_s=30)
        stream.greet_with({KEY: dial(version=9)})
        stream.patch(KEY, dial(version=9))
        finish(process, tmp_path)


def test_a_reader_that_was_closed_stays_closed_in_the_child(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    FlagFile(path).create(KEY, by="ann")
    FlagFile(path).write(KEY, Share.FULL, turn_on=True, expect_version=None, by="ann", comment="")
    script = (
        "import os, sys, threading\n"
        "from pathlib import Path\n"
        "from rollout.integrations.evaluator import FlagFileReader\n"
        "reader = FlagFileReader(Path(sys.argv[1]))\n"
        "reader.close()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(len(threading.enumerate()) - 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], timeout=60, check=False, env=os.environ)
    assert done.returncode == 0
