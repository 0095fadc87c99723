"""`docs/metrics.md` explains every series, and none that there is not."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from rollout.gateway.series import PREFIX, SERIES, Distribution, Page, Series, labelled

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
ADAPTER = ("name", "served", "shadow", "slot")


def row(name: str, series: Series) -> str:
    labels = list(series.labels)
    if series.labels[:4] == ADAPTER:
        labels[:4] = ["adapter"]
    shown = ", ".join(f"`{label}`" for label in labels) or "–"
    return f"| `{name}` | {series.kind} | {shown} | {series.meaning} |"


def test_the_table_of_series_is_that_of_the_code() -> None:
    table = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    assert table == [row(name, series) for name, series in SERIES.items()]


def test_counters_and_only_they_are_named_total() -> None:
    for name, series in SERIES.items():
        assert name.endswith("_total") == (series.kind == "counter"), name


def test_prometheus_reads_the_page_as_it_is_meant() -> None:
    nasty = 'a "quoted\\" name\nof two lines, {with} everything='
    page = Page()
    spread = Distribution((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        spread.add(value)
    page.put("retries_total", 3, labelled(name=nasty, served="x", shadow="0", slot="stable"))
    page.put("output_chars", spread, labelled(name="bot", served="x", shadow="0", slot="stable"))
    page.put("data_age_seconds", float("inf"), labelled(data="flags"))
    page.put("routes_revision", 7)
    page.put("flag_version", 10**400, labelled(flag="x"))
    families = {family.name: family for family in text_string_to_metric_families(page.text().decode())}
    (retries,) = families[f"{PREFIX}retries"].samples
    assert (retries.labels["name"], retries.value) == (nasty, 3.0)
    buckets = {
        sample.labels.get("le"): sample.value for sample in families[f"{PREFIX}output_chars"].samples[:3]
    }
    assert buckets == {"0.1": 2.0, "1.0": 3.0, "+Inf": 4.0}
    count, total = families[f"{PREFIX}output_chars"].samples[3:]
    assert (count.value, total.value) == (4.0, 0.05 + 0.1 + 0.5 + 7.0)
    assert families[f"{PREFIX}data_age_seconds"].samples[0].value == float("inf")
    assert families[f"{PREFIX}flag_version"].samples[0].value == float("inf")
    assert families[f"{PREFIX}routes_revision"].type == "gauge"
    assert set(families) == {
        f"{PREFIX}{name}"
        for name in ("retries", "output_chars", "data_age_seconds", "routes_revision", "flag_version")
    }
