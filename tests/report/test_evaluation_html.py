"""The page of an evaluation as bytes: self-contained, accessible, and deaf to what its answers say."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from rollout.core.evaluation import Evaluation, Reply, Side
from rollout.core.suite import Turn
from rollout.report.evaluation import cases, to_html
from rollout.report.evaluation.cases import embed, in_script
from rollout.report.evaluation.markup import Html, joined, tag
from tests.support.reports import faithful, sample_evaluation, sample_report

HOSTILE = "</script><script>alert(1)</script><!-- <script> <img src=x onerror=alert(2)> & \u2028 \u202eexe.png \x1b[31m \x00"


class Page(HTMLParser):
    """Elements, ids and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.scripts.append(data)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return sample_evaluation()


@pytest.fixture(scope="module")
def text(evaluation: Evaluation) -> str:
    return to_html(evaluation)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def saying(evaluation: Evaluation, words: str) -> Evaluation:
    """Every place of the first case that holds free text holds these words."""
    report = evaluation.reports[0]
    line = words.replace("\n", " ").replace("\x00", "")
    case = report.measured.cases[0].model_copy(
        update={
            "slice": line,
            "tags": (line,),
            "messages": (Turn(role="system", content=words), Turn(role="user", content=words)),
            "reference": words,
            "replies": {
                side: (Reply(text=f"{side} {words}", completion_tokens=3, finish_reason=line),)
                for side in Side
            },
        }
    )
    measured = report.measured.model_copy(update={"cases": (case,), "missing": {"tone": line}})
    slices = (report.quality.slices[0].model_copy(update={"slice": line}),)
    quality = report.quality.model_copy(update={"measured": measured, "slices": slices})
    return Evaluation(reports=(report.model_copy(update={"quality": quality, "command": line}),))


def test_nothing_is_fetched_and_only_its_own_style_and_script_count(text: str, page: Page) -> None:
    policy = next(
        meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert style is not None
    assert len(script) == 1
    for kind, content in (("style-src", style[1]), ("script-src", script[0])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy


def test_there_is_no_address_no_inline_style_and_no_inline_handler(page: Page) -> None:
    for name, attributes in page.elements:
        for key, value in attributes.items():
            assert not key.startswith("on"), (name, key)
            assert key not in ("style", "src", "srcset", "action"), (name, key)
            assert key != "href" or (value or "").startswith("#"), (name, value)


def test_the_page_is_well_formed_and_every_id_is_its_own(page: Page) -> None:
    assert page.open == []
    assert page.unbalanced == []
    several = Page(
        to_html(Evaluation(reports=(sample_report(), sample_report(suite="cases", says=faithful))))
    )
    for each in (page, several):
        ids = [attributes["id"] for _, attributes in each.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        links = {(attributes.get("href") or "")[1:] for attributes in each.all("a")}
        assert links <= set(ids)


def test_the_verdict_and_its_reasons_come_before_every_table(text: str) -> None:
    body = text[text.index("<body>") :]
    places = [
        body.index(part)
        for part in ("is blocked: 2 failed of 14 checks", "slice/invoice", "gate/json_compliance")
    ]
    assert places == sorted(places)
    assert places[-1] < body.index("<table")


def test_a_failed_gate_has_figures_cases_and_the_command_to_copy(
    evaluation: Evaluation, page: Page, text: str
) -> None:
    for told in (
        "<dd>93.9%</dd>",
        "<dd>91.1% to 95.9% (90%)</dd>",
        "<dd>280</dd>",
        "<dd>≥ 95.0%</dd>",
        "Show 17 cases",
    ):
        assert told in text
    copied = [attributes["data-copy"] for attributes in page.all("button") if "data-copy" in attributes]
    assert copied == [evaluation.reports[0].command]


def test_tables_have_captions_and_headers_and_plots_have_names(page: Page) -> None:
    assert len(page.all("caption")) == len(page.all("table")) == 2
    assert {attributes.get("scope") for attributes in page.all("th")} == {"col", "row"}
    plots = [attributes for attributes in page.all("svg") if attributes.get("role") == "img"]
    assert len(plots) == 5, "three units of differences, and two machines"
    assert all(attributes.get("aria-label") for attributes in plots)


def test_every_metric_with_an_interval_is_in_a_plot_and_every_margin_is_drawn(
    evaluation: Evaluation, page: Page
) -> None:
    drawn = [row for row in evaluation.reports[0].metrics if row.interval is not None]
    circles = [
        attributes for attributes in page.all("circle") if (attributes.get("class") or "").startswith("point")
    ]
    assert len(circles) == len(drawn) == 8
    assert sum(attributes.get("class") == "margin" for attributes in page.all("line")) == 3
    worse = [attributes for attributes in circles if attributes.get("class") == "point worse"]
    assert len(worse) == 1, "only valid JSON has an interval that lies below zero"


def test_losses_are_left_of_zero_and_gains_right_of_it(evaluation: Evaluation, text: str) -> None:
    forest = re.search(
        r'<svg role="img" aria-label="Differences of 6 metrics in points.*?</svg>', text, re.DOTALL
    )
    assert forest is not None
    zero = re.search(r'<line x1="([\d.]+)%" x2="\1%" y1="0" y2="\d+" class="zero"', forest[0])
    points = dict(re.findall(r"<title>([^:<]+):.*?<circle cx=\"([\d.]+)%\"", forest[0], re.DOTALL))
    assert zero is not None
    assert float(points["valid JSON"]) < float(zero[1]) < float(points["refused what must be"])


def test_the_worst_slice_is_first_and_coloured_by_its_loss(text: str) -> None:
    row = re.search(r'<table class="heat">.*?<tbody><tr>(.*?)</tr>', text, re.DOTALL)
    assert row is not None
    assert 'data-slice="invoice"' in row[1]
    assert '<td class="number loss-4">−30.0 points</td>' in row[1]


def test_all_digests_stand_in_the_footer_in_full(evaluation: Evaluation, text: str) -> None:
    report = evaluation.reports[0]
    subject = report.subject
    footer = text[text.index("<footer") : text.index("</footer>")]
    assert subject.champion is not None
    for digest in (
        report.digest,
        subject.suite_digest,
        subject.gates_digest,
        subject.candidate.identity,
        subject.champion.identity,
        subject.base.revision,
    ):
        assert digest in footer


def test_an_answer_cannot_end_its_script_nor_become_markup(evaluation: Evaluation) -> None:
    hostile = to_html(saying(evaluation, HOSTILE))
    page = Page(hostile)
    assert page.unbalanced == []
    assert len(page.all("script")) == 2
    assert page.all("img") == []
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    for harm in ("\x1b", "\x00", "\u202e", "\u2028", "<script>alert", "<!-- <"):
        assert harm not in hostile, harm


def test_an_answer_is_embedded_as_it_is_but_for_what_cannot_be_seen(evaluation: Evaluation) -> None:
    data = embed(saying(evaluation, HOSTILE)).data
    assert "<" not in data
    answer = json.loads(data)["cases"][0]["replies"]["candidate"][0][0]
    assert answer.startswith("candidate </script><script>alert(1)</script><!-- <script>")
    assert answer.endswith("\\u202eexe.png \\u001b[31m \\u0000")


def test_json_in_a_script_is_still_the_same_json() -> None:
    value = {"a": "</script>&\u2028", "b": ["日本語", 1, None]}
    assert json.loads(in_script(value)) == value
    assert not set("<>&\u2028") & set(in_script(value))


def test_the_worst_cases_come_first_and_know_their_checks(evaluation: Evaluation) -> None:
    found = json.loads(embed(evaluation).data)
    changes = [case["change"] for case in found["cases"]]
    order = ["lost", "wrong", "changed", "gained", "same"]
    assert changes == sorted(changes, key=order.index)
    counted = [case for case in found["cases"] if "support-triage:slice/invoice" in case["checks"]]
    assert len(counted) == 14
    assert {case["slices"][0] for case in counted} == {"invoice"}


def test_what_is_too_much_is_left_out_and_said(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "MOST_CASES", 30)
    embedded = embed(evaluation)
    assert (embedded.shown, embedded.left_out) == (30, 290)
    assert "290 cases are not in this page" in to_html(evaluation)
    monkeypatch.setattr(cases, "MOST_LETTERS", 2000)
    assert 0 < embed(evaluation).shown < 10


def test_text_becomes_markup_only_through_a_tag() -> None:
    assert tag("p", "<b>", tag("i", "&"), data_x='"><script>') == (
        '<p data-x="&quot;&gt;&lt;script&gt;">&lt;b&gt;<i>&amp;</i></p>'
    )
    assert joined("<", Html("<br>"), None) == "&lt;<br>"


def test_a_suite_without_slices_plots_or_champion_has_a_page_too() -> None:
    report = sample_report(per_slice=3, champion=False, shards=1, planned=500)
    bare = report.model_copy(
        update={
            "quality": report.quality.model_copy(update={"slices": (), "metrics": ()}),
            "speed": report.speed.model_copy(update={"shards": (), "metrics": ()}),
        }
    )
    page = Page(to_html(Evaluation(reports=(bare,))))
    assert page.unbalanced == []
    assert page.all("svg") == []
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert {(attributes.get("href") or "")[1:] for attributes in page.all("a")} <= ids, (
        "no link leads nowhere"
    )
