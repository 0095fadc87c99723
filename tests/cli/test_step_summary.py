"""One minute for a reviewer: what `advance --format markdown` and `status` say of a release that waits."""

from __future__ import annotations

import re
from datetime import timedelta

from tests.support.commands import in_site
from tests.support.site import Site


def summary(site: Site) -> str:
    """What the tick's step summary is, with the servers that a test has: the same code without the network."""
    from rollout.report import stepsummary
    from rollout.usecases.status import status

    tick = site.tick_after(1)
    return stepsummary.render(tick, status(site.world, tick.name))


def test_a_held_tick_says_why_and_what_lets_it_go_on(ramping: Site) -> None:
    ramping.clock.time += timedelta(seconds=10)
    ramping.answer(stable=270, candidate=30, bad=1)
    told = summary(ramping).splitlines()
    assert told[0] == "### support-triage in demo: held"
    assert told[2] == "> [!NOTE]"
    assert told[3].startswith("> canary 10% → canary 10%: 30 of 40 requests of the candidate judged")
    going_on = told[told.index("> To go on:") :]
    assert any(line.startswith("> - 10 more requests of the candidate, about ") for line in going_on)
    decides = r"> - about \d+ more requests of the candidate decide format_failures, about [\d]+ s at the present traffic"
    assert any(re.fullmatch(decides, line) for line in going_on), going_on
    assert told[told.index("> To go on:") + 1] == ">"


def test_the_table_has_effect_evidence_and_what_is_needed(ramping: Site) -> None:
    ramping.answer(stable=900, candidate=100, bad=6)
    table = [line for line in summary(ramping).splitlines() if line.startswith("| ")]
    assert table[0] == (
        "| metric | outcome | stable / candidate | effect | evidence of harm (of 800 : 1) "
        "| of no worse (of 20 : 1) | needed | because |"
    )
    cells = [cell.strip() for cell in next(row for row in table if "format_failures" in row).split("|")]
    assert cells[2:4] == ["inconclusive", "900 / 100"]
    assert cells[4].startswith("+6 points (")
    assert cells[5].endswith(" : 1")
    assert cells[7].startswith("about ")


def test_a_rollback_is_the_first_thing_that_is_said(ramping: Site) -> None:
    ramping.answer(stable=900, candidate=100, bad=90)
    told = summary(ramping)
    assert told.startswith(
        "### support-triage in demo: rolled back\n\n> [!CAUTION]\n> canary 10% → taken_back: "
    )
    assert "format_failures: worse: 90/100" in told
    assert "To go on" not in told


def test_words_of_others_cannot_leave_their_cell_or_make_markup(ramping: Site) -> None:
    from rollout.core.lifecycle import Paused
    from rollout.usecases.book import Book
    from tests.support.site import SIGNATURE

    Book(ramping.world.ledger, "support-triage", SIGNATURE).add(
        Paused, ramping.clock.now(), reason="a | b <script>alert(1)</script>"
    )
    told = summary(ramping)
    assert "<script>" not in told
    assert "a \\| b &lt;script>" in told


def test_the_command_itself_gives_the_summary(ramping: Site) -> None:
    ended = in_site(ramping, "advance", "--format", "markdown")
    assert ended.out.startswith("### support-triage in demo: rolled back\n")
    assert "- stable: support-triage-1.0.0-" in ended.out


def test_status_says_in_markdown_what_unblocks_it(ramping: Site) -> None:
    shown = in_site(ramping, "status", "--format", "markdown").out
    assert "> [!WARNING]\n> **the deadline of 1 min 30 s has passed: it is taken back**" in shown
    assert "> - 40 more requests of the candidate\n" in shown
