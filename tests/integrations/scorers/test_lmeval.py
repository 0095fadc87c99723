from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rollout.core.panel import LmEval, PinnedFolder, Task
from rollout.demo.model import ARTIFACTS
from rollout.integrations.scorers.lmeval import LmEvalRunner
from rollout.integrations.scorers.lmeval.request import request
from rollout.integrations.scorers.pinned import digest_of_folder
from rollout.ports import PanelScores, TaskSide

TASKS = Path(__file__).parents[2] / "support" / "tasks"
BASE = TaskSide(adapter=None)
CANDIDATE = TaskSide(adapter=ARTIFACTS / "adapters" / "1.1.0", served_name="bot-1.1.0")
UNTRAINED = TaskSide(adapter=ARTIFACTS / "adapters" / "broken" / "untrained")


def silently(_doing: str, _done: int, _of: int) -> None:
    pass


def pinned() -> PinnedFolder:
    return PinnedFolder(path="tests/support/tasks", sha256=digest_of_folder(TASKS))


# --- the real program ------------------------------------------------------------------------------------------------

INTENTS = Task(name="ticket_intent", samples=(19, 0, 3, 7, 12))
ANSWERS = Task(name="ticket_answer", samples=(4, 1), metric="exact_match")


@pytest.fixture(scope="module")
def real() -> PanelScores:
    pytest.importorskip("torch")
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("lm-eval is not installed")
    setting = LmEval(tasks=(INTENTS, ANSWERS), include=pinned(), timeout_s=250)
    sides = {"base": BASE, "champion": UNTRAINED, "candidate": CANDIDATE}
    return LmEvalRunner(setting, TASKS).run(ARTIFACTS / "base", sides, silently)


@pytest.mark.lm_eval
@pytest.mark.timeout(900)
def test_each_side_gets_a_value_for_each_document_that_was_asked_for(real: PanelScores) -> None:
    asked = {f"{task.name}/{number}" for task in (INTENTS, ANSWERS) for number in task.samples}
    assert real.values.keys() == asked
    assert all(by_side.keys() == {"base", "candidate"} for by_side in real.values.values())
    assert {metric for side in real.values["ticket_answer/1"].values() for metric in side} == {
        "task_ticket_answer"
    }


@pytest.mark.lm_eval
@pytest.mark.timeout(900)
def test_a_trained_adapter_knows_more_than_its_base(real: PanelScores) -> None:
    def right(side: str, metric: str) -> float:
        return sum(each[side][metric] for each in real.values.values() if metric in each[side])

    assert right("candidate", "task_ticket_intent") == 5
    assert right("base", "task_ticket_intent") < 5
    assert (right("candidate", "task_ticket_answer"), right("base", "task_ticket_answer")) == (2, 0)


@pytest.mark.lm_eval
@pytest.mark.timeout(900)
def test_an_adapter_without_effect_is_not_compared(real: PanelScores) -> None:
    assert real.notes == {
        "champion": "every answer is the base's to the last digit: the adapter was not applied"
    }


# --- a stand-in for it, to break ----------------------------------------------------------------------------------------

STAND_IN = """#!{python} -I
import json, os, sys, time
from pathlib import Path
here = Path({here!r})
if sys.argv[1] == "-c":
    print("0.0.0"); sys.exit()
config = json.loads(Path(sys.argv[5]).read_text())
with (here / "asked.jsonl").open("a") as file:
    file.write(json.dumps({{"argv": sys.argv[1:], "config": config, "env": dict(os.environ), "pid": os.getpid(),
        "files": sorted(os.listdir("."))}}) + "\\n")
adapted = "peft" in config["model_args"]
if (here / "fail").exists() and adapted:
    print("ValueError: no such adapter\\n 0%|      | 0/25", file=sys.stderr); sys.exit(3)
if (here / "hang").exists():
    if os.fork():
        time.sleep(600)
    (here / "child").write_text(str(os.getpid())); time.sleep(600)
place = Path(config["output_path"]) / "model"
place.mkdir(parents=True)
for task, numbers in config["samples"].items():
    lines = json.loads((here / ("adapted.json" if adapted else "base.json")).read_text())
    text = "".join(json.dumps(line) + "\\n" for line in lines)
    (place / f"samples_{{task}}_2026-01-01T00-00-00.jsonl").write_text(text)
"""


def line(number: int, said: str, **changes: Any) -> dict[str, Any]:
    whole = {"doc_id": number, "filter": "none", "metrics": ["acc"], "acc": 1.0, "resps": [[said]]}
    whole |= {"doc_hash": f"d{number}", "prompt_hash": f"p{number}", "target_hash": f"t{number}"}
    return {name: value for name, value in (whole | changes).items() if value is not ...}


Lines = list[dict[str, Any]]


class StandIn:
    """A program in the place of an interpreter that has lm-eval; it logs what a test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "python"
        self.python.write_text(STAND_IN.format(python=sys.executable, here=str(folder)))
        self.python.chmod(0o755)
        self.says([line(0, "-1.5"), line(2, "-2.5", acc=0.0)], [line(0, "-1.0"), line(2, "-2.0")])

    def says(self, base: Lines, adapted: Lines) -> None:
        (self.folder / "base.json").write_text(json.dumps(base))
        (self.folder / "adapted.json").write_text(json.dumps(adapted))

    def run(self, *, folder: Path | None = None, **settings: Any) -> PanelScores:
        task = Task(name="law", samples=(2, 0), **settings.pop("task", {}))
        setting = LmEval(tasks=(task,), python=str(self.python), **settings)
        sides = {"base": BASE, "candidate": CANDIDATE}
        return LmEvalRunner(setting, folder).run(ARTIFACTS / "base", sides, silently)

    @property
    def asked(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in (self.folder / "asked.jsonl").read_text().splitlines()]


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path)


def test_sides_are_paired_by_document(stand_in: StandIn) -> None:
    scores = stand_in.run()
    assert scores.values == {
        "law/0": {"base": {"task_law": 1.0}, "candidate": {"task_law": 1.0}},
        "law/2": {"base": {"task_law": 0.0}, "candidate": {"task_law": 1.0}},
    }
    assert scores.notes == {}


def test_an_adapter_that_answers_as_the_base_was_not_applied(stand_in: StandIn) -> None:
    lines = [line(0, "-1.5"), line(2, "-2.5")]
    stand_in.says(lines, lines)
    scores = stand_in.run()
    assert all(by_side.keys() == {"base"} for by_side in scores.values.values())
    assert "was not applied" in scores.notes["candidate"]


def test_one_digit_is_effect_enough(stand_in: StandIn) -> None:
    stand_in.says([line(0, "-1.5"), line(2, "-2.5")], [line(0, "-1.5"), line(2, "-2.5000000001")])
    assert stand_in.run().notes == {}


def test_documents_are_asked_for_in_order_and_never_the_first_ones(stand_in: StandIn) -> None:
    """lm-eval gives the documents that it finds the numbers of this list, in the order of the list."""
    stand_in.run()
    for each in stand_in.asked:
        assert each["config"]["samples"] == {"law": [0, 2]}
        assert "limit" not in each["config"]
        assert each["config"]["use_cache"] is None


def test_the_program_is_offline_and_learns_no_secret(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    stand_in.run()
    for each in stand_in.asked:
        assert each["env"]["HF_HUB_OFFLINE"] == each["env"]["HF_DATASETS_OFFLINE"] == "1"
        assert "secret" not in each["env"].values()


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "law.yaml").write_text("task: law\n")
    (folder / ".hidden.yaml").write_text("task: other\n")
    return folder


def test_only_what_is_pinned_lies_where_it_runs(stand_in: StandIn, tasks: Path) -> None:
    pin = PinnedFolder(path="tasks", sha256=digest_of_folder(tasks))
    assert stand_in.run(folder=tasks, include=pin).notes == {}
    assert {tuple(each["files"]) for each in stand_in.asked} == {("law.yaml",)}


def test_tasks_with_other_content_than_pinned_are_not_run(stand_in: StandIn, tasks: Path) -> None:
    pin = PinnedFolder(path="tasks", sha256=digest_of_folder(tasks))
    (tasks / "law.yaml").write_text("task: law\noutput_type: multiple_choice\n")
    scores = stand_in.run(folder=tasks, include=pin)
    assert scores.values == {}
    assert digest_of_folder(tasks) in scores.notes["absent"]
    assert not (stand_in.folder / "asked.jsonl").exists()


def test_a_side_that_fails_has_no_values_and_its_last_words_are_told(stand_in: StandIn) -> None:
    (stand_in.folder / "fail").touch()
    scores = stand_in.run()
    assert all(by_side.keys() == {"base"} for by_side in scores.values.values())
    assert scores.notes == {"candidate": "lm-eval ended with status 3: ValueError: no such adapter"}


def test_without_the_base_no_adapter_is_known_to_be_applied(stand_in: StandIn) -> None:
    stand_in.says([], [line(0, "-1.0"), line(2, "-2.0")])
    scores = stand_in.run()
    assert scores.values == {}
    assert "nobody knows whether the adapter was applied" in scores.notes["candidate"]


def test_sides_that_were_asked_different_things_are_not_paired(stand_in: StandIn) -> None:
    stand_in.says([line(0, "-1"), line(2, "-2")], [line(0, "-3"), line(2, "-4", prompt_hash="other")])
    scores = stand_in.run()
    assert all(by_side.keys() == {"base"} for by_side in scores.values.values())
    assert "other documents or prompts" in scores.notes["candidate"]


@pytest.mark.parametrize(
    ("adapted", "why"),
    [
        ([line(0, "-3")], "other documents of law"),
        ([line(0, "-3"), line(2, "-3"), line(5, "-3")], "other documents of law"),
        ([line(0, "-3"), line(1, "-3")], "other documents of law"),
        ([line(0, "-3"), line(2, "-3", acc=...)], "no metric 'acc'; it has acc"),
        ([line(0, "-3"), line(2, "-3", doc_id="2")], "without its number"),
        ([line(0, "-3"), line(2, "-3"), line(2, "-3", filter="strict")], "has the filters none, strict"),
        ([], "cannot be read"),
        ([[]], "cannot be read"),
    ],
)
def test_a_log_that_does_not_fit_gives_no_values(stand_in: StandIn, adapted: Lines, why: str) -> None:
    stand_in.says([line(0, "-1"), line(2, "-2")], adapted)
    scores = stand_in.run()
    assert all(by_side.keys() == {"base"} for by_side in scores.values.values())
    assert why in scores.notes["candidate"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.5, -0.1, "1", None, [1.0]])
def test_a_value_that_is_no_share_is_left_out(stand_in: StandIn, value: object) -> None:
    stand_in.says([line(0, "-1"), line(2, "-2")], [line(0, "-3"), line(2, "-3", acc=value)])
    scores = stand_in.run()
    assert scores.values["law/0"].keys() == {"base", "candidate"}
    assert scores.values["law/2"].keys() == {"base"}


def test_the_filter_that_the_suite_names_is_read(stand_in: StandIn) -> None:
    both = [
        line(n, "-3", filter=name, acc=acc) for n in (0, 2) for name, acc in (("strict", 0.0), ("lax", 1.0))
    ]
    stand_in.says([{**each, "resps": [["-1"]]} for each in both], both)
    scores = stand_in.run(task={"filter": "strict"})
    assert scores.values["law/0"]["candidate"] == {"task_law": 0.0}


def test_a_program_that_does_not_end_is_ended_with_its_children(stand_in: StandIn) -> None:
    (stand_in.folder / "hang").touch()
    scores = stand_in.run(timeout_s=6)
    assert scores.values == {}
    assert scores.notes["base"] == "lm-eval did not end within 6 seconds"
    assert _gone(int((stand_in.folder / "child").read_text()))


def _gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    return False


def test_an_interpreter_that_is_not_there_gives_no_values(tmp_path: Path) -> None:
    setting = LmEval(tasks=(INTENTS,), python=str(tmp_path / "none"))
    runner = LmEvalRunner(setting, None)
    scores = runner.run(ARTIFACTS / "base", {"base": BASE, "candidate": CANDIDATE}, silently)
    assert scores.values == {}
    assert "cannot be started" in scores.notes["base"]
    assert runner.describe()["version"] == "unknown"


def test_a_report_can_say_what_was_run(stand_in: StandIn) -> None:
    runner = LmEvalRunner(LmEval(tasks=(INTENTS,), python=str(stand_in.python), include=pinned()), TASKS)
    assert runner.metrics == ("task_ticket_intent",)
    assert runner.describe() == {
        "version": "0.0.0",
        "backend": "hf",
        "tasks": "ticket_intent (5 documents)",
        "include": pinned().sha256,
    }


def test_settings_of_the_backend_never_replace_model_or_adapter() -> None:
    setting = LmEval(tasks=(INTENTS,), model_args={"max_model_len": 512})
    asked = json.loads(request(setting, ARTIFACTS / "base", CANDIDATE, include=None, output=Path("/out")))
    assert asked["model_args"] == {
        "max_model_len": 512,
        "pretrained": str(ARTIFACTS / "base"),
        "dtype": "auto",
        "peft": str(CANDIDATE.adapter),
    }
    for name in ("peft", "pretrained", "trust_remote_code", "lora_local_path"):
        with pytest.raises(ValidationError, match=name):
            LmEval.model_validate({"tasks": [INTENTS], "model_args": {name: 1}})


def test_each_backend_is_told_of_the_adapter_in_its_own_words() -> None:
    def model_args(side: TaskSide, **settings: Any) -> dict[str, Any]:
        setting = LmEval(tasks=(INTENTS,), **settings)
        asked = json.loads(request(setting, ARTIFACTS / "base", side, include=None, output=Path("/out")))
        found: dict[str, Any] = asked["model_args"]
        return found

    folder = str(CANDIDATE.adapter)
    assert model_args(CANDIDATE)["peft"] == folder
    assert "peft" not in model_args(BASE)
    assert model_args(CANDIDATE, backend="vllm")["lora_local_path"] == folder
    assert model_args(CANDIDATE, backend="vllm")["max_lora_rank"] == 8
    assert "lora_local_path" not in model_args(BASE, backend="vllm")
    server = {"backend": "server", "url": "http://127.0.0.1:1/v1"}
    assert model_args(CANDIDATE, **server)["model"] == "bot-1.1.0"
    assert model_args(BASE, **server)["base_url"] == "http://127.0.0.1:1/v1/completions"
