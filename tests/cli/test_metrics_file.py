"""`--metrics-file`: what `advance` and `status` leave for node_exporter, read as Prometheus reads it."""

from __future__ import annotations

import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from rollout.core.lifecycle import Phase
from rollout.core.verdict import Outcome
from rollout.core.waiting import Cause
from rollout.demo.scratch import ENVIRONMENT, NAME
from rollout.report.enginemetrics import PREFIX, SERIES, Seen, write
from tests.support.commands import in_site, lasting, rollout
from tests.support.site import Site

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
Series = dict[tuple[str, ...], float]


def read(file: Path) -> dict[str, Series]:
    """Values by series, and by the labels behind the adapter's."""
    found: dict[str, Series] = {}
    for family in text_string_to_metric_families(file.read_text()):
        for sample in family.samples:
            assert (sample.labels["name"], sample.labels["environment"]) == (NAME, ENVIRONMENT)
            series = sample.name.removeprefix(PREFIX)
            labels = tuple(sample.labels[label] for label in SERIES[series].labels)
            found.setdefault(series, {})[labels] = sample.value
    return found


def left_by_status(site: Site) -> dict[str, Series]:
    file = site.folder / "rollout.prom"
    assert in_site(site, "status", "--metrics-file", str(file)).status == 0
    return read(file)


def write_of(site: Site) -> dict[str, Series]:
    """What the ledger alone says, as of an adapter at rest."""
    file = site.folder / "rollout.prom"
    entries = site.world.ledger.read(NAME)
    write(file, [Seen(name=NAME, environment=ENVIRONMENT, state=site.state, entries=entries)], ticked_at=None)
    return read(file)


def test_the_table_of_the_document_is_that_of_the_code() -> None:
    lines = DOCUMENT.read_text().splitlines()
    table = [line for line in lines if line.startswith(("| gauge | `", "| counter | `"))]
    assert table == [
        f"| {series.kind} | `{name}` | {', '.join(f'`{each}`' for each in series.labels) or '–'} | {series.meaning} |"
        for name, series in SERIES.items()
    ]


def test_counters_and_only_they_are_named_total() -> None:
    for name, series in SERIES.items():
        assert name.endswith("_total") == (series.kind == "counter"), name


def test_a_release_under_way_is_told_with_its_evidence_and_what_it_waits_for(ramping: Site) -> None:
    found = left_by_status(ramping)
    assert {labels for labels, value in found["phase"].items() if value} == {("canary",)}
    assert len(found["phase"]) == len(Phase)
    assert (found["share"][()], found["step"][()]) == (0.1, 1.0)
    assert found["ledger_head_seq"][()] == len(ramping.world.ledger.read(NAME)) - 1
    waits = {cause for (cause,), value in found["waits"].items() if value}
    assert {"gateways", "share", "samples", "no_data"} <= waits
    assert set(found["waits"]) == {(str(cause),) for cause in Cause}
    assert found["overdue"][()] == 1.0
    assert {labels for labels, value in found["last_look"].items() if value} == {("pass",)}
    assert found["looks_total"] == {(str(each),): float(each is Outcome.PASS) for each in Outcome}
    assert "last_tick_seconds" not in found
    assert "last_detect_seconds" not in found


def test_evidence_is_there_by_metric(ramping: Site) -> None:
    ramping.answer(stable=900, candidate=100, bad=3)
    ramping.tick_after(4)
    found = left_by_status(ramping)
    assert found["evidence_of_harm"][("format_failures",)] > 1
    assert found["evidence_of_no_worse"][("errors",)] > 20


def test_a_rollback_is_counted_with_how_long_it_took_to_see_and_to_restore(ramping: Site) -> None:
    ramping.answer(stable=900, candidate=100, bad=90)
    ramping.tick_after(40)
    assert ramping.state.phase is Phase.TAKEN_BACK
    found = write_of(ramping)
    assert found["rollbacks_total"] == {("0",): 0.0, ("1",): 1.0}
    assert found["last_detect_seconds"][()] == 40.0
    assert found["last_restore_seconds"][()] >= 0.0
    assert found["rollback_unfinished"][()] == 0.0
    assert {labels for labels, value in found["last_look"].items() if value} == {("fail",)}
    assert (found["phase"][("taken_back",)], found["share"][()]) == (1.0, 0.0)


def test_a_tick_leaves_when_it_was_and_what_it_could_not_finish(ramping: Site) -> None:
    file, before = ramping.folder / "rollout.prom", time.time()
    ended = in_site(ramping, "advance", "--metrics-file", str(file))
    found = read(file)
    assert ended.status == 4  # taken back at its deadline, and the gateway is not there to verify it
    assert found["rollback_unfinished"][()] == 1.0
    assert before <= found["last_tick_seconds"][()] <= time.time()
    everybody = rollout(
        "advance",
        "--all",
        "-e",
        ENVIRONMENT,
        "--root",
        str(ramping.repository.root),
        "--metrics-file",
        str(file),
    )
    assert NAME in everybody.out
    assert read(file)["last_tick_seconds"][()] >= found["last_tick_seconds"][()]


def test_a_folder_that_is_not_there_is_refused_before_the_tick(ramping: Site) -> None:
    before = lasting(ramping)
    ended = in_site(ramping, "advance", "--metrics-file", str(ramping.folder / "nowhere" / "x.prom"))
    assert ended.status == 2
    assert "there is no folder" in ended.err
    assert lasting(ramping) == before


def test_the_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it(ramping: Site) -> None:
    folder = ramping.folder / "textfiles"
    folder.mkdir()
    (folder / "x.prom").write_text("old")
    assert in_site(ramping, "status", "--metrics-file", str(folder / "x.prom")).status == 0
    assert [path.name for path in folder.iterdir()] == ["x.prom"]
    assert (folder / "x.prom").read_text().startswith("# HELP rollout_engine_phase ")
    assert (folder / "x.prom").stat().st_mode & 0o444 == 0o444 & ~umask()


def umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask
