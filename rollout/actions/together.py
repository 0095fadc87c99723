"""Several reports of one step as one: a folder with all of them, one page, and the gravest end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from rollout.actions.publish import said
from rollout.actions.step import Step
from rollout.actions.verb import Ran

_GRAVITY = {"pass": 0, "inconclusive": 1, "fail": 2, "error": 3}


def together(step: Step, runs: Sequence[Ran], title: str) -> Ran:
    """One of several; the only one as it is. `report.json` names each report with its digest, from 1 on.

    The outputs say the same. One that made no report makes the whole an error, and the page says why.
    """
    if len(runs) == 1:
        return runs[0]
    folder = step.folder("reports")
    for number, ran in enumerate(runs, 1):
        ran.folder.rename(folder / str(number))
    named = [{"path": f"{number}/report.json", "digest": ran.digest} for number, ran in enumerate(runs, 1)]
    data = {"reports": named}
    content = json.dumps(data, indent=2).encode()
    markdown = "\n\n".join(ran.markdown or said(ran, title) for ran in runs)
    (folder / "report.json").write_bytes(content)
    (folder / "report.md").write_text(markdown)
    gravest = max(runs, key=lambda ran: _GRAVITY[ran.outcome])
    united = Ran(
        status=gravest.status,
        folder=folder,
        data=data if all(ran.data for ran in runs) else {},
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        markdown=markdown,
        error=gravest.error,
    )
    step.outputs |= {
        "outcome": gravest.outcome,
        "report-path": str(folder),
        "evidence-digest": united.digest,
    }
    return united
