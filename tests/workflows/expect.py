#!/usr/bin/env -S python3 -I
"""Whether a step of the self-test ended as it has to: STEP is `toJSON(steps.<id>)`, EXPECTED is JSON by output.

`step` is how the step ended (`failure` unless it says otherwise). An output that is not named has to be empty.
`report` is a folder with these files; `digest` is that of its report.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

OUTPUTS = ("outcome", "decision", "share", "report-path", "evidence-digest", "matrix")


def main() -> int:
    """Say what is different. The status is 1 if anything is."""
    step, expected = json.loads(os.environ["STEP"]), json.loads(os.environ["EXPECTED"])
    said = dict.fromkeys(OUTPUTS, "") | step["outputs"]
    wanted = dict.fromkeys(said, "") | {"step": "failure"} | expected
    found = said | {"step": step["outcome"]}
    folder = Path(said.get("report-path") or "/nowhere")
    files = wanted.pop("report", None)
    if files is not None:
        wanted["report-path"] = str(folder)
        found["report"] = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else None
        wanted["report"] = sorted(files)
    report = folder / "report.json"
    if wanted["evidence-digest"] == "digest" and report.is_file():
        content = report.read_bytes()
        wanted["evidence-digest"] = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if wanted == found:
        print("as it has to be:", json.dumps(found))
        return 0
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            print(f"::error title=self-test::{key} is {found.get(key)!r}, and has to be {wanted.get(key)!r}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
