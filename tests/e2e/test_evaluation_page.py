"""The page of an evaluation in a real browser: filters count, cases open, words that changed are marked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rollout.core.evaluation import Evaluation, Reply, Side
from rollout.core.suite import Turn
from rollout.report.evaluation import to_html
from tests.support.reports import faithful, sample_evaluation, sample_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

PHONE = {"width": 380, "height": 800}


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return sample_evaluation()


@pytest.fixture
def page(browser: Browser, evaluation: Evaluation, tmp_path: Path) -> Iterator[Page]:
    yield from opened(browser, evaluation, tmp_path)


def opened(browser: Browser, evaluation: Evaluation, folder: Path, hash_: str = "") -> Iterator[Page]:
    """The page as a reader opens it; whatever it complains about or asks of a network fails the test."""
    file = folder / "evaluation.html"
    file.write_text(to_html(evaluation), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message) or dialog.dismiss())
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(5000)
    page.goto(file.as_uri() + hash_)
    yield page
    context.close()
    assert said == []
    assert len(asked) == 1, "the page asks for itself and for nothing else"


def count(page: Page) -> str:
    return page.locator("#count").inner_text()


def wait_for_count(page: Page, text: str) -> None:
    """Until the search that is typed has been done."""
    from playwright.sync_api import expect

    expect(page.locator("#count")).to_have_text(text)


def test_the_page_opens_with_its_verdict_and_all_cases(page: Page) -> None:
    assert page.locator("h1").inner_text().endswith("support-bot 1.2.0 is blocked: 2 failed of 14 checks")
    assert count(page) == "320 of 320 cases"
    assert page.locator(".case").count() == 50
    page.get_by_role("button", name="Show 50 more").click()
    assert page.locator(".case").count() == 100


def test_a_click_on_what_became_of_the_cases_shows_those_and_counts_them(
    page: Page, evaluation: Evaluation
) -> None:
    chip = page.locator('[data-change="lost"]')
    number = chip.locator(".n").inner_text()
    chip.click()
    assert count(page) == f"{number} of 320 cases"
    assert 0 < int(number) < 50
    assert set(page.locator(".case .tag").all_inner_texts()) == {"lost"}
    assert chip.get_attribute("aria-pressed") == "true"


def test_filters_narrow_each_other_and_their_counts_follow(page: Page) -> None:
    page.locator("#slice").select_option("invoice")
    assert count(page) == "40 of 320 cases"
    assert page.locator('[data-change="lost"]').locator(".n").inner_text() == "14"
    page.locator('[data-change="lost"]').click()
    assert count(page) == "14 of 320 cases"
    page.get_by_label("Search").fill("1037")
    wait_for_count(page, "1 of 320 cases")
    assert page.locator(".case .id").all_inner_texts() == ["invoice-001"]


def test_the_address_keeps_the_filter_and_the_open_case(
    browser: Browser, evaluation: Evaluation, tmp_path: Path
) -> None:
    for page in opened(browser, evaluation, tmp_path):
        page.locator("#slice").select_option("invoice")
        page.locator('[data-change="lost"]').click()
        page.locator(".case button").first.click()
        hash_ = page.evaluate("location.hash")
    for page in opened(browser, evaluation, tmp_path, hash_):
        assert count(page) == "14 of 320 cases"
        assert page.locator("#slice").input_value() == "invoice"
        assert page.locator('[aria-expanded="true"] .id').inner_text() == "invoice-001"


def test_a_case_shows_both_answers_with_the_words_that_changed(page: Page) -> None:
    page.get_by_label("Search").fill("invoice-001")
    wait_for_count(page, "1 of 320 cases")
    page.locator(".case button").first.click()
    assert page.locator('[data-side="champion"] del').all_inner_texts()[0] == "invoice"
    assert page.locator('[data-side="candidate"] ins').all_inner_texts()[0] == "billing"
    assert "Invoice 1037 shows the wrong address." in page.locator('[data-side="prompt"]').inner_text()
    assert '"intent": "invoice"' in page.locator('[data-side="expected"]').inner_text()
    assert page.locator(".scores tbody tr").first.inner_text().split()[-2:] == ["−100.0", "points"]


def test_the_base_is_shown_on_demand(page: Page) -> None:
    page.locator(".case button").first.click()
    assert page.locator('[data-side="base"]').count() == 0
    page.get_by_role("button", name="Show base").click()
    assert page.locator('[data-side="base"] pre').inner_text().startswith("Thank you for your message.")
    assert page.get_by_role("button", name="Show base").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Show base").click()
    assert page.locator('[data-side="base"]').count() == 0


def test_a_failed_gate_leads_to_the_cases_that_did_it(page: Page) -> None:
    page.get_by_role("link", name="Show 17 cases").click()
    assert count(page) == "17 of 320 cases"
    assert "gate/json_compliance" in page.locator("#check").inner_text()
    page.get_by_role("button", name="Show all cases").click()
    assert count(page) == "320 of 320 cases"


def test_a_slice_of_the_table_leads_to_its_cases(page: Page) -> None:
    page.locator(".heat").get_by_role("link", name="korean").click()
    assert count(page) == "40 of 320 cases"


def test_all_of_it_can_be_done_from_the_keyboard(page: Page) -> None:
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.locator(".case button").first.focus()
    page.keyboard.press("Enter")
    assert page.locator('[aria-expanded="true"]').count() == 1


def test_a_phone_need_not_scroll_sideways(page: Page) -> None:
    page.set_viewport_size(PHONE)
    page.locator(".case button").first.click()
    page.get_by_role("button", name="Show base").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


CHANGED = [
    ("a red fox", "a blue fox", ["red"], ["blue"]),
    ("荷物を送ってください", "荷物を送って頂けますか", ["ください"], ["頂けますか"]),
    ("주문을 취소", "주문을 확인", ["취소"], ["확인"]),
    ("番号1740番", "番号1741番", ["1740"], ["1741"]),
    ("東京に行く", "京都に行く", ["東"], ["都"]),
    ("naïve café", "naïve cafe\u0301s", ["café"], ["cafe\u0301s"]),
    ("same", "same", [], []),
    ("", "new words", [], ["new words"]),
    ("<b>&amp;</b>", "<i>&amp;</i>", ["b", "b"], ["i", "i"]),
]


def test_a_diff_marks_words_and_single_letters_where_words_are_not_parted(
    browser: Browser, evaluation: Evaluation, tmp_path: Path
) -> None:
    said = [{Side.CHAMPION: before, Side.CANDIDATE: after, Side.BASE: ""} for before, after, _, _ in CHANGED]
    for page in opened(browser, answering(evaluation, *said), tmp_path):
        for number, (_, after, deleted, inserted) in enumerate(CHANGED):
            case = page.locator(".case").filter(has_text=f"pair-{number}")
            case.locator("button").first.click()
            assert case.locator('[data-side="champion"] del').all_inner_texts() == deleted
            assert case.locator('[data-side="candidate"] ins').all_inner_texts() == inserted
            assert case.locator('[data-side="candidate"] pre').text_content() == after


def test_a_hostile_answer_is_text(browser: Browser, evaluation: Evaluation, tmp_path: Path) -> None:
    harm = "</script><script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)>\u202e\x1b[31m"
    for page in opened(browser, answering(evaluation, dict.fromkeys(Side, harm)), tmp_path):
        page.locator(".case button").first.click()
        shown = page.locator('[data-side="candidate"] pre').text_content()
        assert shown == harm.replace("\u202e", "\\u202e").replace("\x1b", "\\u001b")
        assert page.locator("img").count() == 0


def test_long_answers_are_compared_within_a_second(
    browser: Browser, evaluation: Evaluation, tmp_path: Path
) -> None:
    texts = {
        Side.CHAMPION: " ".join(f"word{n}" for n in range(1800)),
        Side.CANDIDATE: " ".join(f"word{n * 7 % 1800}" for n in range(1800)),
        Side.BASE: "",
    }
    for page in opened(browser, answering(evaluation, texts), tmp_path):
        page.locator(".case button").first.click()
        assert page.locator('[data-side="candidate"] ins').count() > 0


def test_every_suite_has_its_part_and_can_be_filtered_by(browser: Browser, tmp_path: Path) -> None:
    both = Evaluation(
        reports=(
            sample_report(per_slice=10),
            sample_report(suite="safety", says=faithful, per_slice=5, repeats=2),
        )
    )
    for page in opened(browser, both, tmp_path):
        assert count(page) == "120 of 120 cases"
        page.locator("#suite").select_option("safety")
        assert count(page) == "40 of 120 cases"
        page.locator(".case button").first.click()
        page.get_by_role("button", name="Answer 2").click()
        assert page.get_by_role("button", name="Answer 2").get_attribute("aria-pressed") == "true"


def test_the_data_of_the_page_is_its_report(page: Page, evaluation: Evaluation) -> None:
    data = json.loads(page.locator("#data").text_content() or "")
    assert {case["id"] for case in data["cases"]} == {
        case.id for case in evaluation.reports[0].measured.cases
    }


def answering(evaluation: Evaluation, *said: dict[Side, str]) -> Evaluation:
    """One case for each set of answers, named `pair-0` and so on."""
    report = evaluation.reports[0]
    cases = tuple(
        report.measured.cases[0].model_copy(
            update={
                "id": f"pair-{number}",
                "replies": {
                    side: (Reply(text=text, completion_tokens=1, finish_reason="stop"),)
                    for side, text in texts.items()
                },
                "messages": (Turn(role="user", content="?"),),
            }
        )
        for number, texts in enumerate(said)
    )
    measured = report.measured.model_copy(update={"cases": cases})
    quality = report.quality.model_copy(update={"measured": measured})
    return Evaluation(reports=(report.model_copy(update={"quality": quality}),))
